#include "hostcuda/hostcuda.h"

#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace hostcuda {

namespace {

constexpr size_t kStack = 256 * 1024;           // under the sanitizers frames are large
constexpr size_t kStagger = 13 * 64, kStaggers = 64;  // between the tops of stacks, which else are all in the same sets of the cache

// ---- fibers -----------------------------------------------------------------------------------------------------

#if defined(__x86_64__)

// Saves what a call must preserve on the stack, and goes on where the other fiber did the same. swapcontext would make
// two system calls each time.
struct Fiber {
    void *stack_pointer;
};

extern "C" void hostcuda_switch(void **from, void *to);
asm(R"(
.text
.type hostcuda_switch, @function
hostcuda_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size hostcuda_switch, . - hostcuda_switch
)");

void prepare(Fiber &fiber, void *stack, size_t bytes, void (*body)()) {
    auto *top = reinterpret_cast<void **>(static_cast<char *>(stack) + bytes);
    *--top = nullptr;                            // where the body would return to, which it doesn't
    *--top = nullptr;                            // keeps the stack aligned as after a call
    *top = reinterpret_cast<void *>(body);
    for (int saved = 0; saved < 6; saved++) *--top = nullptr;
    fiber.stack_pointer = top;
}

void switch_fiber(Fiber &from, Fiber &to) { hostcuda_switch(&from.stack_pointer, to.stack_pointer); }

#else

struct Fiber {
    ucontext_t context;
};

void prepare(Fiber &fiber, void *stack, size_t bytes, void (*body)()) {
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stack;
    fiber.context.uc_stack.ss_size = bytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, body, 0);
}

void switch_fiber(Fiber &from, Fiber &to) { swapcontext(&from.context, &to.context); }

#endif

// ---- a block ----------------------------------------------------------------------------------------------------

enum class State { kReady, kBarrier, kExchange, kDone };

struct Copy {
    void *to;
    const void *from;
    bool valid;
};

struct Thread {
    Fiber fiber;
    void *fake_stack = nullptr;
    State state = State::kReady;
    Position position;
    int lane = 0;
    const char *waits_for = "";
    std::pair<const char *, int> place;  // of the barrier it waits at
    uint32_t mask = 0;
    void *data = nullptr;
    void (*combine)(void *const *) = nullptr;
    std::vector<Copy> copies;    // that have not arrived, oldest first
    std::vector<size_t> groups;  // committed: where each ends in copies
};

// Stacks are kept between launches; each has a page below it that may not be touched.
class Stacks {
public:
    void *at(size_t index) {
        while (stacks_.size() <= index) {
            auto *memory = static_cast<char *>(mmap(nullptr, kStack + 4096, PROT_READ | PROT_WRITE,
                                                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
            if (memory == MAP_FAILED || mprotect(memory, 4096, PROT_NONE) != 0) {
                std::perror("hostcuda: stack");
                std::abort();
            }
            stacks_.push_back(memory + 4096);
        }
        return stacks_[index];
    }

private:
    std::vector<char *> stacks_;
};

Stacks stacks;
Order order = Order::kForward;
uint64_t order_seed = 1;

struct Block {
    std::vector<Thread> threads;  // kept from block to block, as all that follows
    Fiber scheduler;
    void *scheduler_fake_stack = nullptr;
    const void *scheduler_stack = nullptr;
    size_t scheduler_stack_size = 0;
    Thread *current = nullptr;
    const std::function<void()> *kernel = nullptr;
    std::unique_ptr<unsigned char[]> dynamic;
    size_t dynamic_bytes = 0;
    std::map<const void *, std::pair<std::unique_ptr<unsigned char[]>, size_t>> statics;
    size_t static_bytes = 0;
};

Block *block = nullptr;

[[noreturn]] void stop(const char *why) {
    std::fprintf(stderr, "hostcuda: %s in block (%u, %u, %u)\n", why, block->threads[0].position.block.x,
                 block->threads[0].position.block.y, block->threads[0].position.block.z);
    int shown = 0;
    for (auto &thread : block->threads) {
        if (shown++ == 8) {
            std::fprintf(stderr, "  ...\n");
            break;
        }
        std::fprintf(stderr, "  thread (%u, %u, %u): %s\n", thread.position.thread.x, thread.position.thread.y,
                     thread.position.thread.z, thread.state == State::kDone ? "ended" : thread.waits_for);
    }
    std::abort();
}

void to_scheduler(Thread &thread, bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &thread.fake_stack, block->scheduler_stack, block->scheduler_stack_size);
#else
    (void)for_good;
#endif
    switch_fiber(thread.fiber, block->scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(thread.fake_stack, &block->scheduler_stack, &block->scheduler_stack_size);
#endif
}

void body() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &block->scheduler_stack, &block->scheduler_stack_size);
#endif
    Thread &thread = *block->current;
    (*block->kernel)();
    thread.state = State::kDone;
    to_scheduler(thread, true);
}

void resume(Thread &thread, size_t index) {
    block->current = &thread;
    current_position = &thread.position;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&block->scheduler_fake_stack, stacks.at(index), kStack);
#else
    (void)index;
#endif
    switch_fiber(block->scheduler, thread.fiber);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(block->scheduler_fake_stack, nullptr, nullptr);
#endif
}

void wait(State state, const char *what) {
    Thread &thread = *block->current;
    thread.state = state;
    thread.waits_for = what;
    to_scheduler(thread, false);
}

// Lets every exchange of a warp go on whose lanes have all arrived. Returns whether any did.
bool complete_exchanges(size_t first, size_t lanes) {
    bool any = false;
    for (size_t i = 0; i < lanes; i++) {
        Thread &leader = block->threads[first + i];
        if (leader.state != State::kExchange) continue;
        void *data[32] = {};
        bool all = true;
        for (size_t lane = 0; lane < 32; lane++) {
            if ((leader.mask >> lane & 1) == 0) continue;
            if (lane >= lanes) stop("an exchange's mask names a lane that the block does not have");
            Thread &other = block->threads[first + lane];
            if (other.state == State::kDone) stop("an exchange waits for a lane that has ended");
            if (other.state != State::kExchange) {
                all = false;
                continue;
            }
            if (other.mask != leader.mask || other.combine != leader.combine) stop("lanes of a warp are at different exchanges");
            data[lane] = other.data;
        }
        if (!all) continue;
        if ((leader.mask >> i & 1) == 0) stop("a lane is not in the mask of its own exchange");
        leader.combine(data);
        for (size_t lane = 0; lane < lanes; lane++) {
            if (leader.mask >> lane & 1) block->threads[first + lane].state = State::kReady;
        }
        any = true;
    }
    return any;
}

// Each warp in turn runs as far ahead of the others as it can: what a missing barrier allows then happens.
void run_block(const std::vector<size_t> &warps, const std::vector<size_t> &order_of_lanes) {
    const size_t count = block->threads.size();
    for (;;) {
        for (size_t warp : warps) {
            const size_t first = warp * 32, lanes = std::min<size_t>(32, count - first);
            do {
                for (size_t lane : order_of_lanes) {
                    if (lane < lanes && block->threads[first + lane].state == State::kReady) resume(block->threads[first + lane], first + lane);
                }
            } while (complete_exchanges(first, lanes));
        }
        size_t done = 0, at_barrier = 0;
        for (auto &thread : block->threads) {
            done += thread.state == State::kDone;
            at_barrier += thread.state == State::kBarrier;
        }
        if (done == count) return;
        if (at_barrier != count) stop("not all threads reach the same barrier");
        for (auto &thread : block->threads) {
            if (thread.place != block->threads.front().place) stop("threads of a block wait at different barriers");
        }
        for (auto &thread : block->threads) thread.state = State::kReady;
    }
}

std::vector<size_t> sequence_of(size_t count, uint64_t seed) {
    std::vector<size_t> sequence(count);
    std::iota(sequence.begin(), sequence.end(), size_t(0));
    if (order == Order::kReverse) std::reverse(sequence.begin(), sequence.end());
    if (order == Order::kShuffled) {
        uint64_t state = seed * 0x9E3779B97F4A7C15ull + 1;
        for (size_t i = count; i > 1; i--) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            std::swap(sequence[i - 1], sequence[state % i]);
        }
    }
    return sequence;
}

}  // namespace

void set_order(Order chosen, uint64_t seed) { order = chosen, order_seed = seed; }

bool defers() { return order == Order::kShuffled; }

namespace {

std::string &skipped_barrier() {
    static std::string place = std::getenv("HOSTCUDA_SKIP_BARRIER") == nullptr ? "" : std::getenv("HOSTCUDA_SKIP_BARRIER");
    return place;
}

bool is_skipped(const char *file, int line) {
    if (skipped_barrier().empty()) return false;
    const char *name = std::strrchr(file, '/');
    return skipped_barrier() == std::string(name == nullptr ? file : name + 1) + ":" + std::to_string(line);
}

}  // namespace

void skip_barrier(const char *place) { skipped_barrier() = place; }

namespace {

void run(dim3 grid, dim3 threads, size_t dynamic_shared, const std::function<void()> &kernel) {
    const size_t count = static_cast<size_t>(threads.x) * threads.y * threads.z;
    const size_t blocks = static_cast<size_t>(grid.x) * grid.y * grid.z;
    Block one;
    block = &one;
    one.kernel = &kernel;
    one.dynamic_bytes = dynamic_shared;
    one.dynamic.reset(new unsigned char[dynamic_shared + 128]);
    one.threads.resize(count);
    for (size_t number : sequence_of(blocks, order_seed + 1)) {
        std::memset(one.dynamic.get(), 0xFF, dynamic_shared + 128);
        for (auto &[key, memory] : one.statics) std::memset(memory.first.get(), 0xFF, memory.second);
        for (size_t i = 0; i < count; i++) {
            Thread &thread = one.threads[i];
            thread.state = State::kReady;
            thread.copies.clear(), thread.groups.clear();
            thread.lane = static_cast<int>(i % 32);
            thread.position.thread = {unsigned(i % threads.x), unsigned(i / threads.x % threads.y), unsigned(i / threads.x / threads.y)};
            thread.position.block = {unsigned(number % grid.x), unsigned(number / grid.x % grid.y), unsigned(number / grid.x / grid.y)};
            thread.position.threads = threads, thread.position.blocks = grid;
            prepare(thread.fiber, stacks.at(i), kStack - i % kStaggers * kStagger, body);
        }
        run_block(sequence_of((count + 31) / 32, order_seed + number), sequence_of(32, order_seed + number));
    }
    block = nullptr;
}

}  // namespace

void launch(dim3 grid, dim3 threads, size_t dynamic_shared, cudaStream_t stream, std::function<void()> kernel) {
    const size_t count = static_cast<size_t>(threads.x) * threads.y * threads.z;
    const size_t blocks = static_cast<size_t>(grid.x) * grid.y * grid.z;
    if (count == 0 || count > 1024 || blocks == 0 || grid.y > 65535 || grid.z > 65535 || dynamic_shared > shared_memory()) {
        failed(cudaErrorInvalidConfiguration);
        return;
    }
    queue(stream, [=, kernel = std::move(kernel)] { run(grid, threads, dynamic_shared, kernel); });
}

const Position *current_position = nullptr;

int lane() { return block->current->lane; }

void *dynamic_shared() {
    const auto address = reinterpret_cast<uintptr_t>(block->dynamic.get());
    return reinterpret_cast<void *>((address + 127) / 128 * 128);
}

void *static_shared(const void *key, size_t bytes) {
    auto &memory = block->statics[key];
    if (memory.first == nullptr) {
        memory = {std::unique_ptr<unsigned char[]>(new unsigned char[bytes]), bytes};
        std::memset(memory.first.get(), 0xFF, bytes);
        block->static_bytes += bytes;
        if (block->static_bytes > 48 * 1024 || block->static_bytes + block->dynamic_bytes > shared_memory()) {
            stop("more shared memory than a block can have");
        }
    }
    return memory.first.get();
}

void block_barrier(const char *file, int line) {
    if (is_skipped(file, line)) return;
    block->current->place = {file, line};
    wait(State::kBarrier, "__syncthreads");
}

void warp_barrier(uint32_t mask, const char *file, int line) {
    if (!is_skipped(file, line)) exchange("__syncwarp", mask, &mask, [](void *const *) {});
}

void exchange(const char *name, uint32_t mask, void *data, void (*combine)(void *const *)) {
    Thread &thread = *block->current;
    thread.mask = mask, thread.data = data, thread.combine = combine;
    wait(State::kExchange, name);
}

namespace {

// Element `half` (0 or 1) of a register of two bf16, the lower one first.
float element(uint32_t pair, int half) { return to_float(Bf16{static_cast<uint16_t>(pair >> 16 * half)}); }

}  // namespace

// PTX ISA, "Matrix Fragments for mma.m16n8k16": with group = lane / 4 and t = lane % 4, register i of A holds row
// group + 8 (i % 2), columns 2 t + 8 (i / 2) and the next; register i of B rows 2 t + 8 i and the next of column group;
// value i of C and D row group + 8 (i / 2), column 2 t + i % 2.
void mma_m16n8k16(float (*d)[4], int m, int n, const uint32_t (*a)[4], const uint32_t (*b)[2]) {
    struct Fragments { float (*d)[4]; int m, n; const uint32_t (*a)[4], (*b)[2]; } mine{d, m, n, a, b};
    exchange("mma.m16n8k16", 0xFFFFFFFFu, &mine, [](void *const *lanes) {
        const auto &first = *static_cast<Fragments *>(lanes[0]);
        static std::vector<std::array<std::array<float, 16>, 16>> a;
        static std::vector<std::array<std::array<float, 8>, 16>> b;
        a.resize(static_cast<size_t>(first.m)), b.resize(static_cast<size_t>(first.n));
        for (int lane = 0; lane < 32; lane++) {
            auto &from = *static_cast<Fragments *>(lanes[lane]);
            const int group = lane / 4, t = lane % 4;
            if (from.m != first.m || from.n != first.n) stop("lanes of a warp multiply different numbers of fragments");
            for (size_t f = 0; f < a.size(); f++) {
                for (int i = 0; i < 4; i++) {
                    for (int half = 0; half < 2; half++) a[f][group + 8 * (i % 2)][2 * t + 8 * (i / 2) + half] = element(from.a[f][i], half);
                }
            }
            for (size_t f = 0; f < b.size(); f++) {
                for (int i = 0; i < 2; i++) {
                    for (int half = 0; half < 2; half++) b[f][2 * t + 8 * i + half][group] = element(from.b[f][i], half);
                }
            }
        }
        float(*d[32])[4];
        for (int lane = 0; lane < 32; lane++) d[lane] = static_cast<Fragments *>(lanes[lane])->d;
        for (size_t f = 0; f < a.size() * b.size(); f++) {
            const auto &left = a[f / b.size()];
            const auto &right = b[f % b.size()];
            float sums[16][8];  // row by row, so that the compiler does a row's columns at once
            for (int lane = 0; lane < 32; lane++) {
                for (int i = 0; i < 4; i++) sums[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2] = d[lane][f][i];
            }
            for (int row = 0; row < 16; row++) {
                for (int k = 0; k < 16; k++) {
                    for (int column = 0; column < 8; column++) sums[row][column] += left[row][k] * right[k][column];
                }
            }
            for (int lane = 0; lane < 32; lane++) {
                for (int i = 0; i < 4; i++) d[lane][f][i] = sums[lane / 4 + 8 * (i / 2)][2 * (lane % 4) + i % 2];
            }
        }
    });
}

void ldmatrix_x4(uint32_t (&d)[4], const void *row, bool transposed) {
    struct Request { uint32_t *d; const void *row; bool transposed; } mine{d, row, transposed};
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) stop("ldmatrix of a row that is not 16-byte aligned");
    exchange("ldmatrix", 0xFFFFFFFFu, &mine, [](void *const *lanes) {
        uint16_t matrix[4][8][8];
        for (int lane = 0; lane < 32; lane++) {
            std::memcpy(matrix[lane / 8][lane % 8], static_cast<Request *>(lanes[lane])->row, 16);
        }
        for (int lane = 0; lane < 32; lane++) {
            auto &to = *static_cast<Request *>(lanes[lane]);
            for (int i = 0; i < 4; i++) {
                const int r = lane / 4, c = 2 * (lane % 4);
                const uint16_t low = to.transposed ? matrix[i][c][r] : matrix[i][r][c];
                const uint16_t high = to.transposed ? matrix[i][c + 1][r] : matrix[i][r][c + 1];
                to.d[i] = low | static_cast<uint32_t>(high) << 16;
            }
        }
    });
}

namespace {

void complete(const Copy &copy) {
    if (copy.valid) std::memcpy(copy.to, copy.from, 16);
    else std::memset(copy.to, 0, 16);
}

}  // namespace

// A copy may arrive at once or only when it is waited for: it does the one in one of the orders, the other in the others.
void cp_async_16(void *to, const void *from, bool valid) {
    if (reinterpret_cast<uintptr_t>(to) % 16 != 0 || (valid && reinterpret_cast<uintptr_t>(from) % 16 != 0)) {
        stop("cp.async of an address that is not 16-byte aligned");
    }
    if (order == Order::kReverse) complete({to, from, valid});
    else block->current->copies.push_back({to, from, valid});
}

void cp_async_commit() { block->current->groups.push_back(block->current->copies.size()); }

void cp_async_wait(int pending) {
    auto &groups = block->current->groups;
    auto &copies = block->current->copies;
    if (groups.size() <= static_cast<size_t>(pending)) return;
    const size_t arrived = groups.size() - static_cast<size_t>(pending), end = groups[arrived - 1];
    for (size_t i = 0; i < end; i++) complete(copies[i]);
    copies.erase(copies.begin(), copies.begin() + static_cast<ptrdiff_t>(end));
    groups.erase(groups.begin(), groups.begin() + static_cast<ptrdiff_t>(arrived));
    for (size_t &group : groups) group -= end;
}

}  // namespace hostcuda

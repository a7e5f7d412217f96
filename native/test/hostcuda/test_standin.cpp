// The stand-in itself: barriers, exchanges, tensor-core fragments, asynchronous copies, and that it finds mistakes.
#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

#include "cuda/device.cuh"
#include "hostcuda/orders.h"

using namespace test;
using namespace metalora::cuda;

namespace {

// Whether a launch ends the program.
bool dies(int signal, const std::function<void()> &body) {
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
        if (std::freopen("/dev/null", "w", stderr) == nullptr) _exit(1);
        std::signal(signal, SIG_DFL);
        body();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == signal;
}

bool aborts(const std::function<void()> &body) { return dies(SIGABRT, body); }

void reverse_kernel(const int *in, int *out) {
    ML_SHARED_ARRAY(int, shared, 96);
    shared[threadIdx.x] = in[blockIdx.x * 96 + threadIdx.x];
    __syncthreads();  // kReverseBarrier
    out[blockIdx.x * 96 + threadIdx.x] = shared[95 - threadIdx.x];
}

constexpr int kReverseBarrier = __LINE__ - 4;

std::vector<int> reversed() {
    std::vector<int> in(288), out(288, -1);
    for (int i = 0; i < 288; i++) in[i] = i;
    EXPECT(launch(reverse_kernel, 3, 96, 0, nullptr, in.data(), out.data()) == cudaSuccess);
    return out;
}

std::vector<int> reversed_expected() {
    std::vector<int> out(288);
    for (int i = 0; i < 288; i++) out[i] = i / 96 * 96 + 95 - i % 96;
    return out;
}

void sums_kernel(const float *in, float *out) {
    const float sum = block_sum<128>(in[blockIdx.x * 128 + threadIdx.x]);
    const float again = block_sum<128>(sum);
    out[blockIdx.x * 128 + threadIdx.x] = sum + again;
}

void mma_kernel(const bf16 *a, const bf16 *b, float *d, bool through_shared) {
    const int lane = threadIdx.x, group = lane / 4, t = lane % 4;
    ML_SHARED_ARRAY(Pack<bf16>, tile_a, 32);  // [16, 16]
    ML_SHARED_ARRAY(Pack<bf16>, tile_b, 32);  // [16, 16] of which 8 columns count
    bf16 *shared_a = tile_a[0].at, *shared_b = tile_b[0].at;
    uint32_t fa[4], fb[2];
    if (through_shared) {
        cp_async_16(shared_a + lane * 8, a + lane * 8, true);
        cp_async_16(shared_b + lane * 8, b + lane / 2 * 8, lane % 2 == 0);
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
        // Matrix i of A: rows 8 (i % 2) on, columns 8 (i / 2) on. Of B, which is stored k by n: transposed.
        ldmatrix_x4(fa, shared_a + (lane % 8 + 8 * (lane / 8 % 2)) * 16 + 8 * (lane / 16));
        uint32_t four[4];
        ldmatrix_x4_trans(four, shared_b + (lane % 8 + 8 * (lane / 8 % 2)) * 16 + 8 * (lane / 16));
        fb[0] = four[0], fb[1] = four[1];
    } else {
        auto pair = [](bf16 low, bf16 high) { return low.bits | static_cast<uint32_t>(high.bits) << 16; };
        for (int i = 0; i < 4; i++) {
            const bf16 *at = a + (group + 8 * (i % 2)) * 16 + 2 * t + 8 * (i / 2);
            fa[i] = pair(at[0], at[1]);
        }
        for (int i = 0; i < 2; i++) fb[i] = pair(b[(2 * t + 8 * i) * 8 + group], b[(2 * t + 8 * i + 1) * 8 + group]);
    }
    float sum[4] = {0, 0, 0, 0};
    mma_m16n8k16(sum, fa, fb);
    for (int i = 0; i < 4; i++) d[(group + 8 * (i / 2)) * 8 + 2 * t + i % 2] = sum[i];
}

void late_copy_kernel(const float *in, float *out, bool wait) {
    ML_SHARED_ARRAY(Pack<float>, tile, 32);
    cp_async_16(&tile[threadIdx.x], in + 4 * threadIdx.x, threadIdx.x != 3);
    cp_async_commit();
    cp_async_commit();  // an empty group, still under way
    if (wait) cp_async_wait<1>();
    __syncthreads();
    for (int i = 0; i < 4; i++) out[4 * threadIdx.x + i] = tile[31 - threadIdx.x].at[i];
}

void divergent_kernel(int kind) {
    if (kind == 0 && threadIdx.x < 10) return;
    if (kind == 1 && threadIdx.x < 16) __syncwarp();
    if (kind == 2 && threadIdx.x == 5) __shfl_sync(kFullMask, 1, 0);
    if (kind == 3 && threadIdx.x < 32) {
        __syncthreads();
        return;
    }
    __syncthreads();
}

}  // namespace

TEST(standin_barriers_order_shared_memory) {
    in_every_order([] { EXPECT(reversed() == reversed_expected()); });
}

TEST(standin_shows_a_removed_barrier) {
    hostcuda::skip_barrier(format("test_standin.cpp:%d", kReverseBarrier).c_str());
    in_every_order([] { EXPECT(reversed() != reversed_expected()); });
    hostcuda::skip_barrier("");
}

TEST(standin_sums_have_the_same_bits_in_every_order) {
    Random random(1);
    const auto in = random.normal(5 * 128);
    std::vector<float> first;
    in_every_order([&] {
        std::vector<float> out(in.size());
        EXPECT(launch(sums_kernel, 5, 128, 0, nullptr, in.data(), out.data()) == cudaSuccess);
        for (int block = 0; block < 5; block++) {
            double sum = 0;
            for (int i = 0; i < 128; i++) sum += in[block * 128 + i];
            for (int i = 0; i < 128; i++) EXPECT(std::fabs(out[block * 128 + i] - 129 * sum) < 1e-3);
        }
        if (first.empty()) first = out;
        EXPECT_SAME_BITS("sums", first, out);
    });
}

TEST(standin_multiplies_fragments_as_ptx_lays_them_out) {
    Random random(2);
    std::vector<bf16> a(256), b(128);
    std::vector<double> expected(128, 0.0);
    for (auto &x : a) x = metalora::cuda::to_bf16(static_cast<float>(random.uniform() - 0.5));
    for (auto &x : b) x = metalora::cuda::to_bf16(static_cast<float>(random.uniform() - 0.5));
    for (int m = 0; m < 16; m++) {
        for (int n = 0; n < 8; n++) {
            for (int k = 0; k < 16; k++) expected[m * 8 + n] += double(to_float(a[m * 16 + k])) * to_float(b[k * 8 + n]);
        }
    }
    in_every_order([&] {
        for (bool through_shared : {false, true}) {
            std::vector<float> d(128, -1.0f);
            EXPECT(launch(mma_kernel, 1, 32, 0, nullptr, a.data(), b.data(), d.data(), through_shared) == cudaSuccess);
            EXPECT_CLOSE("d", d, expected, 1e-6);
        }
    });
}

// At the latest; in one of the orders they arrive before.
TEST(standin_copies_arrive_at_the_wait) {
    std::vector<float> in(128);
    for (int i = 0; i < 128; i++) in[i] = float(i);
    int late_orders = 0;
    in_every_order([&] {
        bool late = true;
        for (bool wait : {true, false}) {
            alignas(16) float from[128], out[128];
            std::copy(in.begin(), in.end(), from);
            EXPECT(launch(late_copy_kernel, 1, 32, 0, nullptr, static_cast<const float *>(from), out, wait) == cudaSuccess);
            for (int i = 0; i < 128; i++) {
                const int source = (31 - i / 4) * 4 + i % 4;
                if (wait) EXPECT(out[i] == (source / 4 == 3 ? 0 : from[source]));
                else late = late && out[i] != out[i];
            }
        }
        late_orders += late;
    });
    EXPECT(late_orders == 2);
}

TEST(standin_stops_at_divergent_barriers) {
    for (int kind = 0; kind < 4; kind++) {
        Case name(format("kind %d", kind));
        EXPECT(aborts([&] { (void)launch(divergent_kernel, 1, 64, 0, nullptr, kind); }));
    }
    EXPECT(!aborts([] { (void)launch(divergent_kernel, 1, 64, 0, nullptr, 4); }));
}

TEST(standin_refuses_launches_a_device_would) {
    EXPECT(launch(divergent_kernel, 1, 2048, 0, nullptr, 4) != cudaSuccess);
    EXPECT(launch(divergent_kernel, 0, 32, 0, nullptr, 4) != cudaSuccess);
    EXPECT(launch(divergent_kernel, 1, 32, 300 << 10, nullptr, 4) != cudaSuccess);
}

// As late as the host waits, in one of the orders: pinned memory is read then, other memory when the copy is asked for.
TEST(standin_streams_may_be_late) {
    int late = 0;
    in_every_order([&] {
        cudaStream_t stream = nullptr;
        int *device = nullptr, *pinned = nullptr;
        EXPECT(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
        EXPECT(cudaMalloc(reinterpret_cast<void **>(&device), 8) == cudaSuccess);
        EXPECT(cudaHostAlloc(reinterpret_cast<void **>(&pinned), 4, cudaHostAllocDefault) == cudaSuccess);
        int ordinary = 1, back[2] = {0, 0};
        *pinned = 1;
        EXPECT(cudaMemcpyAsync(device, &ordinary, 4, cudaMemcpyHostToDevice, stream) == cudaSuccess);
        EXPECT(cudaMemcpyAsync(device + 1, pinned, 4, cudaMemcpyHostToDevice, stream) == cudaSuccess);
        ordinary = *pinned = 2;
        EXPECT(cudaMemcpyAsync(back, device, 8, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
        EXPECT(cudaStreamSynchronize(stream) == cudaSuccess);
        EXPECT(back[0] == 1);
        late += back[1] == 2;
        EXPECT(cudaFree(device) == cudaSuccess && cudaFreeHost(pinned) == cudaSuccess && cudaStreamDestroy(stream) == cudaSuccess);
    });
    EXPECT(late == 1);
}

// A second device's stream, memory and errors, as far as mixing them up would be an error.
TEST(standin_keeps_devices_apart) {
    cudaStream_t stream = nullptr;
    int *memory = nullptr;
    EXPECT(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    EXPECT(cudaMalloc(reinterpret_cast<void **>(&memory), 4) == cudaSuccess);
    EXPECT(cudaSetDevice(1) == cudaSuccess && cudaSetDevice(2) != cudaSuccess);
    EXPECT(cudaMemsetAsync(memory, 0, 4, stream) == cudaErrorInvalidValue);
    EXPECT(launch(divergent_kernel, 1, 64, 0, stream, 3) != cudaSuccess);
    EXPECT(cudaMemsetAsync(memory, 0, 4, nullptr) != cudaSuccess && cudaGetLastError() == cudaErrorInvalidValue);
    EXPECT(cudaGetLastError() == cudaSuccess);
    EXPECT(cudaSetDevice(0) == cudaSuccess);
    EXPECT(cudaMemsetAsync(memory, 0, 8, stream) == cudaSuccess);  // allocations are rounded up to 256 bytes
    EXPECT(cudaMemsetAsync(memory, 0, 512, stream) == cudaErrorInvalidValue);
    cudaGetLastError();
    EXPECT(cudaFree(memory) == cudaSuccess && cudaFree(memory) != cudaSuccess && cudaStreamDestroy(stream) == cudaSuccess);
    cudaGetLastError();
}

#if !defined(METALORA_SANITIZE)
TEST(standin_keeps_the_host_from_device_memory) {
    EXPECT(dies(SIGSEGV, [] {
        void *memory = nullptr;
        (void)cudaMalloc(&memory, 4);
        *static_cast<volatile int *>(memory) = 1;
    }));
}
#endif

TEST(bf16_rounds_to_nearest_even) {
    const std::pair<uint32_t, uint16_t> cases[] = {{0x3F800000, 0x3F80}, {0x3F808000, 0x3F80}, {0x3F818000, 0x3F82},
                                                   {0x3F808001, 0x3F81}, {0x7F7FFFFF, 0x7F80}, {0xBF808001, 0xBF81}};
    for (auto [bits, expected] : cases) {
        float value;
        std::memcpy(&value, &bits, sizeof value);
        EXPECT(metalora::cuda::to_bf16(value).bits == expected);
    }
    EXPECT(to_float(metalora::cuda::to_bf16(NAN)) != to_float(metalora::cuda::to_bf16(NAN)));
}

void add_kernel(int *to, int value) {
    if (threadIdx.x == 0) *to += value;
}

TEST(a_captured_stream_keeps_its_work_for_the_launches) {
    cudaStream_t stream = nullptr;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    int sum = 1, copy = 0, cleared = 5, value = 10;
    EXPECT(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    EXPECT(launch(add_kernel, 1, 32, 0, stream, &sum, value) == cudaSuccess && sum == 11);  // at once
    EXPECT(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    EXPECT(launch(add_kernel, 1, 32, 0, stream, &sum, value) == cudaSuccess);
    EXPECT(cudaMemcpyAsync(&copy, &sum, sizeof copy, cudaMemcpyDeviceToDevice, stream) == cudaSuccess);
    EXPECT(cudaMemsetAsync(&cleared, 0, sizeof cleared, stream) == cudaSuccess);
    EXPECT(launch(add_kernel, 1, 2048, 0, stream, &sum, value) == cudaErrorInvalidConfiguration);  // at the call, not later
    value = 1000;  // arguments are those of the call
    EXPECT(sum == 11 && copy == 0 && cleared == 5);
    EXPECT(cudaStreamEndCapture(stream, &graph) == cudaSuccess && sum == 11);
    EXPECT(cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess);
    EXPECT(cudaGraphDestroy(graph) == cudaSuccess);
    EXPECT(cudaGraphLaunch(executable, stream) == cudaSuccess && sum == 21 && copy == 21 && cleared == 0);
    EXPECT(cudaGraphLaunch(executable, stream) == cudaSuccess && sum == 31 && copy == 31);
    EXPECT(cudaGraphExecDestroy(executable) == cudaSuccess);
    EXPECT(cudaStreamDestroy(stream) == cudaSuccess);
}

TEST(a_capture_is_spoilt_by_what_allocates_frees_or_waits) {
    cudaStream_t stream = nullptr;
    EXPECT(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
    void *before = nullptr;
    EXPECT(cudaMalloc(&before, 64) == cudaSuccess);
    int sum = 0;
    const std::function<cudaError_t()> calls[] = {
        [] { void *memory = nullptr; return cudaMalloc(&memory, 64); }, [&] { return cudaFree(before); },
        [&] { return cudaStreamSynchronize(stream); }, [] { return cudaEventSynchronize(nullptr); },
    };
    for (const auto &call : calls) {
        cudaGraph_t graph = nullptr;
        EXPECT(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
        EXPECT(call() == cudaErrorStreamCaptureUnsupported);
        EXPECT(launch(add_kernel, 1, 32, 0, stream, &sum, 1) == cudaErrorStreamCaptureInvalidated);
        EXPECT(cudaStreamEndCapture(stream, &graph) == cudaErrorStreamCaptureInvalidated && graph == nullptr);
    }
    EXPECT(sum == 0 && cudaStreamSynchronize(stream) == cudaSuccess && cudaFree(before) == cudaSuccess);
    EXPECT(cudaStreamDestroy(stream) == cudaSuccess);
}

// The CPU backend: picks the instruction set, counts cores, and serves the kernels' view of the context.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <new>
#include <set>
#include <sstream>
#include <string>

#include "core/blas.h"
#include "core/context.h"
#include "core/error.h"
#include "core/isa_choice.h"
#include "cpu/runtime.h"
#include "cpu/table.h"

#if defined(METALORA_X86_64)
#include <cpuid.h>
#endif

namespace metalora {

// ---- the machine ------------------------------------------------------------------------------------------------

static std::string first_line(const std::string &path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// Physical cores this process may use: hyper-threads of a core share its arithmetic units, so one of them is enough.
static int physical_share() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
    std::set<std::string> cores;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed)) continue;
        std::string siblings =
            first_line("/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list");
        cores.insert(siblings.empty() ? std::to_string(cpu) : siblings);
    }
    int count = std::max(1, static_cast<int>(cores.size()));
    // A container's quota: "<microseconds> <period>" or "max <period>".
    std::istringstream quota(first_line("/sys/fs/cgroup/cpu.max"));
    double microseconds = 0, period = 0;
    if (quota >> microseconds >> period && period > 0) {
        count = std::min(count, std::max(1, static_cast<int>(microseconds / period + 0.5)));
    }
    return count;
}

static int64_t memory_total() {
    int64_t total = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
    std::istringstream limit(first_line("/sys/fs/cgroup/memory.max"));
    int64_t bytes = 0;
    if (limit >> bytes && bytes > 0) total = std::min(total, bytes);
    return total;
}

static std::string processor_name() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);) {
        if (line.rfind("model name", 0) == 0) {
            size_t colon = line.find(": ");
            if (colon != std::string::npos) return line.substr(colon + 2);
        }
    }
    return "CPU";
}

// ---- instruction set --------------------------------------------------------------------------------------------

struct Isa {
    const char *name;
    const OpTable *table;
    bool supported;
    const char *needs;
};

#if defined(METALORA_X86_64)

static Processor processor(char (&vendor)[13]) {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    Processor p{vendor, 0, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), false};
    p.avx512 = p.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (__get_cpuid(0, &eax, &ebx, &ecx, &edx) != 0) {
        const unsigned name[] = {ebx, edx, ecx};
        std::memcpy(vendor, name, sizeof name);
    }
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0) {
        p.family = eax >> 8 & 15;
        if (p.family == 15) p.family += eax >> 20 & 255;
    }
    return p;
}

#else

static Processor processor(char (&vendor)[13]) { return {vendor, 0, false, false}; }

#endif

// Whether two bf16 products are one instruction.
static bool has_pair_products() {
#if defined(METALORA_X86_64)
    return __builtin_cpu_supports("avx512bf16");
#else
    return false;
#endif
}

static ml_status choose_isa(const char *forced, Isa &chosen, std::string &reason) {
    char vendor[13] = "";
    const Processor here = processor(vendor);
    const Isa isas[] = {
#if defined(METALORA_X86_64)
        {"avx512", &avx512::table, here.avx512, "AVX-512 F, BW, DQ and VL"},
        {"avx2", &avx2::table, here.avx2, "AVX2 and FMA"},
#endif
        {"portable", &portable::table, true, ""},
    };
    const IsaChoice choice = forced == nullptr ? choose_isa(here) : IsaChoice{forced, "it was asked for"};
    reason = choice.reason;
    for (const Isa &isa : isas) {
        if (std::strcmp(choice.isa, isa.name) != 0) continue;
        if (!isa.supported) {
            return fail(ML_BACKEND_UNAVAILABLE,
                        "ml_context_create: isa: \"%s\" was asked for, but this processor (%s) or its operating system "
                        "lacks %s; leave it open to use the fastest there is",
                        forced, processor_name().c_str(), isa.needs);
        }
        chosen = isa;
        return ML_OK;
    }
    return fail(ML_INVALID_ARGUMENT, "ml_context_create: isa: \"%.64s\" is not one of %sportable", forced,
#if defined(METALORA_X86_64)
                "avx512, avx2, "
#else
                ""
#endif
    );
}

// ---- memory -----------------------------------------------------------------------------------------------------

static ml_status allocate(Context &, size_t bytes, void **pointer) {
    const size_t rounded = bytes == 0 ? 64 : (bytes + 63) / 64 * 64;
    void *memory = std::aligned_alloc(64, rounded);
    if (memory == nullptr) return fail(ML_OUT_OF_MEMORY, "no memory for %zu bytes", bytes);
    std::memset(memory, 0, rounded);
    *pointer = memory;
    return ML_OK;
}

static void release(Context &, void *pointer) { std::free(pointer); }

static ml_status move_bytes(Context &, void *to, const void *from, size_t bytes) {
    if (bytes > 0) std::memmove(to, from, bytes);
    return ML_OK;
}

static ml_status synchronize(Context &) { return ML_OK; }

// A BLAS reads f32 weights as they come.
static bool row_major(int32_t storage_dtype) { return storage_dtype == ML_F32 && blas() != nullptr; }

static ml_status copy_rows(Context &, void *to, size_t to_stride, const void *from, size_t from_stride, size_t bytes, size_t rows) {
    for (size_t row = 0; row < rows; row++) {
        std::memcpy(static_cast<char *>(to) + row * to_stride, static_cast<const char *>(from) + row * from_stride, bytes);
    }
    return ML_OK;
}

static int64_t weight_bytes(const ml_weight_desc &d) {
    if (row_major(d.storage_dtype)) return d.out_features * d.in_features * 4;
    const int64_t panels = (d.out_features + kPanel - 1) / kPanel;
    return panels * kPanel * d.in_features * (d.storage_dtype == ML_F32 ? 4 : 2);
}

ml_status open_cpu(Context &context, const ml_context_options &options) {
    if (options.activation_dtype != ML_F32 && options.activation_dtype != ML_ACTIVATIONS_DEFAULT) {
        return fail(ML_UNSUPPORTED, "ml_context_create: activation_dtype: the CPU backend computes in ML_F32");
    }
    if (options.arithmetic != ML_F32 && options.arithmetic != ML_BF16) {
        return fail(ML_INVALID_ARGUMENT, "ml_context_create: arithmetic: %d is neither ML_F32 nor ML_BF16", options.arithmetic);
    }
    Isa isa{};
    if (ml_status status = choose_isa(options.isa, isa, context.isa_reason); status != ML_OK) return status;
    const int threads = options.threads == 0 ? physical_share() : options.threads;
    try {
        context.pool = std::make_unique<ThreadPool>(threads);
    } catch (const std::bad_alloc &) {
        throw;
    } catch (const std::exception &e) {
        return fail(ML_BACKEND_UNAVAILABLE, "ml_context_create: threads: could not start %d threads: %s", threads, e.what());
    }
    context.dots_pairs = std::strcmp(isa.name, "avx512") == 0 && has_pair_products();
    const int32_t capabilities = context.dots_pairs ? ML_GAINS_BY_BF16 : 0;
    context.backend = {ML_BACKEND_CPU, ML_F32,     capabilities, true,      isa.table,   allocate, release,     move_bytes,
                       move_bytes,     move_bytes, copy_rows,    synchronize, nullptr, weight_bytes, nullptr, nullptr};
    context.memory_total = memory_total();
    context.device_name = processor_name();
    context.isa = isa.name;
    context.rounds_to_bf16 = options.arithmetic == ML_BF16;
    context.blas = blas() == nullptr ? "none (own kernels)" : blas()->name;
    if (context.rounds_to_bf16) {
        context.blas += context.dots_pairs ? "; bf16 products by AVX512_BF16" : "; bf16 products in fp32, no faster";
    }
    return ML_OK;
}

// ---- the kernels' view of the context ---------------------------------------------------------------------------

int cpu_threads(const Context &context) { return context.pool->threads(); }

bool cpu_rounds_to_bf16(const Context &context) { return context.rounds_to_bf16; }
bool cpu_dots_pairs(const Context &context) { return context.dots_pairs; }

void cpu_run(Context &context, int parts, void (*body)(void *, int), void *argument) {
    context.pool->run(parts, body, argument);
}

ScratchMark cpu_scratch_mark(const Context &context) { return context.scratch.mark(); }
void cpu_scratch_release(Context &context, const ScratchMark &mark) { context.scratch.release(mark); }

void *cpu_scratch(Context &context, size_t bytes) {
    void *memory = context.scratch.take(bytes);
    if (memory == nullptr) fail(ML_OUT_OF_MEMORY, "no memory for %zu bytes of scratch space", bytes);
    context.note_peak();
    return memory;
}

const void *weight_data(const ml_weight &w) { return w.data; }
int64_t weight_out(const ml_weight &w) { return w.out_features; }
int64_t weight_in(const ml_weight &w) { return w.in_features; }
bool weight_is_bf16(const ml_weight &w) { return w.storage_dtype == ML_BF16; }
bool weight_is_row_major(const ml_weight &w) { return row_major(w.storage_dtype); }

}  // namespace metalora

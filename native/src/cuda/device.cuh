// What every kernel source includes: types, launches, shared memory, warp and tensor-core primitives. nvcc compiles it to
// the real thing. Under METALORA_HOSTCUDA, in tests only, g++ compiles the same sources against a stand-in that runs each
// CUDA thread as a fiber (test/hostcuda), so that their logic is tested where no GPU is. What that asks of a kernel:
// launches through launch(), shared memory through the two macros below, and no inline PTX outside this file.
#pragma once

#include <cstdint>

#include "core/stride.h"

#ifdef METALORA_HOSTCUDA
#include "hostcuda/hostcuda.h"
#define ML_UNROLL
#else
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#define ML_UNROLL _Pragma("unroll")
#endif

namespace metalora {
namespace cuda {

constexpr int kWarp = 32;
constexpr unsigned kFullMask = 0xFFFFFFFFu;

// ---- numbers ----------------------------------------------------------------------------------------------------

#ifdef METALORA_HOSTCUDA
using bf16 = hostcuda::Bf16;
__device__ inline float to_float(bf16 x) { return hostcuda::to_float(x); }
__device__ inline bf16 to_bf16(float x) { return hostcuda::to_bf16(x); }
#else
using bf16 = __nv_bfloat16;
__device__ inline float to_float(bf16 x) { return __bfloat162float(x); }
__device__ inline bf16 to_bf16(float x) { return __float2bfloat16_rn(x); }
#endif
__device__ inline float to_float(float x) { return x; }

// Two bf16 in a register, the first one in its lower half.
__device__ inline uint32_t bf16_pair(float low, float high) {
#ifdef METALORA_HOSTCUDA
    const bf16 pair[2] = {to_bf16(low), to_bf16(high)};
#else
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
#endif
    uint32_t bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

// 2^x to within 2^-22; 0 where that is too small for a normal number.
__device__ inline float exp2_approximate(float x) {
#ifdef METALORA_HOSTCUDA
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

template <class T> __device__ T from_float(float x);
template <> __device__ inline float from_float<float>(float x) { return x; }
template <> __device__ inline bf16 from_float<bf16>(float x) { return to_bf16(x); }

// N values at a time, in accesses of 16 bytes where N > 1: the address has then to be a multiple of 16.
template <class T> struct alignas(16) Pack {
    static constexpr int kSize = 16 / sizeof(T);
    T at[kSize];
};

template <int N, class T> __device__ inline void load(float (&values)[N], const T *from) {
    if constexpr (N == 1) {
        values[0] = to_float(*from);
    } else {
        constexpr int kSize = Pack<T>::kSize;
        static_assert(N % kSize == 0, "whole packs");
        ML_UNROLL
        for (int i = 0; i < N; i += kSize) {
            const Pack<T> pack = *reinterpret_cast<const Pack<T> *>(from + i);
            ML_UNROLL
            for (int j = 0; j < kSize; j++) values[i + j] = to_float(pack.at[j]);
        }
    }
}

template <int N, class T> __device__ inline void store(T *to, const float (&values)[N]) {
    if constexpr (N == 1) {
        *to = from_float<T>(values[0]);
    } else {
        constexpr int kSize = Pack<T>::kSize;
        static_assert(N % kSize == 0, "whole packs");
        ML_UNROLL
        for (int i = 0; i < N; i += kSize) {
            Pack<T> pack;
            ML_UNROLL
            for (int j = 0; j < kSize; j++) pack.at[j] = from_float<T>(values[i + j]);
            *reinterpret_cast<Pack<T> *>(to + i) = pack;
        }
    }
}

// Whether every address is a multiple of 16 (null is) and `width`, the elements of a row (or several such
// numbers, joined by |), one of N.
template <int N, class... Pointers> inline bool packable(int64_t width, Pointers... pointers) {
    return width % N == 0 && ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

// ---- shared memory ----------------------------------------------------------------------------------------------

#ifdef METALORA_HOSTCUDA
#define ML_SHARED_ARRAY(type, name, count)      \
    static const char name##_key = 0;           \
    auto &name = *hostcuda::static_shared<type[count]>(&name##_key)
#define ML_DYNAMIC_SHARED(type, name) type *name = static_cast<type *>(hostcuda::dynamic_shared())
#else
#define ML_SHARED_ARRAY(type, name, count) __shared__ type name[count]
#define ML_DYNAMIC_SHARED(type, name)                                  \
    extern __shared__ __align__(128) unsigned char dynamic_shared_[];  \
    type *name = reinterpret_cast<type *>(dynamic_shared_)
#endif

// ---- reductions -------------------------------------------------------------------------------------------------

// The same bits in every lane, in an order that does not depend on timing.
template <class T> __device__ inline T warp_sum(T value) {
    for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(kFullMask, value, offset);
    return value;
}

// The sum over a block of kThreads threads, the same bits in every thread. All of the block has to call it.
template <int kThreads, class T> __device__ inline T block_sum(T value) {
    static_assert(kThreads % kWarp == 0 && kThreads <= 1024, "whole warps");
    ML_SHARED_ARRAY(T, partial, kThreads / kWarp);
    value = warp_sum(value);
    __syncthreads();  // an earlier sum may still be read
    if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
    __syncthreads();
    T total = 0;
    for (int warp = 0; warp < kThreads / kWarp; warp++) total += partial[warp];
    return total;
}

// ---- tensor cores and asynchronous copies -----------------------------------------------------------------------

// d[16, 8] += a[16, 16] b[16, 8], bf16 in and float out, in the fragment layout of PTX mma.m16n8k16.
__device__ inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#ifdef METALORA_HOSTCUDA
    hostcuda::mma_m16n8k16(&d, 1, 1, &a, &b);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// The same for all pairs of kM left and kN right fragments.
template <int kM, int kN>
__device__ inline void mma_m16n8k16(float (&d)[kM][kN][4], const uint32_t (&a)[kM][4], const uint32_t (&b)[kN][2]) {
#ifdef METALORA_HOSTCUDA
    hostcuda::mma_m16n8k16(&d[0][0], kM, kN, a, b);
#else
    ML_UNROLL
    for (int i = 0; i < kM; i++) {
        ML_UNROLL
        for (int j = 0; j < kN; j++) mma_m16n8k16(d[i][j], a[i], b[j]);
    }
#endif
}

// Four 8 x 8 matrices of bf16 from shared memory; lane l gives the address of row l % 8 of matrix l / 8.
__device__ inline void ldmatrix_x4(uint32_t (&d)[4], const void *row) {
#ifdef METALORA_HOSTCUDA
    hostcuda::ldmatrix_x4(d, row, false);
#else
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(address));
#endif
}

// The same, each matrix transposed.
__device__ inline void ldmatrix_x4_trans(uint32_t (&d)[4], const void *row) {
#ifdef METALORA_HOSTCUDA
    hostcuda::ldmatrix_x4(d, row, true);
#else
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3]) : "r"(address));
#endif
}

// Starts copying 16 bytes from global to shared memory, zeros where not `valid` (`from` is then not read). They are there
// for this thread after cp_async_wait, for others after a barrier behind it.
__device__ inline void cp_async_16(void *to, const void *from, bool valid) {
#ifdef METALORA_HOSTCUDA
    hostcuda::cp_async_16(to, from, valid);
#else
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(valid ? 16 : 0) : "memory");
#endif
}

__device__ inline void cp_async_commit() {
#ifdef METALORA_HOSTCUDA
    hostcuda::cp_async_commit();
#else
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most kPending of this thread's groups are still under way.
template <int kPending> __device__ inline void cp_async_wait() {
#ifdef METALORA_HOSTCUDA
    hostcuda::cp_async_wait(kPending);
#else
    asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// ---- launches ---------------------------------------------------------------------------------------------------

// Blocks that cover `count` elements.
__host__ __device__ inline int64_t blocks_for(int64_t count, int64_t each) { return (count + each - 1) / each; }

// A grid as computed from shapes, which may be larger than a device takes.
struct Grid {
    int64_t x, y, z;
    Grid(int64_t x, int64_t y = 1, int64_t z = 1) : x(x), y(y), z(z) {}
};

// Shared memory that a block of the current device can ask for at most: 99 KiB on sm_86 and sm_89, 163 on sm_80, 227 on sm_90.
inline size_t shared_memory_limit() {
    int device = 0, bytes = 0;
    if (cudaGetDevice(&device) != cudaSuccess
        || cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device) != cudaSuccess) {
        cudaGetLastError();
        return 48 * 1024;  // which every device has
    }
    return static_cast<size_t>(bytes);
}

// While scratch memory is planned (ml_plan_begin), an op takes its scratch memory and launches nothing. Per thread, because
// launch() gets no context.
inline thread_local bool planning = false;

class Planning {
public:
    explicit Planning(bool on) { planning = on; }
    ~Planning() { planning = false; }
    Planning(const Planning &) = delete;
    Planning &operator=(const Planning &) = delete;
};

// Runs a kernel over a grid. What fails here leaves no error behind that a later call would find.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), Grid grid, dim3 block, size_t shared, cudaStream_t stream, Arguments... arguments) {
    if (grid.x > 0x7FFFFFFF || grid.y > 65535 || grid.z > 65535) return cudaErrorInvalidConfiguration;
    if (planning) return cudaSuccess;
    const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y), static_cast<unsigned>(grid.z));
#ifdef METALORA_HOSTCUDA
    hostcuda::launch(blocks, block, shared, stream, [=] { kernel(arguments...); });
    return cudaGetLastError();
#else
    if (shared > 32 * 1024) {  // with its own arrays, which are below 16 KiB, it may need more than the 48 that it has anyhow
        // The kernel's permission is one of the process: always the same, so that threads cannot take it from each other.
        cudaFuncAttributes own{};
        cudaError_t error = cudaFuncGetAttributes(&own, reinterpret_cast<const void *>(kernel));
        if (error == cudaSuccess) {
            error = cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         static_cast<int>(shared_memory_limit() - own.sharedSizeBytes));
        }
        if (error != cudaSuccess) {
            cudaGetLastError();
            return error;
        }
    }
    kernel<<<blocks, block, shared, stream>>>(static_cast<Parameters>(arguments)...);
    return cudaGetLastError();
#endif
}

}  // namespace cuda
}  // namespace metalora

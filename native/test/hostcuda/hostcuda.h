// A stand-in for the CUDA launch, for tests where no GPU is: each CUDA thread is a fiber on the CPU. Barriers and warp
// exchanges yield until all of the block or of the warp have arrived; shared memory is rubbish (NaN) before every block.
// A block whose threads do not all reach a barrier, or wait at different places, ends the program with what they wait
// for. Blocks and threads run in a chosen order: a kernel that is right gives the same bits in each.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(...)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint2 {
    unsigned x, y;
};
struct uint3 {
    unsigned x, y, z;
};

enum cudaError_t {
    cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2, cudaErrorInvalidConfiguration = 9, cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400, cudaErrorIllegalState = 401, cudaErrorNotSupported = 801, cudaErrorUnknown = 999, cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901
};
struct CUstream_st;
using cudaStream_t = CUstream_st *;

namespace hostcuda {

// ---- types ------------------------------------------------------------------------------------------------------

namespace types {  // of its own, so that a call with a Bf16 does not find the functions of hostcuda by its argument
struct Bf16 {
    uint16_t bits;
};
}  // namespace types
using types::Bf16;

inline float to_float(Bf16 x) {
    const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// To the nearest, to even between two, as __float2bfloat16_rn.
inline Bf16 to_bf16(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (value != value) return Bf16{0x7FFF};
    return Bf16{static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
}

// ---- launches ---------------------------------------------------------------------------------------------------

enum class Order { kForward, kReverse, kShuffled };

void set_order(Order order, uint64_t seed = 1);

// Takes a barrier out: the one at this place of a source file, "name.cu:line", does nothing from now on; "": none. A program
// can be run that way with the environment variable HOSTCUDA_SKIP_BARRIER.
void skip_barrier(const char *place);

// Gives a kernel to a stream; `kernel` holds its arguments by value. What is wrong is left for cudaGetLastError.
void launch(dim3 grid, dim3 block, size_t dynamic_shared, cudaStream_t stream, std::function<void()> kernel);

// The same for other work of a stream.
cudaError_t queue(cudaStream_t stream, std::function<void()> work);

// Whether streams keep work back until the host waits, as a device may: in one of the orders.
bool defers();

struct Position {
    uint3 thread, block;
    dim3 threads, blocks;
};
extern const Position *current_position;  // of the thread that runs; after a switch it is another's
inline const Position &position() { return *current_position; }

void *dynamic_shared();
void *static_shared(const void *key, size_t bytes);
template <class Array> Array *static_shared(const void *key) {
    return static_cast<Array *>(static_shared(key, sizeof(Array)));
}

// ---- barriers and exchanges -------------------------------------------------------------------------------------

void block_barrier(const char *file, int line);
void warp_barrier(uint32_t mask, const char *file, int line);

// Waits until every lane of the mask has come to the same exchange, each with its data; then combine(data of the 32
// lanes, nullptr outside the mask) runs once, and all go on.
void exchange(const char *name, uint32_t mask, void *data, void (*combine)(void *const *lanes));

template <class T> struct Shuffle {
    T value, result;
    int source;
};

template <class T> T shuffle(uint32_t mask, T value, int source) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "32 or 64 bits");
    Shuffle<T> mine{value, T(), source};
    exchange("__shfl_sync", mask, &mine, [](void *const *lanes) {
        for (int lane = 0; lane < 32; lane++) {
            auto *at = static_cast<Shuffle<T> *>(lanes[lane]);
            if (at == nullptr) continue;
            const auto *from = static_cast<const Shuffle<T> *>(lanes[at->source & 31]);
            if (from == nullptr) {
                std::fprintf(stderr, "hostcuda: __shfl_sync reads lane %d, which is not in the mask\n", at->source & 31);
                std::abort();
            }
            at->result = from->value;
        }
    });
    return mine.result;
}

int lane();
// Of every left with every right fragment: d[i * n + j] += a[i] b[j].
void mma_m16n8k16(float (*d)[4], int m, int n, const uint32_t (*a)[4], const uint32_t (*b)[2]);
void ldmatrix_x4(uint32_t (&d)[4], const void *row, bool transposed);
void cp_async_16(void *to, const void *from, bool valid);
void cp_async_commit();
void cp_async_wait(int pending);

}  // namespace hostcuda

#define threadIdx (::hostcuda::position().thread)
#define blockIdx (::hostcuda::position().block)
#define blockDim (::hostcuda::position().threads)
#define gridDim (::hostcuda::position().blocks)

#define __syncthreads() hostcuda::block_barrier(__FILE__, __LINE__)
#define __syncwarp() hostcuda::warp_barrier(0xFFFFFFFFu, __FILE__, __LINE__)
template <class T> T __shfl_sync(uint32_t mask, T value, int source) { return hostcuda::shuffle(mask, value, source); }
template <class T> T __shfl_xor_sync(uint32_t mask, T value, int bits) {
    return hostcuda::shuffle(mask, value, hostcuda::lane() ^ bits);
}

// ---- the runtime, as far as the backend uses it: two devices (runtime.cpp). A stream of the current
// device runs what it is given at once, or as late as when the host waits for it, or keeps it while it is captured:
// cudaGraphLaunch runs that, in the order of threads which is then set. While a thread captures, its calls that allocate, free or
// wait fail and spoil the capture, as in cudaStreamCaptureModeThreadLocal -------------------------------------------

namespace hostcuda {

// Device memory cannot be touched by the host: it is mapped without access except while one of these lives, which is while
// kernels, copies and the library run. (Under AddressSanitizer, which watches its ends instead, it always can.)
class DeviceAccess {
public:
    DeviceAccess();
    ~DeviceAccess();
    DeviceAccess(const DeviceAccess &) = delete;
    DeviceAccess &operator=(const DeviceAccess &) = delete;
};

cudaError_t failed(cudaError_t error);       // remembers it for cudaGetLastError
bool is_of_current_device(cudaStream_t stream);
size_t shared_memory();                      // of a block: HOSTCUDA_SHARED_KIB, 227 without it

}  // namespace hostcuda

enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
constexpr unsigned cudaStreamNonBlocking = 1, cudaHostAllocDefault = 0, cudaHostAllocMapped = 2;

struct CUgraph_st;
using cudaGraph_t = CUgraph_st *;
using cudaGraphExec_t = CUgraph_st *;  // as it was captured

struct cudaDeviceProp {
    char name[256];
    size_t totalGlobalMem;
    int major, minor;
    int multiProcessorCount;
};
struct CUevent_st;
using cudaEvent_t = CUevent_st *;

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaMalloc(void **memory, size_t bytes);
cudaError_t cudaFree(void *memory);
cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *memory);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream);
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable);
cudaError_t cudaEventCreate(cudaEvent_t *event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end);  // made up: see runtime.cpp
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaGetLastError();
const char *cudaGetErrorString(cudaError_t error);

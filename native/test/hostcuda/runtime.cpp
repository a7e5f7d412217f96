// The stand-in's runtime. It is stricter than a device in what it accepts: a stream and memory are those of the device that is
// current, and the host cannot touch device memory.
#include <sys/mman.h>

#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "hostcuda/hostcuda.h"

struct CUgraph_st {
    std::vector<std::function<void()>> work;
};

struct CUstream_st {
    int device;
    std::vector<std::function<void()>> pending;  // what the host has not waited for
    bool capturing = false, spoilt = false;
    CUgraph_st captured;
};

namespace {

constexpr int kDevices = 2;
constexpr size_t kDeviceBytes = size_t(4) << 30;
thread_local int current_device = 0;
thread_local cudaError_t last_error = cudaSuccess;
size_t used[kDevices] = {};
size_t held_elsewhere = 0;  // of every device
uint64_t times_told = 0, cases = 0;

struct Allocation {
    size_t bytes;
    int device;
};
std::map<uintptr_t, Allocation> allocations;
std::set<cudaStream_t> streams;
std::map<uintptr_t, size_t> pinned;                        // host memory that the device reads when it comes to it
thread_local cudaStream_t captured_here = nullptr;         // by this thread

// Of a call that a capture of this thread does not allow.
cudaError_t unsafe() {
    if (captured_here == nullptr) return cudaSuccess;
    captured_here->spoilt = true;
    return hostcuda::failed(cudaErrorStreamCaptureUnsupported);
}

void flush(cudaStream_t stream) {
    const auto work = std::move(stream->pending);
    stream->pending.clear();
    const hostcuda::DeviceAccess access;  // one for all
    for (const auto &one : work) one();
}

bool is_pinned(const void *memory) {
    const auto address = reinterpret_cast<uintptr_t>(memory);
    auto after = pinned.upper_bound(address);
    return after != pinned.begin() && address < std::prev(after)->first + std::prev(after)->second;
}

#if !defined(__SANITIZE_ADDRESS__)

// One mapping for all devices, so that access to it is given and taken by one call each.
class Arena {
public:
    void *take(size_t bytes) {
        if (base_ == nullptr) {
            void *memory = mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (memory == MAP_FAILED) return nullptr;
            base_ = static_cast<char *>(memory);
        }
        size_t at = 0;
        for (const auto &[start, size] : taken_) {
            if (start - at >= bytes) break;
            at = start + size;
        }
        if (at + bytes > kArena) return nullptr;
        taken_[at] = bytes;
        if (at + bytes > end_) end_ = at + bytes;
        return base_ + at;
    }
    void give_back(void *memory) { taken_.erase(static_cast<size_t>(static_cast<char *>(memory) - base_)); }
    void protect(int access) {
        if (end_ > 0 && mprotect(base_, (end_ + 4095) / 4096 * 4096, access) != 0) {
            std::perror("hostcuda: mprotect");
            std::abort();
        }
    }

private:
    static constexpr size_t kArena = kDevices * kDeviceBytes;
    char *base_ = nullptr;
    size_t end_ = 0;
    std::map<size_t, size_t> taken_;
};

Arena arena;
int accesses = 0;

#endif

size_t bytes_left() {
    const size_t taken = used[current_device] + held_elsewhere;
    return taken < kDeviceBytes ? kDeviceBytes - taken : 0;
}

// Whether [memory, memory + bytes) is an allocation's, or no device's at all; of the current device where it is one.
bool is_usable(const void *memory, size_t bytes) {
    const auto address = reinterpret_cast<uintptr_t>(memory);
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return true;
    const auto &[start, allocation] = *std::prev(after);
    if (address >= start + allocation.bytes) return true;
    return address + bytes <= start + allocation.bytes && allocation.device == current_device;
}

}  // namespace

namespace hostcuda {

#if defined(__SANITIZE_ADDRESS__)
DeviceAccess::DeviceAccess() = default;
DeviceAccess::~DeviceAccess() {}
#else
DeviceAccess::DeviceAccess() {
    if (accesses++ == 0) arena.protect(PROT_READ | PROT_WRITE);
}
DeviceAccess::~DeviceAccess() {
    if (--accesses == 0) arena.protect(PROT_NONE);
}
#endif

cudaError_t failed(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

cudaError_t queue(cudaStream_t stream, std::function<void()> work) {
    if (!is_of_current_device(stream)) return failed(cudaErrorInvalidResourceHandle);
    auto run = [work = std::move(work)] {
        const DeviceAccess access;
        work();
    };
    if (stream == nullptr) return run(), cudaSuccess;
    if (stream->capturing && stream->spoilt) return failed(cudaErrorStreamCaptureInvalidated);
    if (stream->capturing) return stream->captured.work.push_back(std::move(run)), cudaSuccess;
    stream->pending.push_back(std::move(run));
    if (!defers()) flush(stream);
    return cudaSuccess;
}

bool is_of_current_device(cudaStream_t stream) { return stream == nullptr || (streams.count(stream) > 0 && stream->device == current_device); }

size_t shared_memory() {
    static const char *kib = std::getenv("HOSTCUDA_SHARED_KIB");
    return static_cast<size_t>(kib == nullptr ? 227 : std::atoi(kib)) * 1024;
}

}  // namespace hostcuda

using hostcuda::failed;

cudaError_t cudaGetDeviceCount(int *count) { return *count = kDevices, cudaSuccess; }

cudaError_t cudaGetDevice(int *device) { return *device = current_device, cudaSuccess; }

cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device >= kDevices) return failed(cudaErrorInvalidDevice);
    return current_device = device, cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr, int) { return *value = static_cast<int>(hostcuda::shared_memory()), cudaSuccess; }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int) {
    *properties = {"CUDA kernels on the CPU (for tests)", kDeviceBytes, 9, 0, 132};
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    *stream = new CUstream_st{current_device, {}, false, false, {}};
    streams.insert(*stream);
    return cudaSuccess;
}

static int64_t waits = 0;  // of the host for a stream

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (const cudaError_t error = unsafe(); error != cudaSuccess) return error;
    if (!hostcuda::is_of_current_device(stream)) return failed(cudaErrorInvalidResourceHandle);
    waits++;
    if (stream != nullptr) flush(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    if (streams.erase(stream) == 0) return failed(cudaErrorInvalidResourceHandle);
    flush(stream);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (stream->capturing) return failed(cudaErrorIllegalState);
    stream->capturing = true, stream->spoilt = false, stream->captured = {};
    captured_here = stream;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = nullptr;
    if (!stream->capturing || captured_here != stream) return failed(cudaErrorIllegalState);
    captured_here = nullptr;
    stream->capturing = false;
    if (stream->spoilt) return failed(cudaErrorStreamCaptureInvalidated);
    *graph = new CUgraph_st(std::move(stream->captured));
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
    return *executable = new CUgraph_st(*graph), cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    if (const cudaError_t error = unsafe(); error != cudaSuccess) return error;
    const hostcuda::DeviceAccess access;  // one for all
    for (const auto &work : executable->work) {
        if (const cudaError_t error = hostcuda::queue(stream, work); error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete graph, cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) { return delete executable, cudaSuccess; }

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    *memory = nullptr;
    if (const cudaError_t error = unsafe(); error != cudaSuccess) return error;
    const size_t rounded = (bytes + 255) / 256 * 256;
#if defined(__SANITIZE_ADDRESS__)
    *memory = rounded > bytes_left() ? nullptr : std::aligned_alloc(256, rounded);
#else
    *memory = rounded > bytes_left() ? nullptr : arena.take(rounded);
#endif
    if (*memory == nullptr) return failed(cudaErrorMemoryAllocation);
    allocations[reinterpret_cast<uintptr_t>(*memory)] = {rounded, current_device};
    used[current_device] += rounded;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    if (const cudaError_t error = unsafe(); error != cudaSuccess) return error;
    if (memory == nullptr) return cudaSuccess;
    const auto found = allocations.find(reinterpret_cast<uintptr_t>(memory));
    if (found == allocations.end()) return failed(cudaErrorInvalidValue);
    used[found->second.device] -= found->second.bytes;
    allocations.erase(found);
#if defined(__SANITIZE_ADDRESS__)
    std::free(memory);
#else
    arena.give_back(memory);
#endif
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **memory, size_t bytes, unsigned) {
    *memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (*memory == nullptr) return failed(cudaErrorMemoryAllocation);
    pinned[reinterpret_cast<uintptr_t>(*memory)] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory) {
    pinned.erase(reinterpret_cast<uintptr_t>(memory));
    return std::free(memory), cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *total = kDeviceBytes;
    return *free_bytes = bytes_left(), cudaSuccess;
}

// What comes from the host's ordinary memory is read before the call returns.
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    if (!is_usable(to, bytes) || !is_usable(from, bytes)) return failed(cudaErrorInvalidValue);
    if (kind != cudaMemcpyHostToDevice || is_pinned(from)) return hostcuda::queue(stream, [=] { std::memcpy(to, from, bytes); });
    const auto *start = static_cast<const char *>(from);
    return hostcuda::queue(stream, [to, kept = std::vector<char>(start, start + bytes)] { std::memcpy(to, kept.data(), kept.size()); });
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream) {
    if (width > to_pitch || width > from_pitch) return failed(cudaErrorInvalidValue);
    for (size_t row = 0; row < height; row++) {
        const cudaError_t error = cudaMemcpyAsync(static_cast<char *>(to) + row * to_pitch, static_cast<const char *>(from) + row * from_pitch,
                                                  width, kind, stream);
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    if (!is_usable(memory, bytes)) return failed(cudaErrorInvalidValue);
    return hostcuda::queue(stream, [=] { std::memset(memory, value, bytes); });
}

cudaError_t cudaEventCreate(cudaEvent_t *event) { return *event = nullptr, cudaSuccess; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t stream) {
    return hostcuda::is_of_current_device(stream) ? cudaSuccess : failed(cudaErrorInvalidResourceHandle);
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {  // all streams of the device: it is not kept which one recorded it
    if (const cudaError_t error = unsafe(); error != cudaSuccess) return error;
    for (cudaStream_t stream : streams) {
        if (stream->device == current_device) flush(stream);
    }
    return cudaSuccess;
}

// From 1 to 4: of two forms of a product now the one is the faster one and now the other, but the same in all orders of a case.
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t, cudaEvent_t) {
    *ms = 1.0f + static_cast<float>((cases * 1000 + ++times_told) * 0x9E3779B97F4A7C15ull >> 40) * 3 / 16777216.0f;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }

cudaError_t cudaGetLastError() {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorInvalidResourceHandle: return "invalid resource handle";
        case cudaErrorIllegalState: return "the operation cannot be performed in the present state";
        case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
        case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
        default: return "operation not supported";
    }
}

// For programs that load the kernels as libmetalora_cuda.so: blocks and threads run in this order from now on; the first order
// begins another case.
extern "C" __attribute__((visibility("default"))) void hostcuda_set_order(int order) {
    hostcuda::set_order(static_cast<hostcuda::Order>(order), 7);
    times_told = 0;
    cases += order == 0;
}

// How often the host has waited for a stream.
extern "C" __attribute__((visibility("default"))) int64_t hostcuda_waits() { return waits; }

// As if another program held so many bytes of every device.
extern "C" __attribute__((visibility("default"))) void hostcuda_hold(int64_t bytes) { held_elsewhere = static_cast<size_t>(bytes); }

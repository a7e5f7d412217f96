// The CUDA backend is a shared object of its own, libmetalora_cuda.so beside libmetalora.so, so that the library loads where
// neither a driver nor CUDA's libraries are. The two are built together and meet through this.
#pragma once

#include "core/context.h"

namespace metalora {

// What the backend needs of the library.
struct CudaHost {
    int64_t layout;  // kCudaLayout of the library
    ml_status (*fail)(ml_status status, const char *text);
    void *(*scratch)(Context &, size_t bytes);  // of the running op; nullptr when there is no memory
};

struct CudaPlugin {
    ml_status (*probe)();                                          // ML_OK when there is a device that can be used
    ml_status (*open)(Context &, const ml_context_options &);
};

// A hash of the headers that lay out the context, which both sides share: builds of other headers must not be mixed.
constexpr int64_t kCudaLayout = METALORA_LAYOUT;

// The backend's one entry point; nullptr when it was built for another library.
using CudaEntry = const CudaPlugin *(*)(const CudaHost *);
constexpr const char *kCudaEntry = "metalora_cuda_plugin";

}  // namespace metalora

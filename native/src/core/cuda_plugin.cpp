// Finds and loads libmetalora_cuda.so, once.
#include "core/cuda_plugin.h"

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "core/error.h"

namespace metalora {

namespace {

// METALORA_CUDA_LIBRARY, or libmetalora_cuda.so where this library lies.
std::string plugin_path() {
    const char *chosen = std::getenv("METALORA_CUDA_LIBRARY");
    if (chosen != nullptr && *chosen != 0) return chosen;
    Dl_info self{};
    if (dladdr(reinterpret_cast<const void *>(&ml_abi_version), &self) == 0 || self.dli_fname == nullptr) return "libmetalora_cuda.so";
    const std::string path = self.dli_fname;
    const size_t slash = path.rfind('/');
    return (slash == std::string::npos ? "" : path.substr(0, slash + 1)) + "libmetalora_cuda.so";
}

struct Loaded {
    const CudaPlugin *plugin = nullptr;
    std::string problem;
};

Loaded load() {
    Loaded loaded;
    const std::string path = plugin_path();
    void *library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        const char *why = dlerror();
        loaded.problem = std::string("the CUDA backend could not be loaded: ") + (why == nullptr ? path.c_str() : why)
            + "; build it with CMake where nvcc is, or use the CPU backend";
        return loaded;
    }
    const auto entry = reinterpret_cast<CudaEntry>(dlsym(library, kCudaEntry));
    static const CudaHost host = {kCudaLayout, [](ml_status status, const char *text) { return fail(status, "%s", text); },
                                  [](Context &context, size_t bytes) -> void * {
                                      if (context.recording.active && !context.recording.plan && !context.scratch.has_room(bytes)) {
                                          context.recording.missing = "scratch memory";
                                          return nullptr;
                                      }
                                      void *memory = context.scratch.take(bytes);
                                      context.note_peak();
                                      return memory;
                                  }};
    loaded.plugin = entry == nullptr ? nullptr : entry(&host);
    if (loaded.plugin == nullptr) loaded.problem = path + " belongs to another version of metalora; build both together";
    return loaded;
}

const Loaded &loaded() {
    static const Loaded once = load();
    return once;
}

}  // namespace

ml_status probe_cuda() {
    if (loaded().plugin == nullptr) return fail(ML_BACKEND_UNAVAILABLE, "%s", loaded().problem.c_str());
    return loaded().plugin->probe();
}

ml_status open_cuda(Context &context, const ml_context_options &options) { return loaded().plugin->open(context, options); }

}  // namespace metalora

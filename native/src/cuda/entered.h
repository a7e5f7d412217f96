// Which device is current belongs to the calling thread, and to whoever else uses CUDA in it.
#pragma once

#include "core/context.h"
#include "cuda/device.cuh"
#include "cuda/state.h"

namespace metalora {
namespace cuda {

// The state, with the context's device as the calling thread's current one for as long as this lives.
class Entered {
public:
    explicit Entered(Context &c) : state_(*static_cast<State *>(c.state)), device_(state_.device) {
        if (cudaGetDevice(&before_) != cudaSuccess) cudaGetLastError();
        if (before_ != device_) cudaSetDevice(device_);
    }
    ~Entered() {  // the state may be gone
        if (before_ != device_ && before_ >= 0) cudaSetDevice(before_);
    }
    Entered(const Entered &) = delete;
    Entered &operator=(const Entered &) = delete;
    State &operator*() const { return state_; }
    State *operator->() const { return &state_; }

private:
    State &state_;
    int device_, before_ = -1;
};

}  // namespace cuda
}  // namespace metalora

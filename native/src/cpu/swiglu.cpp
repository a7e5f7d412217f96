#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

ml_status swiglu_forward(Context &, const ml_swiglu_desc &) {
    return fail(ML_UNSUPPORTED, "ml_swiglu_forward: not in the CPU backend");
}

ml_status swiglu_backward(Context &, const ml_swiglu_desc &) {
    return fail(ML_UNSUPPORTED, "ml_swiglu_backward: not in the CPU backend");
}

}  // namespace METALORA_ISA
}  // namespace metalora

#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

ml_status lora_linear_forward(Context &, const ml_lora_linear_desc &) {
    return fail(ML_UNSUPPORTED, "ml_lora_linear_forward: not in the CPU backend");
}

ml_status lora_linear_backward(Context &, const ml_lora_linear_desc &) {
    return fail(ML_UNSUPPORTED, "ml_lora_linear_backward: not in the CPU backend");
}

}  // namespace METALORA_ISA
}  // namespace metalora

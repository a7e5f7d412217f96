#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

ml_status attention_forward(Context &, const ml_attention_desc &) {
    return fail(ML_UNSUPPORTED, "ml_attention_forward: not in the CPU backend");
}

ml_status attention_backward(Context &, const ml_attention_desc &) {
    return fail(ML_UNSUPPORTED, "ml_attention_backward: not in the CPU backend");
}

}  // namespace METALORA_ISA
}  // namespace metalora

#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

ml_status rope_table(Context &, const ml_rope_table_desc &) {
    return fail(ML_UNSUPPORTED, "ml_rope_table: not in the CPU backend");
}

ml_status rope_forward(Context &, const ml_rope_desc &) {
    return fail(ML_UNSUPPORTED, "ml_rope_forward: not in the CPU backend");
}

ml_status rope_backward(Context &, const ml_rope_desc &) {
    return fail(ML_UNSUPPORTED, "ml_rope_backward: not in the CPU backend");
}

}  // namespace METALORA_ISA
}  // namespace metalora

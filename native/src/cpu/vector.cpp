#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

ml_status fill(Context &, float *, int64_t, float) {
    return fail(ML_UNSUPPORTED, "ml_fill: not in the CPU backend");
}

ml_status broadcast(Context &, float *, const float *, int64_t, int64_t, int64_t) {
    return fail(ML_UNSUPPORTED, "ml_broadcast: not in the CPU backend");
}

ml_status clip_global_norm(Context &, const ml_clip_desc &) {
    return fail(ML_UNSUPPORTED, "ml_clip_global_norm: not in the CPU backend");
}

ml_status sgd_step(Context &, const ml_sgd_desc &) {
    return fail(ML_UNSUPPORTED, "ml_sgd_step: not in the CPU backend");
}

ml_status adamw_step(Context &, const ml_adamw_desc &) {
    return fail(ML_UNSUPPORTED, "ml_adamw_step: not in the CPU backend");
}

}  // namespace METALORA_ISA
}  // namespace metalora

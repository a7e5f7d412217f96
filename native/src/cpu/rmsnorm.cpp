#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

ml_status rmsnorm_forward(Context &, const ml_rmsnorm_desc &) {
    return fail(ML_UNSUPPORTED, "ml_rmsnorm_forward: not in the CPU backend");
}

ml_status rmsnorm_backward(Context &, const ml_rmsnorm_desc &) {
    return fail(ML_UNSUPPORTED, "ml_rmsnorm_backward: not in the CPU backend");
}

}  // namespace METALORA_ISA
}  // namespace metalora

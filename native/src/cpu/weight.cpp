#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

ml_status weight_pack(Context &, const ml_weight_desc &, ml_weight &) {
    return fail(ML_UNSUPPORTED, "ml_weight_pack: not in the CPU backend");
}

}  // namespace METALORA_ISA
}  // namespace metalora

#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

ml_status cross_entropy(Context &, const ml_cross_entropy_desc &) {
    return fail(ML_UNSUPPORTED, "ml_cross_entropy: not in the CPU backend");
}

}  // namespace METALORA_ISA
}  // namespace metalora

#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

ml_status embedding_forward(Context &, const ml_embedding_desc &) {
    return fail(ML_UNSUPPORTED, "ml_embedding_forward: not in the CPU backend");
}

}  // namespace METALORA_ISA
}  // namespace metalora

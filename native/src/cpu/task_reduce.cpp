#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

ml_status task_reduce(Context &, const ml_task_reduce_desc &) {
    return fail(ML_UNSUPPORTED, "ml_task_reduce: not in the CPU backend");
}

}  // namespace METALORA_ISA
}  // namespace metalora

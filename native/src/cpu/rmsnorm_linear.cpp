// RMSNorm and the LoRA linear that reads it: h is computed from rows that are still in the cache.
#include "cpu/ops.h"
#include "cpu/split.h"

namespace metalora {
namespace METALORA_ISA {

ml_status rmsnorm_linear_forward(Context &context, const ml_rmsnorm_desc &norm, const ml_lora_linear_desc &linear) {
    if (!lora_shrinks_first(linear)) {
        const ml_status status = rmsnorm_forward(context, norm);
        return status != ML_OK ? status : lora_linear_forward(context, linear);
    }
    parallel_ranges(context, norm.rows, norm.width, [&](int64_t first, int64_t last) {
        rmsnorm_rows(norm, first, last);
        lora_shrink(linear, first, last);
    });
    return lora_linear_after_shrink(context, linear);
}

}  // namespace METALORA_ISA
}  // namespace metalora

// SwiGLU and the LoRA linear that reads it: h is computed from rows that are still in the cache.
#include "cpu/ops.h"
#include "cpu/split.h"

namespace metalora {
namespace METALORA_ISA {

ml_status swiglu_linear_forward(Context &context, const ml_swiglu_desc &swiglu, const ml_lora_linear_desc &linear) {
    if (!lora_shrinks_first(linear)) {
        const ml_status status = swiglu_forward(context, swiglu);
        return status != ML_OK ? status : lora_linear_forward(context, linear);
    }
    parallel_ranges(context, swiglu.rows, swiglu.width, [&](int64_t first, int64_t last) {
        swiglu_rows(swiglu, first, last);
        lora_shrink(linear, first, last);
    });
    return lora_linear_after_shrink(context, linear);
}

}  // namespace METALORA_ISA
}  // namespace metalora

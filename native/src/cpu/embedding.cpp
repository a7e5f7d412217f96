#include "cpu/ops.h"
#include "cpu/unpack.h"

namespace metalora {
namespace METALORA_ISA {

ml_status embedding_forward(Context &context, const ml_embedding_desc &d) {
    const int64_t hidden = weight_in(*d.table);
    constexpr int64_t rows = 16;  // a part
    parallel(context, static_cast<int>((d.tokens + rows - 1) / rows), [&](int part) {
        const int64_t end = (part + 1) * rows < d.tokens ? (part + 1) * rows : d.tokens;
        for (int64_t t = part * rows; t < end; t++) {
            unpack_row(*d.table, d.ids[t], static_cast<float *>(d.y) + t * hidden);
        }
    });
    return ML_OK;
}

}  // namespace METALORA_ISA
}  // namespace metalora

// lm_head and cross-entropy over the rows that carry loss, a chunk of rows at a time.
#include <math.h>
#include <string.h>

#include "cpu/gemm.h"
#include "cpu/ops.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

// Logits of a chunk take at most this much, but for vocabularies where a few rows do.
constexpr int64_t kChunkBytes = 32 << 20;
constexpr int64_t kLeastRows = 16;

static float row_max(const float *logits, int64_t count) {
    const Vec lowest = broadcast(-INFINITY);
    Vec best[4] = {lowest, lowest, lowest, lowest};
    int64_t i = 0;
    for (; i + 4 * kWidth <= count; i += 4 * kWidth)
        for (int v = 0; v < 4; v++) best[v] = max(load(logits + i + v * kWidth), best[v]);
    float result = max_of(max(max(best[0], best[1]), max(best[2], best[3])));
    for (; i < count; i++) result = logits[i] > result ? logits[i] : result;
    return result;
}

// logits[i] = e^(logits[i] - top); gives their sum. Short float sums, added up in double.
static double exponentiate(float *logits, int64_t count, float top) {
    const Vec shift = broadcast(top);
    double total = 0.0;
    for (int64_t i = 0; i < count;) {
        const int64_t end = i + 1024 < count ? i + 1024 : count;
        Vec partial = zero();
        for (; i + kWidth <= end; i += kWidth) {
            const Vec e = exp(load(logits + i) - shift);
            store(logits + i, e);
            partial = partial + e;
        }
        if (i < end) {
            const int rest = static_cast<int>(end - i);
            store_first(logits + i, exp(load_first(logits + i, rest) - shift), rest);
            for (; i < end; i++) total += logits[i];
        }
        total += sum(partial);
    }
    return total;
}

ml_status cross_entropy(Context &context, const ml_cross_entropy_desc &d) {
    const int64_t vocab = weight_out(*d.w), hidden = weight_in(*d.w);
    const float *x = static_cast<const float *>(d.x);
    float *dx = static_cast<float *>(d.dx);
    int64_t rows = kChunkBytes / (vocab * int64_t(sizeof(float)));
    if (rows < kLeastRows) rows = kLeastRows;
    const int64_t chunks = (d.count + rows - 1) / rows;
    if (chunks > 0) rows = (d.count + chunks - 1) / chunks;
    if (dx != nullptr) {
        constexpr int64_t tokens_a_part = 64;
        parallel(context, static_cast<int>((d.tokens + tokens_a_part - 1) / tokens_a_part), [&](int part) {
            const int64_t from = part * tokens_a_part, to = from + tokens_a_part < d.tokens ? from + tokens_a_part : d.tokens;
            memset(dx + from * hidden, 0, (to - from) * hidden * sizeof(float));
        });
    }
    if (d.count == 0) return ML_OK;
    float *logits = scratch_floats(context, rows * vocab);
    float *gathered = scratch_floats(context, rows * hidden);   // x of the chunk, then its dx
    float *factor = scratch_floats(context, rows);
    if (logits == nullptr || gathered == nullptr || factor == nullptr) return ML_OUT_OF_MEMORY;

    for (int64_t first = 0; first < d.count; first += rows) {
        const int64_t n = d.count - first < rows ? d.count - first : rows;
        for (int64_t i = 0; i < n; i++) memcpy(gathered + i * hidden, x + d.rows[first + i] * hidden, hidden * sizeof(float));
        const Gemm forward = {gathered, n, d.w, false, nullptr, nullptr, logits, nullptr};
        if (ml_status status = gemm(context, forward); status != ML_OK) return status;
        parallel(context, static_cast<int>(n), [&](int i) {
            float *row = logits + i * vocab;
            const int32_t target = d.target[first + i];
            const float top = row_max(row, vocab), at_target = row[target];
            if (d.argmax != nullptr) {
                int64_t best = 0;
                while (best < vocab - 1 && row[best] != top) best++;
                d.argmax[first + i] = row[best] == top ? static_cast<int32_t>(best) : 0;
            }
            const double total = exponentiate(row, vocab, top);
            d.logprob[first + i] = static_cast<float>(double(at_target) - double(top) - ::log(total));
            if (dx != nullptr) {
                // softmax - onehot, times the sum; the row's dx is divided by it again.
                row[target] = static_cast<float>(double(row[target]) - total);
                factor[i] = static_cast<float>(double(d.row_scale[first + i]) / total);
            }
        });
        if (dx == nullptr) continue;
        const Gemm backward = {logits, n, d.w, true, nullptr, nullptr, gathered, nullptr};
        if (ml_status status = gemm(context, backward); status != ML_OK) return status;
        for (int64_t i = 0; i < n; i++) {
            float *to = dx + d.rows[first + i] * hidden;
            for (int64_t k = 0; k < hidden; k++) to[k] = factor[i] * gathered[i * hidden + k];
        }
    }
    return ML_OK;
}

}  // namespace METALORA_ISA
}  // namespace metalora

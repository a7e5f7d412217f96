// Cross-task reduction: the weighted sum of the tasks' gradients and their Gram matrix, in one pass over memory.
#include <string.h>

#include "cpu/double_vec.h"
#include "cpu/ops.h"
#include "cpu/split.h"
#include "cpu/vec.h"

namespace metalora {
namespace METALORA_ISA {

namespace {

constexpr int64_t kBlock = 1024;  // floats of each gradient at a time: 8 tasks as doubles are 64 KiB

// gram[i, j] += g_i . g_j for j <= i over one block, g as doubles [slots, kBlock]. Two by two, so that each number
// loaded serves two products.
void add_gram(const double *g, int64_t slots, int64_t n, double *gram) {
    for (int64_t i = 0; i < slots; i += 2) {
        const bool two_i = i + 1 < slots;
        const double *a0 = g + i * kBlock, *a1 = two_i ? a0 + kBlock : a0;
        for (int64_t j = 0; j <= i; j += 2) {
            const bool two_j = j + 1 < slots;
            const double *b0 = g + j * kBlock, *b1 = two_j ? b0 + kBlock : b0;
            Double4 s00 = {}, s01 = {}, s10 = {}, s11 = {};
            for (int64_t c = 0; c < n; c += 4) {
                Double4 x0, x1, y0, y1;
                memcpy(&x0, a0 + c, sizeof x0), memcpy(&x1, a1 + c, sizeof x1);
                memcpy(&y0, b0 + c, sizeof y0), memcpy(&y1, b1 + c, sizeof y1);
                s00 += x0 * y0, s01 += x0 * y1, s10 += x1 * y0, s11 += x1 * y1;
            }
            gram[i * slots + j] += (s00[0] + s00[1]) + (s00[2] + s00[3]);
            if (two_j) gram[i * slots + j + 1] += (s01[0] + s01[1]) + (s01[2] + s01[3]);
            if (two_i) gram[(i + 1) * slots + j] += (s10[0] + s10[1]) + (s10[2] + s10[3]);
            if (two_i && two_j) gram[(i + 1) * slots + j + 1] += (s11[0] + s11[1]) + (s11[2] + s11[3]);
        }
    }
}

}  // namespace

ml_status task_reduce(Context &context, const ml_task_reduce_desc &d) {
    const int64_t blocks = (d.count + kBlock - 1) / kBlock, cells = d.gram == nullptr ? 0 : d.slots * d.slots;
    // Each part sums its own Gram matrix; how many parts there are must not depend on the threads, for the bits' sake.
    constexpr int64_t kMostParts = 64, kMostCells = int64_t(1) << 22;
    int64_t parts = blocks < kMostParts ? blocks : kMostParts;
    if (parts * cells > kMostCells) parts = kMostCells / cells;
    if (parts < 1) parts = 1;
    const int64_t part_doubles = cells == 0 ? 0 : cells + d.slots * kBlock;
    auto *scratch = static_cast<double *>(cpu_scratch(context, static_cast<size_t>(parts * part_doubles) * sizeof(double)));
    if (scratch == nullptr) return ML_OUT_OF_MEMORY;
    parallel(context, static_cast<int>(parts), [&](int part) {
        double *gram = scratch + part * part_doubles, *wide = gram + cells;
        memset(gram, 0, static_cast<size_t>(cells) * sizeof(double));
        for (int64_t block = blocks * part / parts; block < blocks * (part + 1) / parts; block++) {
            const int64_t begin = block * kBlock, n = begin + kBlock < d.count ? kBlock : d.count - begin;
            if (cells != 0) {
                const int64_t padded = (n + 3) / 4 * 4;
                for (int64_t slot = 0; slot < d.slots; slot++) {
                    const float *from = d.grad + slot * d.stride + begin;
                    double *to = wide + slot * kBlock;
                    for (int64_t c = 0; c < n; c++) to[c] = from[c];
                    for (int64_t c = n; c < padded; c++) to[c] = 0;
                }
                add_gram(wide, d.slots, padded, gram);
            }
            if (d.out == nullptr) continue;
            for_each_vector(begin, begin + n, [&](int64_t at, int count) {
                Vec sum = zero();
                for (int64_t slot = 0; slot < d.slots; slot++) {
                    sum = fma(broadcast(d.weight[slot]), load_first(d.grad + slot * d.stride + at, count), sum);
                }
                store_first(d.out + at, sum, count);
            });
        }
    });
    if (cells == 0) return ML_OK;
    for (int64_t i = 0; i < d.slots; i++) {
        for (int64_t j = 0; j <= i; j++) {
            double total = 0;
            for (int64_t part = 0; part < parts; part++) total += scratch[part * part_doubles + i * d.slots + j];
            d.gram[i * d.slots + j] = d.gram[j * d.slots + i] = total;
        }
    }
    return ML_OK;
}

}  // namespace METALORA_ISA
}  // namespace metalora

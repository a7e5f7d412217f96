// The tile whose first term is of bf16 pairs, compiled with AVX512_BF16 on top of the AVX-512 kernels' instructions.
#include "cpu/tile.h"

namespace metalora {
namespace METALORA_ISA {

void tile_of_pairs(int rows, int panels, const Term *terms, int term_count, const float *init, int64_t ld_init, const float *bias,
                   float *c, int64_t ldc, int width) {
    tile_as<true>(rows, panels, terms, term_count, init, ld_init, bias, c, ldc, width);
}

}  // namespace METALORA_ISA
}  // namespace metalora

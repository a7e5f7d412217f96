// All that the CPU kernels see of the context. Nothing here is inline: these headers are compiled once an
// instruction set, and an inline function shared between them could end up in the library in its AVX-512 form.
// For the same reason the kernels use no standard library templates.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/op_table.h"
#include "core/scratch_mark.h"

namespace metalora {

int cpu_threads(const Context &);

// Arithmetic of the context's products with frozen weights: whether operands are rounded to bf16, and whether the processor
// multiplies pairs of such numbers (AVX512_BF16).
bool cpu_rounds_to_bf16(const Context &);
bool cpu_dots_pairs(const Context &);

// Runs body(argument, part) for every part in [0, parts), on all threads of the context. Which thread runs a part
// is open: results may depend on the part alone. No nesting.
void cpu_run(Context &, int parts, void (*body)(void *argument, int part), void *argument);

// Scratch memory for the running op, 64-byte aligned, uninitialized; it belongs to the context and is reused by the
// next op. nullptr when there is no memory; the last error then says so.
void *cpu_scratch(Context &, size_t bytes);

ScratchMark cpu_scratch_mark(const Context &);
void cpu_scratch_release(Context &, const ScratchMark &);

const void *weight_data(const ml_weight &);
int64_t weight_out(const ml_weight &);
int64_t weight_in(const ml_weight &);
bool weight_is_bf16(const ml_weight &);
bool weight_is_row_major(const ml_weight &);

// Frozen weights are held in panels of kPanel output features: [ceil(out / kPanel)][in][kPanel], zero padded; but f32
// weights row-major, [out, in], where a BLAS multiplies by them.
constexpr int kPanel = 16;

}  // namespace metalora

namespace metalora {
namespace METALORA_ISA {

// cpu_run for a function object: parallel(context, parts, [&](int part) { ... });
template <class Body>
static void parallel(Context &context, int parts, const Body &body) {
    cpu_run(context, parts, [](void *argument, int part) { (*static_cast<const Body *>(argument))(part); },
            const_cast<void *>(static_cast<const void *>(&body)));
}

// Scratch memory for `count` floats.
static inline float *scratch_floats(Context &context, int64_t count) {
    return static_cast<float *>(cpu_scratch(context, static_cast<size_t>(count) * sizeof(float)));
}

}  // namespace METALORA_ISA
}  // namespace metalora

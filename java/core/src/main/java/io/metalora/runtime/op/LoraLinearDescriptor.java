package io.metalora.runtime.op;

import io.metalora.bindings.generated.Metalora;
import io.metalora.bindings.generated.ml_lora_linear_desc;
import io.metalora.bindings.generated.ml_lora_term;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The descriptor of {@link Ops#linear} and its backward, for a Linear with a {@link LoraTerm} or none. */
final class LoraLinearDescriptor extends Descriptor {
    private final MemorySegment d;
    private final MemorySegment[] terms;

    LoraLinearDescriptor(Device device, Arena arena) {
        super(device);
        this.d = ml_lora_linear_desc.allocate(arena);
        this.terms = new MemorySegment[Metalora.ML_LORA_TERMS()];
        for (int i = 0; i < terms.length; i++) {
            terms[i] = ml_lora_linear_desc.term(d, i);
        }
    }

    MemorySegment forward(LoraLinear linear, Tensor x, Tensor residual, Tensor y, long tokens) {
        var w = linear.weight();
        var lora = (LoraTerm) linear.term();
        describe(w, lora, tokens);
        ml_lora_linear_desc.x(d, needRows("x", x, tokens, w.inFeatures()));
        ml_lora_linear_desc.x_stride(d, x.stride());
        ml_lora_linear_desc.spare(d, x.spare());
        ml_lora_linear_desc.y(d, needRows("y", y, tokens, w.outFeatures()));
        ml_lora_linear_desc.y_stride(d, y.stride());
        alike("residual and y", residual, y);
        ml_lora_linear_desc.bias(d, nullable("bias", linear.bias(), DType.F32, w.outFeatures()));
        ml_lora_linear_desc.residual(
                d, residual == null ? MemorySegment.NULL : needRows("residual", residual, tokens, w.outFeatures()));
        return d;
    }

    MemorySegment backward(LoraLinear linear, Tensor x, Tensor dy, Tensor dx, boolean accumulate, long tokens) {
        var w = linear.weight();
        var lora = (LoraTerm) linear.term();
        describe(w, lora, tokens);
        if (lora == null) {
            ml_lora_linear_desc.x(d, MemorySegment.NULL);
            ml_lora_linear_desc.x_stride(d, 0);
        } else {
            ml_lora_linear_desc.x(d, needRows("x", x, tokens, w.inFeatures()));
            ml_lora_linear_desc.x_stride(d, x.stride());
            need("gradients", lora.gradients, DType.F32, slotElements(w, lora));
            for (int i = 0; i < lora.parts.size(); i++) {
                ml_lora_term.da(terms[i], lora.gradientA(i));
                ml_lora_term.db(terms[i], lora.gradientB(i));
            }
        }
        ml_lora_linear_desc.dy(d, needRows("dy", dy, tokens, w.outFeatures()));
        ml_lora_linear_desc.y_stride(d, dy.stride());
        ml_lora_linear_desc.spare(d, dy.spare());
        ml_lora_linear_desc.dx(d, nullable("dx", dx, act, tokens * w.inFeatures()));
        ml_lora_linear_desc.accumulate(d, accumulate ? 1 : 0);
        return d;
    }

    private void describe(FrozenWeight w, LoraTerm lora, long tokens) {
        ml_lora_linear_desc.w(d, weight("w", w));
        ml_lora_linear_desc.tokens(d, tokens);
        if (lora == null) {
            ml_lora_linear_desc.rank(d, 0);
            ml_lora_linear_desc.slot_offsets(d, MemorySegment.NULL);
            ml_lora_linear_desc.slots(d, 0);
            ml_lora_linear_desc.dropout(d, 0f);
            return;
        }
        need("parameters", lora.parameters, DType.F32, slotElements(w, lora));
        int parts = lora.parts.size();
        for (int i = 0; i < parts; i++) {
            var part = lora.parts.get(i);
            ml_lora_term.a(terms[i], lora.a(i));
            ml_lora_term.b(terms[i], lora.b(i));
            ml_lora_term.first(terms[i], part.first());
            ml_lora_term.rows(terms[i], part.rows());
            ml_lora_term.stream(terms[i], lora.stream + part.stream());
        }
        ml_lora_linear_desc.terms(d, parts);
        ml_lora_linear_desc.h(d, need("h", lora.h, DType.F32, tokens * parts * lora.rank));
        ml_lora_linear_desc.slot_offsets(d, need("slotOffsets", lora.slotOffsets, DType.I32, lora.slots + 1L));
        ml_lora_linear_desc.slots(d, lora.slots);
        ml_lora_linear_desc.slot_stride(d, lora.stride);
        ml_lora_linear_desc.rank(d, lora.rank);
        ml_lora_linear_desc.scale(d, lora.scale);
        ml_lora_linear_desc.dropout(d, lora.dropout);
        ml_lora_linear_desc.seed(d, lora.seed);
    }

    private static long slotElements(FrozenWeight w, LoraTerm lora) {
        long end = 0;
        for (int i = 0; i < lora.parts.size(); i++) {
            var part = lora.parts.get(i);
            end = Math.max(end, part.offsetA() + lora.rank * w.inFeatures());
            end = Math.max(end, part.offsetB() + lora.rank * part.rows());
        }
        return (lora.slots - 1L) * lora.stride + end;
    }
}

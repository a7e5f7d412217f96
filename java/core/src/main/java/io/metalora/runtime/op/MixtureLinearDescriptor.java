package io.metalora.runtime.op;

import io.metalora.bindings.generated.Metalora;
import io.metalora.bindings.generated.ml_mixture_linear_desc;
import io.metalora.bindings.generated.ml_mixture_term;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The descriptor of {@link Ops#linear} and its backward for a Linear with a {@link MixtureTerm}. */
final class MixtureLinearDescriptor extends Descriptor {
    private final MemorySegment d;
    private final MemorySegment[] terms;

    MixtureLinearDescriptor(Device device, Arena arena) {
        super(device);
        this.d = ml_mixture_linear_desc.allocate(arena);
        this.terms = new MemorySegment[Metalora.ML_LORA_TERMS()];
        for (int i = 0; i < terms.length; i++) {
            terms[i] = ml_mixture_linear_desc.term(d, i);
        }
    }

    MemorySegment forward(LoraLinear linear, MixtureTerm mixture, Tensor x, Tensor residual, Tensor y, long tokens) {
        var w = linear.weight();
        describe(w, mixture, x, tokens);
        ml_mixture_linear_desc.spare(d, x.spare());
        ml_mixture_linear_desc.y(d, needRows("y", y, tokens, w.outFeatures()));
        ml_mixture_linear_desc.y_stride(d, y.stride());
        alike("residual and y", residual, y);
        ml_mixture_linear_desc.bias(d, nullable("bias", linear.bias(), DType.F32, w.outFeatures()));
        ml_mixture_linear_desc.residual(
                d, residual == null ? MemorySegment.NULL : needRows("residual", residual, tokens, w.outFeatures()));
        return d;
    }

    MemorySegment backward(
            LoraLinear linear, MixtureTerm mixture, Tensor x, Tensor dy, Tensor dx, boolean accumulate, long tokens) {
        var w = linear.weight();
        describe(w, mixture, x, tokens);
        need("gradients", mixture.gradients, DType.F32, slotElements(w, mixture));
        for (int i = 0; i < mixture.parts.size(); i++) {
            ml_mixture_term.da(terms[i], mixture.gradientA(i));
            ml_mixture_term.db(terms[i], mixture.gradientB(i));
            ml_mixture_term.drouter(terms[i], mixture.gradientRouter(i));
        }
        ml_mixture_linear_desc.dy(d, needRows("dy", dy, tokens, w.outFeatures()));
        ml_mixture_linear_desc.y_stride(d, dy.stride());
        ml_mixture_linear_desc.spare(d, dy.spare());
        ml_mixture_linear_desc.dx(d, nullable("dx", dx, act, tokens * w.inFeatures()));
        ml_mixture_linear_desc.accumulate(d, accumulate ? 1 : 0);
        return d;
    }

    private void describe(FrozenWeight w, MixtureTerm mixture, Tensor x, long tokens) {
        ml_mixture_linear_desc.w(d, weight("w", w));
        ml_mixture_linear_desc.tokens(d, tokens);
        ml_mixture_linear_desc.x(d, needRows("x", x, tokens, w.inFeatures()));
        ml_mixture_linear_desc.x_stride(d, x.stride());
        need("parameters", mixture.parameters, DType.F32, slotElements(w, mixture));
        int parts = mixture.parts.size();
        for (int i = 0; i < parts; i++) {
            var part = mixture.parts.get(i);
            ml_mixture_term.a(terms[i], mixture.a(i));
            ml_mixture_term.b(terms[i], mixture.b(i));
            ml_mixture_term.router(terms[i], mixture.router(i));
            ml_mixture_term.first(terms[i], part.first());
            ml_mixture_term.rows(terms[i], part.rows());
            ml_mixture_term.stream(terms[i], mixture.stream + part.stream());
        }
        ml_mixture_linear_desc.terms(d, parts);
        ml_mixture_linear_desc.h(d, need("h", mixture.h, DType.F32, tokens * parts * mixture.rank));
        ml_mixture_linear_desc.weights(d, need("weights", mixture.weights, DType.F32, tokens * parts * mixture.heads));
        ml_mixture_linear_desc.slot_offsets(d, need("slotOffsets", mixture.slotOffsets, DType.I32, mixture.slots + 1L));
        ml_mixture_linear_desc.slots(d, mixture.slots);
        ml_mixture_linear_desc.slot_stride(d, mixture.stride);
        ml_mixture_linear_desc.rank(d, mixture.rank);
        ml_mixture_linear_desc.heads(d, mixture.heads);
        ml_mixture_linear_desc.scale(d, mixture.scale);
        ml_mixture_linear_desc.dropout(d, mixture.dropout);
        ml_mixture_linear_desc.seed(d, mixture.seed);
    }

    private static long slotElements(FrozenWeight w, MixtureTerm mixture) {
        long end = 0;
        for (int i = 0; i < mixture.parts.size(); i++) {
            var part = mixture.parts.get(i);
            end = Math.max(end, part.offsetA() + mixture.rank * w.inFeatures());
            end = Math.max(end, part.offsetB() + (long) mixture.heads * mixture.rank * part.rows());
            end = Math.max(end, mixture.offsetRouter(i) + mixture.heads * w.inFeatures());
        }
        return (mixture.slots - 1L) * mixture.stride + end;
    }
}

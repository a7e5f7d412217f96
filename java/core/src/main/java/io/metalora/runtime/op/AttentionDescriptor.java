package io.metalora.runtime.op;

import io.metalora.bindings.generated.ml_attention_desc;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The descriptor of {@link Ops#attention} and its backward. */
final class AttentionDescriptor extends Descriptor {
    private final MemorySegment d;

    AttentionDescriptor(Device device, Arena arena) {
        super(device);
        this.d = ml_attention_desc.allocate(arena);
    }

    MemorySegment forward(AttentionShape shape, AttentionInput in, AttentionOutput out, Sequences queries, Sequences keys) {
        describe(shape, in, out, queries, keys == null ? queries.tokens() : keys.tokens());
        ml_attention_desc.lse(d, nullable("lse", out.lse(), DType.F32, queries.tokens() * shape.heads()));
        ml_attention_desc.kv_offsets(
                d, keys == null ? MemorySegment.NULL : need("key offsets", keys.offsets(), DType.I32, queries.count() + 1));
        return d;
    }

    MemorySegment backward(
            AttentionShape shape, AttentionInput in, AttentionOutput out, Tensor dO, AttentionInput gradients,
            Sequences sequences) {
        long tokens = sequences.tokens();
        describe(shape, in, out, sequences, tokens);
        long queries = shape.heads() * (long) shape.headDim();
        long keys = shape.kvHeads() * (long) shape.headDim();
        alike("dq and q", gradients.q(), in.q());
        alike("dk and k", gradients.k(), in.k());
        alike("dv and k", gradients.v(), in.k());
        ml_attention_desc.lse(d, need("lse", out.lse(), DType.F32, tokens * shape.heads()));
        ml_attention_desc.kv_offsets(d, MemorySegment.NULL);
        ml_attention_desc.d_o(d, need("dO", dO, act, tokens * queries));
        ml_attention_desc.dq(d, needRows("dq", gradients.q(), tokens, queries));
        ml_attention_desc.dk(d, needRows("dk", gradients.k(), tokens, keys));
        ml_attention_desc.dv(d, needRows("dv", gradients.v(), tokens, keys));
        return d;
    }

    private void describe(AttentionShape shape, AttentionInput in, AttentionOutput out, Sequences sequences, long keyTokens) {
        long queries = shape.heads() * (long) shape.headDim();
        long keys = shape.kvHeads() * (long) shape.headDim();
        alike("v and k", in.v(), in.k());
        ml_attention_desc.q(d, needRows("q", in.q(), sequences.tokens(), queries));
        ml_attention_desc.k(d, needRows("k", in.k(), keyTokens, keys));
        ml_attention_desc.v(d, needRows("v", in.v(), keyTokens, keys));
        ml_attention_desc.o(d, needRows("o", out.o(), sequences.tokens(), queries));
        ml_attention_desc.q_stride(d, in.q().stride());
        ml_attention_desc.kv_stride(d, in.k().stride());
        ml_attention_desc.o_stride(d, out.o().stride());
        ml_attention_desc.q_offsets(d, need("offsets", sequences.offsets(), DType.I32, sequences.count() + 1));
        ml_attention_desc.tokens(d, sequences.tokens());
        ml_attention_desc.sequences(d, sequences.count());
        ml_attention_desc.max_length(d, sequences.longest());
        ml_attention_desc.heads(d, shape.heads());
        ml_attention_desc.kv_heads(d, shape.kvHeads());
        ml_attention_desc.head_dim(d, shape.headDim());
        ml_attention_desc.window(d, shape.window());
        ml_attention_desc.scale(d, shape.scale());
    }
}

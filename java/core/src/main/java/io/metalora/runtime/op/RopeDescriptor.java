package io.metalora.runtime.op;

import io.metalora.bindings.generated.Metalora;
import io.metalora.bindings.generated.ml_rope_desc;
import io.metalora.bindings.generated.ml_rope_table_desc;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The descriptor of {@link Ops#ropeTable}, {@link Ops#rope} and its backward. */
final class RopeDescriptor extends Descriptor {
    private final MemorySegment table;
    private final MemorySegment d;

    RopeDescriptor(Device device, Arena arena) {
        super(device);
        this.table = ml_rope_table_desc.allocate(arena);
        this.d = ml_rope_desc.allocate(arena);
    }

    MemorySegment table(RopeTable angles, double theta, RopeScaling scaling) {
        var t = table;
        ml_rope_table_desc.cos(t, half("cos", angles.cos(), angles));
        ml_rope_table_desc.sin(t, half("sin", angles.sin(), angles));
        ml_rope_table_desc.positions(t, angles.positions());
        ml_rope_table_desc.head_dim(t, angles.headDim());
        ml_rope_table_desc.theta(t, theta);
        switch (scaling) {
            case RopeScaling.None() -> ml_rope_table_desc.scaling(t, Metalora.ML_ROPE_PLAIN());
            case RopeScaling.Linear(var factor) -> {
                ml_rope_table_desc.scaling(t, Metalora.ML_ROPE_LINEAR());
                ml_rope_table_desc.factor(t, factor);
            }
            case RopeScaling.Llama3(var factor, var low, var high, var original) -> {
                ml_rope_table_desc.scaling(t, Metalora.ML_ROPE_LLAMA3());
                ml_rope_table_desc.factor(t, factor);
                ml_rope_table_desc.low_freq_factor(t, low);
                ml_rope_table_desc.high_freq_factor(t, high);
                ml_rope_table_desc.original_max_positions(t, original);
            }
        }
        return t;
    }

    MemorySegment rotation(RopeTable angles, Tensor position, Tensor x, long heads, long tokens) {
        ml_rope_desc.x(d, needRows("x", x, tokens, heads * angles.headDim()));
        ml_rope_desc.stride(d, x.stride());
        ml_rope_desc.cos(d, half("cos", angles.cos(), angles));
        ml_rope_desc.sin(d, half("sin", angles.sin(), angles));
        ml_rope_desc.position(d, need("position", position, DType.I32, tokens));
        ml_rope_desc.tokens(d, tokens);
        ml_rope_desc.positions(d, angles.positions());
        ml_rope_desc.heads(d, heads);
        ml_rope_desc.head_dim(d, angles.headDim());
        return d;
    }

    private MemorySegment half(String name, Tensor tensor, RopeTable angles) {
        return need(name, tensor, DType.F32, angles.positions() * (angles.headDim() / 2));
    }
}

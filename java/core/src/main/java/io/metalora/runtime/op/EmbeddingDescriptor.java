package io.metalora.runtime.op;

import io.metalora.bindings.generated.ml_embedding_desc;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The descriptor of {@link Ops#embedding}. */
final class EmbeddingDescriptor extends Descriptor {
    private final MemorySegment d;

    EmbeddingDescriptor(Device device, Arena arena) {
        super(device);
        this.d = ml_embedding_desc.allocate(arena);
    }

    MemorySegment forward(FrozenWeight table, Tensor ids, Tensor y, long tokens) {
        ml_embedding_desc.table(d, weight("table", table));
        ml_embedding_desc.ids(d, need("ids", ids, DType.I32, tokens));
        ml_embedding_desc.y(d, need("y", y, act, tokens * table.inFeatures()));
        ml_embedding_desc.tokens(d, tokens);
        return d;
    }
}

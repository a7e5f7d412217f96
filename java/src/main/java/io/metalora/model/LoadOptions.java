package io.metalora.model;

import java.util.Objects;

/** How to load a {@link CausalLM}. */
public record LoadOptions(WeightStorage storage) {
    public LoadOptions {
        Objects.requireNonNull(storage, "storage");
    }

    public static LoadOptions defaults() {
        return new LoadOptions(WeightStorage.AUTO);
    }
}

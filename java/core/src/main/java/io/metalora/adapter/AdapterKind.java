package io.metalora.adapter;

/** What an adapter computes: each kind has an {@link AdapterLayout} of its own. */
public enum AdapterKind {
    /** One B for each A: {@link LoraLayout}. */
    LORA,
    /** Several B for each A, weighted for each token by a router: {@link MixtureLayout}. */
    MIXTURE
}

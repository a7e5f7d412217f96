package io.metalora.config;

/** The optimizer of the inner steps (stage 1). AdamW starts afresh in every episode and has no weight decay. */
public enum InnerOptimizer {
    SGD, ADAMW
}

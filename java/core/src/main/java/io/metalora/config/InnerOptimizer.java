package io.metalora.config;

/** What takes the inner steps of stage 1. AdamW starts afresh in every episode and has no weight decay. */
public enum InnerOptimizer {
    SGD, ADAMW
}

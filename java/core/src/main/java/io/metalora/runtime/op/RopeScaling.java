package io.metalora.runtime.op;

/** How rotary frequencies are changed for contexts longer than a model was first trained on. */
public sealed interface RopeScaling {
    record None() implements RopeScaling {}

    /** Positions divided by {@code factor}. */
    record Linear(double factor) implements RopeScaling {}

    /** Low frequencies divided by {@code factor}, high ones kept, those between blended (Llama 3.1). */
    record Llama3(double factor, double lowFreqFactor, double highFreqFactor, double originalMaxPositions)
            implements RopeScaling {}
}

package io.metalora.model;

import io.metalora.runtime.InputException;
import java.util.Arrays;
import java.util.List;

/**
 * How to continue a prompt.
 *
 * @param temperature 0 = greedy: the most probable token, the lowest id on ties
 * @param topP        sample among the most probable tokens that together reach this probability; 1 = all
 * @param stopIds     tokens that end the continuation
 */
public record GenerationOptions(int maxNewTokens, float temperature, float topP, long seed, List<Integer> stopIds) {
    /** Refuses with an InputException what has no meaning. */
    public GenerationOptions {
        if (maxNewTokens < 1) {
            throw new InputException("max new tokens is " + maxNewTokens + "; give at least 1");
        }
        if (!(temperature >= 0) || Float.isInfinite(temperature)) {
            throw new InputException("temperature is " + temperature + "; give 0 (greedy) or more");
        }
        if (!(topP > 0 && topP <= 1)) {
            throw new InputException("top-p is " + topP + "; give a probability above 0 and up to 1");
        }
        stopIds = List.copyOf(stopIds);
    }

    /** The most probable token every time. */
    public static GenerationOptions greedy(int maxNewTokens, int... stopIds) {
        return new GenerationOptions(maxNewTokens, 0, 1, 0, Arrays.stream(stopIds).boxed().toList());
    }
}

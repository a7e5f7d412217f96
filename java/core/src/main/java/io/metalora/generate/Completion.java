package io.metalora.generate;

import java.util.Objects;

/**
 * What a model answered.
 *
 * @param text             without the prompt, and without the stop string where one came
 * @param promptTokens     of the prompt, those that the tokenizer or the chat template adds included
 * @param completionTokens that the model gave, those of a stop string included, but not the token that ended the text
 */
public record Completion(String text, FinishReason finishReason, int promptTokens, int completionTokens) {
    public Completion {
        Objects.requireNonNull(text, "text");
        Objects.requireNonNull(finishReason, "finishReason");
    }
}

package io.metalora.task;

import java.util.Objects;

/**
 * One training or test item: the model reads {@code prompt} and has to continue with {@code completion}.
 *
 * @param prompt     what the model reads; carries no loss
 * @param completion what it has to say, usually beginning with a space; never empty
 * @param source     where the example stands, {@code file:line}, for messages
 */
public record Example(String prompt, String completion, String source) {

    public Example {
        Objects.requireNonNull(prompt, "prompt");
        Objects.requireNonNull(completion, "completion");
        Objects.requireNonNull(source, "source");
    }
}

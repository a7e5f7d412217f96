package io.metalora.task;

import java.util.Objects;

/**
 * One training or test item: the model reads {@code prompt} and has to continue with {@code completion}.
 *
 * @param prompt     what the model reads; carries no loss
 * @param completion what it has to say, usually beginning with a space; never empty
 * @param source     where the example stands, {@code file:line}, for messages
 * @param chat       nullable: the whole conversation whose last assistant turn is the completion, all of whose assistant turns
 *                   are trained on; the prompt is then text with the special tokens in it
 */
public record Example(String prompt, String completion, String source, ChatText chat) {

    public Example {
        Objects.requireNonNull(prompt, "prompt");
        Objects.requireNonNull(completion, "completion");
        Objects.requireNonNull(source, "source");
    }

    /** An example that is no conversation. */
    public Example(String prompt, String completion, String source) {
        this(prompt, completion, source, null);
    }
}

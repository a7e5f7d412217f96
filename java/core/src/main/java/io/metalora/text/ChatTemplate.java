package io.metalora.text;

import io.metalora.runtime.InputException;
import java.util.List;

/**
 * How a model's conversations are written as text. The core reads no templates; {@code io.metalora.launcher.chat.JinjaTemplate}
 * reads those of Hugging Face models.
 */
@FunctionalInterface
public interface ChatTemplate {

    /**
     * The conversation as text, special tokens included, so encode it without adding any.
     *
     * @param addGenerationPrompt end with what opens the assistant's next turn
     * @throws InputException if the template refuses the messages, or can't render them
     */
    String render(List<Message> messages, boolean addGenerationPrompt);
}

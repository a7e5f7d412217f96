package io.metalora.text;

import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;
import java.util.ServiceLoader;

/**
 * Finds the chat template of a model. A service ({@link ServiceLoader}), since the core reads no templates: the launcher provides
 * one for those of Hugging Face models.
 */
public interface ChatTemplateReader {

    /**
     * The template of the model in {@code modelDir}; empty for a model without one.
     *
     * @param variables that the template sees beside the messages, as {@code enable_thinking}
     * @throws io.metalora.runtime.InputException if it is damaged, or can't be rendered here
     */
    Optional<ChatTemplate> read(Path modelDir, Map<String, Object> variables);

    /** The provider on the class or module path; empty where there is none. */
    static Optional<ChatTemplateReader> find() {
        return ServiceLoader.load(ChatTemplateReader.class, ChatTemplateReader.class.getClassLoader()).findFirst();
    }
}

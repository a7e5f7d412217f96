package io.metalora.launcher.chat;

import io.metalora.text.ChatTemplate;
import io.metalora.text.ChatTemplateReader;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;

/** Reads the chat templates of Hugging Face models, as {@link JinjaTemplate} does. */
public final class JinjaTemplateReader implements ChatTemplateReader {

    @Override
    public Optional<ChatTemplate> read(Path modelDir, Map<String, Object> variables) {
        return JinjaTemplate.load(modelDir, variables).map(template -> template);
    }
}

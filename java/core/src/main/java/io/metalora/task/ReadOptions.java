package io.metalora.task;

import io.metalora.runtime.InputException;
import io.metalora.text.ChatTemplate;
import io.metalora.text.ChatTemplateReader;
import java.nio.file.Path;
import java.util.Map;
import java.util.Objects;
import java.util.function.Supplier;

/**
 * What reading examples takes beside their files.
 *
 * @param columns  which keys or columns hold what
 * @param template gives the chat template with which conversations are written; asked only where there are any, and throws an
 *                 {@link InputException} that says why there is none
 * @param texts    nullable: texts that every record fills in, in place of the forms that records have of their own
 */
public record ReadOptions(Columns columns, Supplier<ChatTemplate> template, PromptTemplate texts) {

    /** For examples that are no conversations, their columns named as usual. */
    public static final ReadOptions NONE = new ReadOptions(Columns.NONE, () -> {
        throw new InputException("it is a conversation, and none are read here; give prompt and completion");
    });

    /** Without texts to fill in. */
    public ReadOptions(Columns columns, Supplier<ChatTemplate> template) {
        this(columns, template, null);
    }

    public ReadOptions {
        Objects.requireNonNull(columns, "columns");
        Objects.requireNonNull(template, "template");
    }

    /** Conversations are written by the template of the model in {@code modelDir}. */
    public static ReadOptions of(Path modelDir) {
        return of(modelDir, Columns.NONE, true);
    }

    /**
     * As above.
     *
     * @param thinking false: a template that knows {@code enable_thinking}, as Qwen3's, is told that it is false
     */
    public static ReadOptions of(Path modelDir, Columns columns, boolean thinking) {
        return new ReadOptions(columns, new Supplier<>() {
            private ChatTemplate read;

            @Override
            public synchronized ChatTemplate get() {
                if (read == null) {
                    read = template(modelDir, thinking ? Map.of() : Map.of("enable_thinking", false));
                }
                return read;
            }
        });
    }

    private static ChatTemplate template(Path modelDir, Map<String, Object> variables) {
        ChatTemplateReader reader = ChatTemplateReader.find().orElseThrow(() -> new InputException(
                "it is a conversation, and nothing here reads chat templates; add metalora-launcher to the class path, or give prompt and completion"));
        return reader.read(modelDir, variables).orElseThrow(() -> new InputException("it is a conversation, but the model in " + modelDir
                + " has no chat template (neither chat_template.jinja nor one in tokenizer_config.json); choose a model trained for chat, add a "
                + "template, or give prompt and completion"));
    }
}

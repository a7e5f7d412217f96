package io.metalora.generate;

import io.metalora.model.AdapterSlots;
import io.metalora.model.GenerationOptions;
import io.metalora.text.Message;
import java.util.List;
import java.util.Objects;

/**
 * What to answer, and how. Made by {@link #of} or {@link #chat}.
 *
 * @param slot    of the adapter to use, or {@link AdapterSlots#BASE}
 * @param options the model's own end-of-sequence tokens stop it beside those named there
 * @param stops   strings that end the text where one comes; none may be empty
 */
public record TextRequest(Input input, int slot, GenerationOptions options, List<String> stops) {

    /** What is given to the model. */
    public sealed interface Input {}

    /** A text to continue. */
    public record Prompt(String text) implements Input {
        public Prompt {
            Objects.requireNonNull(text, "text");
        }
    }

    /** A conversation to answer, by the model's chat template. */
    public record Chat(List<Message> messages) implements Input {
        public Chat {
            messages = List.copyOf(messages);
        }
    }

    public TextRequest {
        Objects.requireNonNull(input, "input");
        Objects.requireNonNull(options, "options");
        stops = List.copyOf(stops);
        if (stops.contains("")) {
            throw new IllegalArgumentException("a stop string is empty");
        }
    }

    /** Continues a text with the base model. */
    public static TextRequest of(String prompt, GenerationOptions options) {
        return new TextRequest(new Prompt(prompt), AdapterSlots.BASE, options, List.of());
    }

    /** Answers a conversation with the base model. */
    public static TextRequest chat(List<Message> messages, GenerationOptions options) {
        return new TextRequest(new Chat(messages), AdapterSlots.BASE, options, List.of());
    }

    /** The same with an adapter. */
    public TextRequest withSlot(int slot) {
        return new TextRequest(input, slot, options, stops);
    }

    /** The same, ended also by these strings. */
    public TextRequest withStops(List<String> stops) {
        return new TextRequest(input, slot, options, stops);
    }
}

package io.metalora.generate;

import io.metalora.generate.TextRequest.Chat;
import io.metalora.generate.TextRequest.Prompt;
import io.metalora.model.GenerationOptions;
import io.metalora.model.GenerationRequest;
import io.metalora.model.Generator;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.InputException;
import io.metalora.text.ChatTemplate;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.IntStream;

/**
 * Continues texts, and answers conversations, with a loaded model. Requests of one call go through the model together, each
 * with its own adapter; each call takes memory for them and gives it back. Holds nothing itself.
 */
public final class TextGenerator {
    private final LoadedModel loaded;
    private final ChatTemplate template; // null: prompts only

    /** For prompts. */
    public TextGenerator(LoadedModel loaded) {
        this(loaded, null);
    }

    /** @param template the model's, for conversations; null for prompts only */
    public TextGenerator(LoadedModel loaded, ChatTemplate template) {
        this.loaded = loaded;
        this.template = template;
    }

    /** As {@link #generate(List, TextListener)}, one request. */
    public Completion generate(TextRequest request) {
        return generate(List.of(request)).getFirst();
    }

    /** The same, passing the text to a listener as it is generated. */
    public Completion generate(TextRequest request, Consumer<String> listener) {
        return generate(List.of(request), (index, piece) -> listener.accept(piece)).getFirst();
    }

    /** As {@link #generate(List, TextListener)}, without a listener. */
    public List<Completion> generate(List<TextRequest> requests) {
        return generate(requests, null);
    }

    /**
     * Answers all requests at once.
     *
     * @param listener is called with each piece of text as it is generated; may be null
     * @return in the order of the requests
     * @throws InputException           if a prompt is empty or longer than the model's context, the chat template refuses
     *                                  messages, memory does not suffice for all requests, or the model or an adapter is damaged
     * @throws IllegalArgumentException if a request names a slot that the model was not loaded with, or is a conversation where
     *                                  there is no template
     */
    public List<Completion> generate(List<TextRequest> requests, TextListener listener) {
        var inputs = new ArrayList<GenerationRequest>();
        var streams = new ArrayList<TextStream>();
        var prompts = new int[requests.size()];
        long tokens = 0;
        for (int i = 0; i < requests.size(); i++) {
            var request = requests.get(i);
            int index = i;
            int[] ids = encode(request, requests.size() == 1 ? "the prompt" : "prompt " + i);
            var options = options(request.options(), ids.length);
            inputs.add(new GenerationRequest(ids, request.slot(), options));
            streams.add(new TextStream(loaded.tokenizer(), ids, request.stops(),
                    listener == null ? null : piece -> listener.text(index, piece)));
            prompts[i] = ids.length;
            tokens += ids.length + (long) options.maxNewTokens();
        }
        if (requests.isEmpty()) {
            return List.of();
        }
        // More tokens than an int holds are more than any memory does.
        try (var generator = new Generator(loaded.model(), loaded.slots(), requests.size(), (int) Math.min(tokens, Integer.MAX_VALUE))) {
            var continuations = generator.generate(inputs, (index, token) -> streams.get(index).accept(token));
            return IntStream.range(0, requests.size()).mapToObj(i -> new Completion(streams.get(i).finish(),
                    continuations.get(i).stopped() ? FinishReason.STOP : FinishReason.LENGTH, prompts[i],
                    continuations.get(i).tokens().length)).toList();
        }
    }

    /** @param name of the prompt, for messages */
    private int[] encode(TextRequest request, String name) {
        int[] ids = switch (request.input()) {
            case Prompt prompt -> loaded.tokenizer().encode(prompt.text(), true);
            case Chat chat -> {
                if (template == null) {
                    throw new IllegalArgumentException("a conversation needs a chat template, and this generator was made without one");
                }
                // A chat template writes the special tokens itself.
                yield loaded.tokenizer().encode(template.render(chat.messages(), true), false);
            }
        };
        int context = loaded.model().config().maxPositions();
        if (ids.length == 0 && request.input() instanceof Chat) {
            throw new InputException(name + " is empty: the model's chat template writes nothing of the messages; mend the template, or give the "
                    + "prompt as plain text");
        }
        if (ids.length == 0) {
            throw new InputException(name + " is empty, and this model's tokenizer puts no token before a text; give a prompt");
        }
        if (ids.length >= context) {
            throw new InputException(name + " has " + ids.length + " tokens, but the model's context is " + context
                    + "; give a shorter one");
        }
        return ids;
    }

    /** Within the model's context, and with its own stop tokens. */
    private GenerationOptions options(GenerationOptions asked, int prompt) {
        int most = Math.min(asked.maxNewTokens(), loaded.model().config().maxPositions() - prompt);
        var stops = new ArrayList<>(asked.stopIds());
        stops.addAll(loaded.model().config().eosTokenIds());
        return new GenerationOptions(most, asked.temperature(), asked.topP(), asked.seed(), stops);
    }
}

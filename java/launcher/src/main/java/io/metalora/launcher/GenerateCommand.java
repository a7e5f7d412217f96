package io.metalora.launcher;

import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import io.metalora.generate.Completion;
import io.metalora.generate.TextGenerator;
import io.metalora.generate.TextRequest;
import io.metalora.launcher.chat.JinjaTemplate;
import io.metalora.model.GenerationOptions;
import io.metalora.runtime.InputException;
import io.metalora.text.Message;
import java.io.PrintWriter;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code generate}: continues a prompt. */
@Command(
        name = "generate",
        description = {"Continues a prompt. The text goes to the standard output as it comes.", ""},
        footer = {
                "",
                "Examples:",
                "  metalora generate --model models/tiny --adapter run/adapter --prompt 'Text: The team won.'",
                "  metalora generate --model my-instruct-model --chat --prompt 'What is LoRA?' --temperature 0.7"})
final class GenerateCommand implements Callable<Integer> {

    @Mixin
    private ModelChoice model;

    @Option(names = "--prompt", paramLabel = "TEXT", required = true, description = "What to continue.")
    private String prompt;

    @Option(names = "--max-new-tokens", paramLabel = "N", defaultValue = "128",
            description = "Stop after so many tokens (default: ${DEFAULT-VALUE}), if the end of sequence has not come before.")
    private int maxNewTokens;

    @Option(names = "--temperature", paramLabel = "T", defaultValue = "0",
            description = "0 takes the most probable token every time (default); 1 samples from the model's distribution.")
    private float temperature;

    @Option(names = "--top-p", paramLabel = "P", defaultValue = "1",
            description = "Sample from the most probable tokens that make up this share only (default: ${DEFAULT-VALUE}).")
    private float topP;

    @Option(names = "--seed", paramLabel = "S", defaultValue = "0",
            description = "Of sampling: the same seed gives the same text (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Option(names = "--chat", description = "The prompt is what a user says: put it into the model's chat template.")
    private boolean chat;

    @Option(names = "--json", description = "Print JSON when all is there, instead of the text as it comes.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    @JsonPropertyOrder({"text", "finish_reason", "prompt_tokens", "completion_tokens"})
    private record Output(String text, String finishReason, int promptTokens, int completionTokens) {
        Output(Completion completion) {
            this(completion.text(), completion.finishReason().name().toLowerCase(Locale.ROOT), completion.promptTokens(),
                    completion.completionTokens());
        }
    }

    @Override
    public Integer call() {
        check(maxNewTokens >= 1, "--max-new-tokens is " + maxNewTokens + "; it must be 1 or more");
        check(temperature >= 0 && Float.isFinite(temperature), "--temperature is " + temperature + "; it must be 0 or more");
        check(topP > 0 && topP <= 1, "--top-p is " + topP + "; it must be above 0 and at most 1");
        JinjaTemplate template = chat ? template() : null;
        var options = new GenerationOptions(maxNewTokens, temperature, topP, seed, List.of());
        TextRequest request = chat ? TextRequest.chat(List.of(Message.user(prompt)), options) : TextRequest.of(prompt, options);
        PrintWriter out = spec.commandLine().getOut();
        try (var loaded = model.open()) {
            var generator = new TextGenerator(loaded, template);
            var slotted = loaded.slots() == null ? request : request.withSlot(0);
            if (json) {
                out.println(Json.pretty(new Output(generator.generate(slotted))));
            } else {
                generator.generate(slotted, piece -> {
                    out.print(piece);
                    out.flush();
                });
                out.println();
            }
        }
        return ExitCode.OK;
    }

    private JinjaTemplate template() {
        return JinjaTemplate.load(model.model()).orElseThrow(() -> new InputException(model.model()
                + ": the model has no chat template (neither chat_template.jinja nor one in tokenizer_config.json), so it can't chat; "
                + "omit --chat to continue the prompt as plain text, or choose a model trained for chat"));
    }

    private static void check(boolean fine, String message) {
        if (!fine) {
            throw new InputException(message);
        }
    }
}

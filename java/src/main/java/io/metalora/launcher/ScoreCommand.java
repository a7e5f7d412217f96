package io.metalora.launcher;

import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import io.metalora.eval.Scorer;
import io.metalora.eval.Scorer.Score;
import io.metalora.task.EncodedExample;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.ExampleFile;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code score}: the log-probability of every completion of a file. */
@Command(
        name = "score",
        description = {
                "Gives the log-probability of each completion after its prompt.",
                "",
                "For each line of the data, in order, one JSON object:",
                "  {\"index\": 0, \"tokens\": 3, \"logprob\": -4.25}",
                "tokens counts the completion's tokens, logprob is the natural logarithm of their probability, summed. "
                        + "No end of sequence token is counted.",
                ""},
        footer = {"", "Example:", "  metalora score --model models/tiny --adapter run/adapter --data test.jsonl --out scores.jsonl"})
final class ScoreCommand implements Callable<Integer> {

    @Mixin
    private ModelChoice model;

    @Option(names = "--data", paramLabel = "FILE", required = true,
            description = "Examples, one a line: {\"prompt\": ..., \"completion\": ...} A pipe will do, such as /dev/stdin.")
    private Path data;

    @Option(names = "--out", paramLabel = "FILE", description = "Where to write (default: the standard output). Must not exist.")
    private Path out;

    @Spec
    private CommandSpec spec;

    @JsonPropertyOrder({"index", "tokens", "logprob"})
    private record Line(int index, int tokens, double logprob) {
    }

    @Override
    public Integer call() throws IOException {
        var target = out == null ? null : new NewFile(out);
        var examples = ExampleFile.read(data);
        try (var loaded = model.open();
                var scorer = new Scorer(loaded.model(), loaded.slots())) {
            List<EncodedExample> encoded = ExampleEncoder.forScoring(loaded.tokenizer(), loaded.model().config()).encode(examples);
            long tokens = encoded.stream().mapToLong(EncodedExample::length).sum();
            List<Score> scores;
            try (var progress = Progress.tokens(spec, "score", tokens)) {
                scores = scorer.score(encoded, progress::step);
            }
            var lines = new ArrayList<String>(scores.size());
            for (int i = 0; i < scores.size(); i++) {
                lines.add(Json.line(new Line(i, scores.get(i).tokens(), scores.get(i).logprob())));
            }
            if (target == null) {
                lines.forEach(spec.commandLine().getOut()::println);
            } else {
                target.write(String.join("\n", lines) + "\n");
            }
        }
        return ExitCode.OK;
    }
}

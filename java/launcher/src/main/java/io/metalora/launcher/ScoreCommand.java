package io.metalora.launcher;

import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import io.metalora.eval.Scorer.Score;
import io.metalora.eval.Scorer;
import io.metalora.task.EncodedExample;
import io.metalora.task.Example;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.ExampleFile;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.function.Consumer;
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

    /** Examples that are scored before their lines are written. */
    private static final int PIECE = 1000;

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
    public Integer call() {
        try (var target = out == null ? null : new NewFile(out)) {
            return score(ExampleFile.read(data, model.readOptions()), target);
        }
    }

    private int score(List<Example> examples, NewFile target) {
        int done = 0;
        try (var loaded = model.open();
                var stop = new StopSignal(() -> { })) {
            stop.arm();
            Consumer<String> print = target == null ? spec.commandLine().getOut()::println : target::line;
            List<EncodedExample> encoded = ExampleEncoder.forScoring(loaded.tokenizer(), loaded.model().config()).encode(examples);
            long tokens = encoded.stream().mapToLong(EncodedExample::length).sum();
            try (var scorer = new Scorer(loaded.model(), loaded.slots(), stop);
                    var progress = Progress.of(spec, "score", "tokens", tokens)) {
                while (done < encoded.size()) {
                    for (Score score : scorer.score(encoded.subList(done, Math.min(done + PIECE, encoded.size())), progress::step)) {
                        print.accept(Json.line(new Line(done++, score.tokens(), score.logprob())));
                    }
                }
            } catch (CancellationException e) {
                spec.commandLine().getErr().println("stopped: " + (target == null ? done + " of " + encoded.size() + " lines are written"
                        : out + " was not written"));
                return ExitCode.INTERRUPTED;
            }
            if (target != null) {
                target.finish();
            }
        }
        return ExitCode.OK;
    }
}

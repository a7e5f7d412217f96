package io.metalora.launcher;

import io.metalora.config.Protocol;
import io.metalora.config.Protocol.Arm;
import io.metalora.config.Protocol.Row;
import io.metalora.eval.LongExamples;
import io.metalora.eval.Split;
import io.metalora.file.AtomicFile;
import io.metalora.file.Folders;
import io.metalora.io.ModelConfig;
import io.metalora.launcher.report.HtmlReport;
import io.metalora.model.LoadedModel;
import io.metalora.model.ModelFingerprint;
import io.metalora.run.RunFolder;
import io.metalora.runtime.Device;
import io.metalora.text.TextTokenizer;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import java.util.concurrent.CancellationException;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** {@code compare}: arms and seeds by a protocol that was written before. */
@Command(
        name = "compare",
        description = {
                "Compares ways to train and adapt, as a protocol says: every arm with the same number of trials, chosen on dev splits, then with "
                        + "every seed on test splits, and answers the protocol's questions with intervals. docs/compare.md describes protocols.",
                "",
                "The output folder gets results.json, results.md, report.html, and every answer in cells/. What is finished is kept: the same "
                        + "command continues a comparison that was stopped or killed.",
                ""},
        footer = {
                "",
                "Example, of a few minutes:",
                "  metalora compare bench/protocols/embedded-quick.yaml --output runs/compare"})
final class CompareCommand implements Callable<Integer> {

    @Parameters(paramLabel = "PROTOCOL.yaml", description = "The tasks, seeds, arms and questions.")
    private Path file;

    @Option(names = "--output", paramLabel = "DIR", required = true,
            description = "Folder to create, or that of the same comparison, to continue it.")
    private Path output;

    @Option(names = "--model", paramLabel = "DIR", description = "The base model, in place of the protocol's.")
    private Path model;

    @Option(names = "--tasks", paramLabel = "DIR", description = "Folder of the tasks that are trained on, in place of the protocol's.")
    private Path trained;

    @Option(names = "--unseen", paramLabel = "DIR", description = "Folder of the tasks held out, likewise.")
    private Path unseen;

    @Option(names = "--tuning", paramLabel = "DIR", description = "Folder of the tasks that settings for unseen ones are chosen on, likewise.")
    private Path tuning;

    @Mixin
    private DeviceChoice device;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() {
        String text = Protocol.text(file);
        Protocol protocol = Protocol.parse(file.toString(), text).with(Optional.ofNullable(model), Optional.ofNullable(trained),
                Optional.ofNullable(unseen), Optional.ofNullable(tuning));
        PrintWriter err = spec.commandLine().getErr();
        CompareTasks.folders(protocol).forEach(tasks -> RunFolder.requireApart(output, tasks, "give another --output"));
        requireModel(protocol);
        CompareTasks tasks = CompareTasks.read(protocol);
        try (var folder = CompareFolder.open(Folders.absolute(output), text);
                var stop = new StopSignal(() -> err.println("\nstopping: what is finished is kept, and the same command continues"))) {
            Path base = base(protocol, folder);
            ModelConfig config = ModelConfig.read(base);
            var run = new CompareRun(spec, protocol, base, tasks, folder, device, stop);
            try (var opened = device.open(); var tokenizer = TextTokenizer.load(base)) {
                requireShort(protocol, tasks, run, tokenizer, config);
                run.requireTrainable(tokenizer, config, opened);
                folder.begin(Map.of("the base model", ModelFingerprint.of(base).digest(), "the tasks", tasks.digest()));
                stop.arm();
                try (var loaded = LoadedModel.load(base, opened, tokenizer, run.loadOptions(config))) {
                    run.run(loaded);
                } catch (CancellationException e) {
                    err.println("stopped: " + run.done().size() + " cells are finished in " + output + "; the same command continues");
                    return ExitCode.INTERRUPTED;
                }
                report(CompareResults.of(protocol, run), text, folder.path(), opened);
            }
        }
        return ExitCode.OK;
    }

    /** Before the folder is made. */
    private static void requireModel(Protocol protocol) {
        if (!protocol.model().equals(Protocol.EMBEDDED)) {
            Folders.require(Path.of(protocol.model()), "a Hugging Face model (config.json, model.safetensors, tokenizer.json)");
        }
    }

    private static Path base(Protocol protocol, CompareFolder folder) {
        if (!protocol.model().equals(Protocol.EMBEDDED)) {
            return Path.of(protocol.model());
        }
        Path copy = folder.model();
        if (!Files.exists(copy)) {
            AtomicFile.createFolder(copy, EmbeddedModel::copyTo);
        }
        return copy;
    }

    /** Examples that are too long are found before the work begins, those with samples in front of them too. */
    private static void requireShort(Protocol protocol, CompareTasks tasks, CompareRun run, TextTokenizer tokenizer, ModelConfig config) {
        LongExamples.refuse(tasks.trained().stream().filter(task -> !task.test().isEmpty()).toList(), Split.TEST, tokenizer, config, "");
        LongExamples.refuse(tasks.unseen().stream().filter(task -> !task.test().isEmpty()).toList(), Split.TEST, tokenizer, config, "");
        for (var of : List.of(tasks.trained(), tasks.tuning())) {
            LongExamples.refuse(of.stream().filter(task -> !task.dev().isEmpty()).toList(), Split.DEV, tokenizer, config, "");
        }
        for (Arm arm : protocol.arms().values()) {
            for (Row row : arm.shots() > 0 ? arm.rows() : List.<Row>of()) {
                for (long seed : protocol.seeds()) {
                    LongExamples.refuse(run.shotTasks(new CompareRun.Cell(arm, 0, seed, Split.TEST, arm.rows()), row), Split.TEST, tokenizer, config,
                            "; lower arms." + arm.name() + ".shots");
                }
            }
        }
    }

    private void report(CompareResults results, String text, Path folder, Device opened) {
        CompareFolder.write(folder.resolve("results.json"), results.json());
        AtomicFile.write(folder.resolve("results.md"), CompareReport.markdown(results).getBytes(StandardCharsets.UTF_8));
        HtmlReport.write(CompareReport.of(results, text, opened.info()), folder.resolve("report.html"));
        PrintWriter out = spec.commandLine().getOut();
        var table = new TextTable(CompareResults.HEADINGS);
        results.table().forEach(table::row);
        out.println(results.protocol().title() + ", on test splits:");
        out.print(table);
        out.println();
        results.answers().forEach(answer -> out.println(answer.words()));
        out.println("Report: " + output.resolve("report.html") + "; results.md and results.json beside it, every answer in cells/");
    }
}

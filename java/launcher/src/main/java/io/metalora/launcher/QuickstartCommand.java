package io.metalora.launcher;

import io.metalora.eval.Comparison;
import io.metalora.eval.Split;
import io.metalora.file.AtomicFile;
import io.metalora.launcher.QuickstartPlan.Setting;
import io.metalora.launcher.QuickstartSetting.Prepared;
import io.metalora.launcher.report.HtmlReport;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.Device;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.LocalDateTime;
import java.time.format.DateTimeFormatter;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code quickstart}: MeTA-LoRA and the methods it is compared with, on the embedded model and generated tasks. */
@Command(
        name = "quickstart",
        description = {
                "Trains the embedded base model in some two minutes: with MeTA-LoRA on few samples a task, with joint LoRA on the same "
                        + "few, and with joint LoRA on all; on several tasks, and on one task in several languages. Prints the accuracy "
                        + "of each on held-out examples.",
                ""},
        footer = {"", "Example:", "  metalora quickstart --output my-first-run"})
final class QuickstartCommand implements Callable<Integer> {

    @Option(names = "--output", paramLabel = "DIR", description = "Run folder to make (default: runs/quickstart-TIME).")
    private Path output;

    @Option(names = "--seed", paramLabel = "S", defaultValue = "1",
            description = "Of the generated training data, of the samples drawn and of the adapters (default: ${DEFAULT-VALUE}).")
    private long seed;

    @Mixin
    private DeviceChoice device;

    @Spec
    private CommandSpec spec;

    private final QuickstartPlan plan;

    QuickstartCommand() {
        this(QuickstartPlan.DEFAULT);
    }

    QuickstartCommand(QuickstartPlan plan) {
        this.plan = plan;
    }

    /** What there is before anything is trained. */
    private record Beginning(List<Prepared> settings, QuickstartNewTasks.Prepared newTasks) {

        List<Progress.Stage> stages() {
            return Stream.concat(settings.stream().flatMap(setting -> setting.stages().stream()), newTasks.stages().stream())
                    .toList();
        }
    }

    @Override
    public Integer call() throws IOException {
        long begin = System.nanoTime();
        PrintWriter out = spec.commandLine().getOut();
        Path folder = output != null ? output
                : Path.of("runs", "quickstart-" + LocalDateTime.now().format(DateTimeFormatter.ofPattern("yyyyMMdd-HHmmss")));
        NewFolder.requireAbsent(folder);
        Device.open(device.options()).close();
        Path model = folder.resolve("model");
        Beginning beginning = NewFolder.make(folder, () -> beginning(folder, model));
        out.println("Base model: the embedded one, copied to " + model);
        QuickstartNewTasks.Prepared newTasks = beginning.newTasks();
        var outcomes = new ArrayList<QuickstartSetting>();
        Optional<QuickstartNewTasks> use = Optional.empty();
        // A stop is reported before the signal is closed: the process may end right after that.
        try (var stop = new StopSignal(() -> spec.commandLine().getErr().println("\nstopping: what is done is reported"));
                var loaded = LoadedModel.open(model, device.options())) {
            stop.arm();
            try (var progress = Progress.of(spec, "quickstart", beginning.stages())) {
                int stage = 0;
                for (Prepared setting : beginning.settings()) {
                    out.println();
                    out.println(setting.setting().name() + ": " + setting.setting().title());
                    out.println("  tasks written to " + setting.tasksFolder());
                    outcomes.add(QuickstartSetting.run(spec, plan, setting, loaded, progress, stage, stop));
                    stage += setting.stages().size();
                    if (!outcomes.getLast().complete()) {
                        break;
                    }
                }
                if (outcomes.getLast().complete()) {
                    out.println();
                    out.println(plan.newTasks().name() + ": " + plan.newTasks().title());
                    out.println("  tasks written to " + newTasks.trainingFolder() + " and " + newTasks.useFolder());
                    out.println("  accuracy on new tasks with " + plan.newTasks().samples().stream().map(String::valueOf)
                            .collect(Collectors.joining(", ", "0, ", "")) + " samples of each:");
                    use = Optional.of(QuickstartNewTasks.run(spec, newTasks, loaded, seed, progress, stage, stop));
                }
            }
            var json = new ArrayList<>(outcomes.stream().map(QuickstartSetting::json).toList());
            use.ifPresent(of -> json.add(of.json()));
            AtomicFile.write(folder.resolve("results.json"), (Json.pretty(json) + "\n").getBytes(StandardCharsets.UTF_8));
            HtmlReport.write(QuickstartReport.of(plan, folder, outcomes, use, loaded.device().info()), folder.resolve("report.html"));
            if (use.isEmpty() || !use.get().complete()) {
                out.println("Stopped. " + folder + " holds what was done, with a report; quickstart begins anew in another folder.");
                return ExitCode.INTERRUPTED;
            }
        }
        for (QuickstartSetting outcome : outcomes) {
            print(outcome, out);
        }
        print(use.orElseThrow(), out);
        out.println();
        out.println("Done in " + Progress.time((System.nanoTime() - begin) / 1_000_000_000) + ". Report: " + folder.resolve("report.html"));
        out.println("Look at one answer:  metalora generate --model " + model + " --adapter "
                + outcomes.getFirst().adapter(plan.metaFew()) + " --prompt '...'");
        out.println("Adapt to new tasks:  metalora adapt --model " + model + " --adapter " + use.orElseThrow().adapter(plan.newTasks().meta())
                + " --tasks " + newTasks.useFolder() + " --samples 16 --lr 8e-3 --output adapted");
        return ExitCode.OK;
    }

    /** Writes model and tasks. */
    private Beginning beginning(Path folder, Path model) throws IOException {
        AtomicFile.makeFolder(model, "give another --output");
        EmbeddedModel.copyTo(model);
        var settings = new ArrayList<Prepared>();
        for (Setting setting : plan.settings()) {
            settings.add(QuickstartSetting.prepare(plan, setting, folder, model, seed, device));
        }
        return new Beginning(settings, QuickstartNewTasks.prepare(plan.newTasks(), folder, model, seed, device));
    }

    private static void print(QuickstartNewTasks outcome, PrintWriter out) {
        var table = new TextTable(outcome.headings());
        outcome.rows().forEach(table::row);
        out.println();
        out.println(outcome.plan().name() + ", mean accuracy on " + Split.TEST + " in percent, after fine-tuning on so many samples:");
        out.print(table);
        outcome.conclusions().forEach(out::println);
    }

    private static void print(QuickstartSetting outcome, PrintWriter out) {
        Comparison comparison = outcome.comparison();
        var table = new TextTable(comparison.headings());
        comparison.rows().forEach(table::row);
        table.row(comparison.meanRow());
        out.println();
        out.println(String.format(Locale.ROOT, "%s, accuracy on %s in percent:", outcome.setting().name(), Split.TEST));
        out.print(table);
        outcome.conclusions().forEach(out::println);
    }
}

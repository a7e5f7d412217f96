package io.metalora.launcher;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicBoolean;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine;

/** The entry point of the command line: {@code metalora VERB}. */
@Command(
        name = "metalora",
        description = "Multi-task LoRA fine-tuning (MeTA-LoRA) of Hugging Face models, without Python.",
        mixinStandardHelpOptions = true,
        scope = ScopeType.INHERIT,
        versionProvider = Version.class,
        synopsisSubcommandLabel = "VERB",
        commandListHeading = "%nVerbs:%n",
        exitCodeListHeading = "%nExit codes:%n",
        exitCodeList = {
                "0:fine", "1:failure, also of writing the output", "2:bad input; nothing is written over",
                "129, 130, 143:ended by SIGHUP, SIGINT (Ctrl-C), SIGTERM; what was done is saved",
                "141:nobody reads the output any more"},
        subcommands = {
                QuickstartCommand.class, DoctorCommand.class, PreviewCommand.class, TrainCommand.class, AdaptCommand.class, CompareCommand.class,
                EvalCommand.class, ScoreCommand.class, GenerateCommand.class, ExportCommand.class})
public final class Main {

    @Option(names = "--verbose", scope = ScopeType.INHERIT, description = "On an error, print the stack trace too.")
    private boolean verbose;

    boolean verbose() {
        return verbose || System.getenv("METALORA_DEBUG") != null;
    }

    /**
     * Runs one verb and ends the process with its exit code: 0 fine, 1 failure, 2 bad input, 130 interrupted, 141 where
     * nobody reads the output any more.
     */
    public static void main(String[] args) {
        int code = new Main().run(args, new FileOutputStream(FileDescriptor.out), new FileOutputStream(FileDescriptor.err), true);
        System.exit(code);
    }

    /** As {@link #main}, with the given streams, returning the exit code. */
    public static int run(String[] args, OutputStream out, OutputStream err) {
        return new Main().run(args, out, err, false);
    }

    /** @param process whether the whole process is this verb's, so that a failure in any thread of it is the verb's */
    private int run(String[] args, OutputStream out, OutputStream err, boolean process) {
        Output messages = Output.messages(err);
        PrintWriter errWriter = writer(messages);
        PrintWriter outWriter = writer(Output.results(out, process));
        var errors = new Errors(errWriter, this::verbose);
        var elsewhere = new AtomicBoolean();
        if (process) {
            Thread.setDefaultUncaughtExceptionHandler((thread, e) -> {
                elsewhere.set(true);
                errors.report(thread, e);
            });
        }
        int code;
        try {
            if (process) {
                Locales.requireWhole(args);
            }
            code = execute(args, outWriter, errWriter, errors);
        } catch (Throwable e) { // an Error too is to end as a message
            code = errors.report(e);
        }
        try {
            outWriter.flush();
        } catch (Output.Failure e) {
            code = errors.report(e);
        }
        errWriter.flush();
        return code == ExitCode.OK && (elsewhere.get() || messages.failed()) ? ExitCode.FAILURE : code;
    }

    private int execute(String[] args, PrintWriter out, PrintWriter err, Errors errors) {
        var commandLine = new CommandLine(this)
                .setOut(out)
                .setErr(err)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setExpandAtFiles(false) // a prompt may begin with @
                .setUsageHelpAutoWidth(true)
                .setParameterExceptionHandler(errors)
                .setExecutionExceptionHandler(errors)
                .setExecutionStrategy(parsed -> {
                    try {
                        return new CommandLine.RunLast().execute(parsed);
                    } catch (Output.Failure e) { // of a help text, which picocli has no handler for
                        return errors.report(e);
                    }
                });
        OptionTypes.register(commandLine);
        if (args.length == 0) {
            commandLine.usage(err);
            return ExitCode.BAD_INPUT;
        }
        try (var _ = new Warnings(err)) {
            return commandLine.execute(args);
        }
    }

    /** UTF-8 whatever the locale: texts in all languages go through here, and containers often have none set. */
    private static PrintWriter writer(OutputStream to) {
        return new PrintWriter(to, true, StandardCharsets.UTF_8);
    }
}

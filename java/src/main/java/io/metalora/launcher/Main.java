package io.metalora.launcher;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ScopeType;

/** The command line's entry: {@code metalora VERB}. */
@Command(
        name = "metalora",
        description = "Multi-task LoRA fine-tuning (MeTA-LoRA) of Hugging Face models, without Python.",
        mixinStandardHelpOptions = true,
        scope = ScopeType.INHERIT,
        versionProvider = Version.class,
        synopsisSubcommandLabel = "VERB",
        commandListHeading = "%nVerbs:%n",
        subcommands = {
                QuickstartCommand.class, DoctorCommand.class, TrainCommand.class, EvalCommand.class, ScoreCommand.class,
                GenerateCommand.class})
public final class Main {

    @Option(names = "--verbose", scope = ScopeType.INHERIT, description = "On an error, print the stack trace too.")
    private boolean verbose;

    boolean verbose() {
        return verbose || System.getenv("METALORA_DEBUG") != null;
    }

    /** Runs one verb and ends the process with its exit code: 0 fine, 1 failure, 2 bad input, 130 interrupted. */
    public static void main(String[] args) {
        // UTF-8 whatever the locale: texts in all languages go through here, and containers often have none set.
        var out = new PrintStream(new FileOutputStream(FileDescriptor.out), false, StandardCharsets.UTF_8);
        var err = new PrintStream(new FileOutputStream(FileDescriptor.err), true, StandardCharsets.UTF_8);
        int code = run(args, out, err);
        out.flush();
        System.exit(code);
    }

    /** As {@link #main}, with the given streams, returning the exit code. */
    public static int run(String[] args, PrintStream out, PrintStream err) {
        var main = new Main();
        var errors = new Errors(main);
        var commandLine = new CommandLine(main)
                .setOut(new PrintWriter(out, true, StandardCharsets.UTF_8))
                .setErr(new PrintWriter(err, true, StandardCharsets.UTF_8))
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setUsageHelpAutoWidth(true)
                .setParameterExceptionHandler(errors)
                .setExecutionExceptionHandler(errors);
        if (args.length == 0) {
            commandLine.usage(commandLine.getErr());
            return ExitCode.BAD_INPUT;
        }
        try (var _ = new Warnings(commandLine.getErr())) {
            return commandLine.execute(args);
        } catch (OutOfMemoryError | LinkageError e) {
            return errors.report(e, commandLine);
        } finally {
            commandLine.getOut().flush();
            commandLine.getErr().flush();
        }
    }
}

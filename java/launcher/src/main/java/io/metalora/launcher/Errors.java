package io.metalora.launcher;

import io.metalora.bindings.NativeException;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import io.metalora.train.TrainingDivergedException;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.FileSystemException;
import java.nio.file.InvalidPathException;
import java.util.function.BooleanSupplier;
import picocli.CommandLine.IExecutionExceptionHandler;
import picocli.CommandLine.IParameterExceptionHandler;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.UnmatchedArgumentException;
import picocli.CommandLine;

/** Turns whatever went wrong into one message on the error stream and an exit code. */
final class Errors implements IParameterExceptionHandler, IExecutionExceptionHandler {

    private static final String REPLACED = "the program's files were replaced or removed while it ran, as by a build, or don't belong "
            + "together; run it again (./metalora runs from files that a build leaves alone)";

    private final PrintWriter err;
    private final BooleanSupplier verbose;

    Errors(PrintWriter err, BooleanSupplier verbose) {
        this.err = err;
        this.verbose = verbose;
    }

    @Override
    public int handleParseException(ParameterException e, String[] args) {
        CommandLine commandLine = e.getCommandLine();
        err.println("error: " + e.getMessage());
        UnmatchedArgumentException.printSuggestions(e, err);
        err.println("'" + commandLine.getCommandSpec().qualifiedName() + " --help' lists what it takes.");
        return ExitCode.BAD_INPUT;
    }

    @Override
    public int handleExecutionException(Exception e, CommandLine commandLine, ParseResult parsed) {
        return report(e);
    }

    /** Says what ended the verb, and gives the exit code. */
    int report(Throwable e) {
        if (e instanceof Output.Failure failure && failure.readerGone()) {
            return ExitCode.READER_GONE;
        }
        say("error: ", e);
        return e instanceof InputException || e instanceof InvalidPathException ? ExitCode.BAD_INPUT : ExitCode.FAILURE;
    }

    /** Says what ended a thread beside the verb's. */
    void report(Thread thread, Throwable e) {
        say("error in thread " + thread.getName() + ": ", e);
    }

    private void say(String what, Throwable e) {
        try {
            err.println(what + message(e));
            if (verbose.getAsBoolean()) {
                e.printStackTrace(err);
            }
        } catch (VirtualMachineError worse) { // no memory, no stack: not even for the message
            err.println("error: the Java virtual machine is out of memory or stack");
        }
        err.flush();
    }

    private String message(Throwable e) {
        return switch (e) {
            case InputException input -> input.getMessage();
            case TrainingDivergedException diverged -> diverged.getMessage();
            case NativeException failure -> failure.getMessage();
            case Output.Failure failure -> failure.getMessage();
            case UncheckedIOException failure -> message(failure);
            case FileSystemException failure -> failure.getFile() + ": " + FileFailure.reason(failure);
            case IOException failure -> "reading or writing failed: " + FileFailure.reason(failure);
            case InvalidPathException name -> "a file or folder can't be named here (" + name.getInput() + "): " + Locales.HELP;
            case OutOfMemoryError failure -> "the Java heap is full (" + failure.getMessage() + "); give it more, such as "
                    + "JAVA_TOOL_OPTIONS=-Xmx" + doubled(Runtime.getRuntime().maxMemory()) + "g, or less work at a time";
            case StackOverflowError failure -> "the Java stack is full: some input is nested too deeply, or the stack is too small "
                    + "(JAVA_TOOL_OPTIONS=-Xss16m gives more)";
            case ExceptionInInitializerError failure when failure.getCause() != null -> message(failure.getCause());
            case UnsatisfiedLinkError failure -> failure.getMessage() + "; 'metalora doctor' tells more";
            case LinkageError failure -> "the program can't be read any more (" + failure + "): " + REPLACED;
            case InternalError failure when String.valueOf(failure.getMessage()).contains("unsafe memory access") ->
                    "memory can't be read any more (" + failure.getMessage() + "): a file in use, such as a "
                    + "model's weights, was cut or replaced while it was read, or its disk fails; see to the file and run it again";
            default -> "unexpected " + e.getClass().getSimpleName() + ": " + e.getMessage()
                    + (verbose.getAsBoolean() ? "" : "; run it again with --verbose for the stack trace");
        };
    }

    /** Twice as many bytes, in GiB, rounded up: at least 1. */
    static long doubled(long bytes) {
        return Math.ceilDiv(bytes, 1L << 29);
    }

    /** With the cause in words where it stands as an exception, or not at all. */
    private String message(UncheckedIOException failure) {
        IOException cause = failure.getCause();
        String text = failure.getMessage();
        if (text == null || text.equals(cause.toString())) {
            return message(cause);
        }
        String reason = FileFailure.reason(cause);
        String replaced = text.replace(cause.toString(), reason);
        return replaced.contains(reason) ? replaced : replaced + ": " + reason;
    }
}

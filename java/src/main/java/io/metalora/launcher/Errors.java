package io.metalora.launcher;

import io.metalora.bindings.NativeException;
import io.metalora.runtime.InputException;
import io.metalora.train.TrainingDivergedException;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import picocli.CommandLine;
import picocli.CommandLine.IExecutionExceptionHandler;
import picocli.CommandLine.IParameterExceptionHandler;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.UnmatchedArgumentException;

/** Turns what went wrong into one message on the error stream and an exit code. */
final class Errors implements IParameterExceptionHandler, IExecutionExceptionHandler {

    private final Main main;

    Errors(Main main) {
        this.main = main;
    }

    @Override
    public int handleParseException(ParameterException e, String[] args) {
        CommandLine commandLine = e.getCommandLine();
        PrintWriter err = commandLine.getErr();
        err.println("error: " + e.getMessage());
        UnmatchedArgumentException.printSuggestions(e, err);
        err.println("'" + commandLine.getCommandSpec().qualifiedName() + " --help' lists what it takes.");
        return ExitCode.BAD_INPUT;
    }

    @Override
    public int handleExecutionException(Exception e, CommandLine commandLine, ParseResult parsed) {
        return report(e, commandLine);
    }

    int report(Throwable e, CommandLine commandLine) {
        PrintWriter err = commandLine.getErr();
        err.println("error: " + message(e));
        if (main.verbose()) {
            e.printStackTrace(err);
        }
        err.flush();
        return e instanceof InputException ? ExitCode.BAD_INPUT : ExitCode.FAILURE;
    }

    private String message(Throwable e) {
        return switch (e) {
            case InputException input -> input.getMessage();
            case TrainingDivergedException diverged -> diverged.getMessage();
            case NativeException failure -> failure.getMessage();
            case UncheckedIOException failure -> failure.getMessage() == null || failure.getMessage().equals(failure.getCause().toString())
                    ? message(failure.getCause())
                    : failure.getMessage();
            case NoSuchFileException failure -> failure.getFile() + ": no such file or folder";
            case FileAlreadyExistsException failure -> failure.getFile() + ": already exists";
            case AccessDeniedException failure -> failure.getFile() + ": access denied; check its permissions";
            case FileSystemException failure -> failure.getMessage();
            case IOException failure -> "reading or writing failed: " + failure.getMessage();
            case OutOfMemoryError failure -> "the Java heap is full (" + failure.getMessage()
                    + "); give it more, such as JAVA_TOOL_OPTIONS=-Xmx4g, or less work at a time";
            case LinkageError failure -> failure.getMessage() + "; 'metalora doctor' tells more";
            default -> "unexpected " + e.getClass().getSimpleName() + ": " + e.getMessage()
                    + (main.verbose() ? "" : "; run it again with --verbose for the stack trace");
        };
    }
}

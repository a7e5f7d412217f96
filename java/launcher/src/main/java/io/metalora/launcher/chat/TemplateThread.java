package io.metalora.launcher.chat;

import io.metalora.runtime.InputException;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.function.Supplier;

/**
 * Runs the template library with a time limit. A template is a program: it can loop for ever, or be nested deeper than a stack. A
 * rendering that does not end is left behind in a daemon thread, since nothing can stop it.
 */
final class TemplateThread {

    private static final long STACK_BYTES = 4 << 20;
    static final long SECONDS = 20;

    private TemplateThread() {
    }

    /** @param source names the template in messages */
    static <T> T run(String source, long seconds, Supplier<T> work) {
        var task = new FutureTask<>(work::get);
        var thread = new Thread(null, task, "chat template", STACK_BYTES);
        thread.setDaemon(true);
        thread.start();
        try {
            return task.get(seconds, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            thread.interrupt();
            throw new InputException(source + ": the template does not end within " + seconds + " seconds; it is damaged: fetch it again, or"
                    + " give the prompt as plain text");
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new CancellationException("interrupted while " + source + " was rendered");
        } catch (ExecutionException e) {
            switch (e.getCause()) {
                case StackOverflowError deep -> throw new InputException(source + ": the template is nested too deep; it is damaged: fetch it"
                        + " again, or give the prompt as plain text", deep);
                case RuntimeException failure -> throw failure;
                case Error failure -> throw failure;
                default -> throw new AssertionError(e.getCause()); // a Supplier throws nothing checked
            }
        }
    }
}

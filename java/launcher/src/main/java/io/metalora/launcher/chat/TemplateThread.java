package io.metalora.launcher.chat;

import io.metalora.runtime.InputException;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
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

    /** A thread that is done serves the next template; one that never is, none any more. */
    private static final ExecutorService THREADS = Executors.newCachedThreadPool(work -> {
        var thread = new Thread(null, work, "chat template", STACK_BYTES);
        thread.setDaemon(true);
        return thread;
    });

    private TemplateThread() {
    }

    /** @param source names the template in messages */
    static <T> T run(String source, long seconds, Supplier<T> work) {
        Future<T> task = THREADS.submit(work::get);
        try {
            return task.get(seconds, TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            task.cancel(true);
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

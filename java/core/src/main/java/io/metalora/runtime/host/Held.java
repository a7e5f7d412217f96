package io.metalora.runtime.host;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * The resources of an owner, closed together, the newest first. If creating one more fails, those created before are closed, so
 * that a constructor that throws leaves nothing on the device.
 */
public final class Held implements AutoCloseable {
    private final Deque<Runnable> closings = new ArrayDeque<>();

    /** Creates a resource that {@link #close} closes. */
    public <T> T add(Supplier<T> make, Consumer<? super T> closing) {
        T made = orClose(make);
        closings.push(() -> closing.accept(made));
        return made;
    }

    /** Runs a step of the constructor that may fail, but creates nothing to be closed. */
    public <T> T orClose(Supplier<T> step) {
        try {
            return step.get();
        } catch (RuntimeException | Error e) {
            closeAfter(e);
            throw e;
        }
    }

    /** Closes all after a failure, which is the one to be thrown. */
    public void closeAfter(Throwable failure) {
        try {
            close();
        } catch (RuntimeException | Error e) {
            failure.addSuppressed(e);
        }
    }

    /**
     * Closes all, also after one that fails; the first failure is thrown at the end, the others added to it. Those that failed
     * are tried again by the next call.
     */
    @Override
    public void close() {
        var failed = new ArrayDeque<Runnable>();
        try {
            closeAll(closings, closing -> {
                failed.add(closing);
                closing.run();
                failed.removeLast();
            });
        } finally {
            closings.clear();
            closings.addAll(failed);
        }
    }

    /** Closes each, also after one that fails; the first failure is thrown at the end, the others added to it. */
    public static <T> void closeAll(Iterable<T> all, Consumer<? super T> closing) {
        Throwable first = null;
        for (T each : all) {
            try {
                closing.accept(each);
            } catch (RuntimeException | Error e) {
                if (first == null) {
                    first = e;
                } else if (e != first) {
                    first.addSuppressed(e);
                }
            }
        }
        switch (first) {
            case RuntimeException e -> throw e;
            case Error e -> throw e;
            case null, default -> { }
        }
    }
}

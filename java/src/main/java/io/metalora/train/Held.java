package io.metalora.train;

import java.util.ArrayDeque;
import java.util.Deque;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * What an owner holds, closed together, the newest first. Where making one more fails, those made before are closed: a
 * constructor that ends with an exception leaves nothing on the device.
 */
final class Held implements AutoCloseable {
    private final Deque<Runnable> closings = new ArrayDeque<>();

    /** Makes one that {@link #close} closes. */
    <T> T add(Supplier<T> make, Consumer<T> closing) {
        T made = orClose(make);
        closings.push(() -> closing.accept(made));
        return made;
    }

    /** A step of the constructor that makes nothing to be closed, but may fail. */
    <T> T orClose(Supplier<T> step) {
        try {
            return step.get();
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    @Override
    public void close() {
        while (!closings.isEmpty()) {
            closings.pop().run();
        }
    }
}

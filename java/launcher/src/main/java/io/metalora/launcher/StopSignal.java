package io.metalora.launcher;

import java.util.concurrent.CountDownLatch;
import java.util.function.BooleanSupplier;

/**
 * Lets work end in an orderly way when the process is asked to stop (Ctrl-C, SIGTERM, SIGHUP): once this is armed, the virtual
 * machine's shutdown waits until it is closed, and the work sees the request by asking. Before, the process ends at once: there
 * is nothing to keep.
 */
final class StopSignal implements BooleanSupplier, AutoCloseable {

    private final CountDownLatch finished = new CountDownLatch(1);
    private final Thread hook;
    private volatile boolean requested;
    private boolean armed;

    /** @param said runs when the request comes, to show the user that it was received */
    StopSignal(Runnable said) {
        hook = new Thread(() -> {
            requested = true;
            said.run();
            awaitFinished();
        }, "stop");
    }

    /** From now on there is something to keep. */
    void arm() {
        if (!armed) {
            Runtime.getRuntime().addShutdownHook(hook);
            armed = true;
        }
    }

    /** Whether the work should end. */
    @Override
    public boolean getAsBoolean() {
        return requested;
    }

    private void awaitFinished() {
        try {
            finished.await();
        } catch (InterruptedException e) {
            // The virtual machine goes down at once; checkpoints are whole at any moment.
            Thread.currentThread().interrupt();
        }
    }

    /** The work is over, however it ended. */
    @Override
    public void close() {
        finished.countDown();
        if (armed && !requested) {
            try {
                Runtime.getRuntime().removeShutdownHook(hook);
            } catch (IllegalStateException e) {
                // The shutdown has just begun; its hook then finds the work finished.
            }
        }
    }
}

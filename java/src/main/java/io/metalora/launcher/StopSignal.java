package io.metalora.launcher;

import java.util.concurrent.CountDownLatch;
import java.util.function.BooleanSupplier;

/**
 * Lets work end in order when the process is told to (Ctrl-C, SIGTERM): the virtual machine's shutdown waits until this is
 * closed, and the work sees the request by asking.
 */
final class StopSignal implements BooleanSupplier, AutoCloseable {

    private final CountDownLatch finished = new CountDownLatch(1);
    private final Thread hook;
    private volatile boolean requested;

    /** @param said is run when the request comes, to tell the user that it was heard */
    StopSignal(Runnable said) {
        hook = new Thread(() -> {
            requested = true;
            said.run();
            awaitFinished();
        }, "stop");
        Runtime.getRuntime().addShutdownHook(hook);
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
        if (!requested) {
            try {
                Runtime.getRuntime().removeShutdownHook(hook);
            } catch (IllegalStateException e) {
                // The shutdown has just begun; its hook finds the work finished.
            }
        }
    }
}

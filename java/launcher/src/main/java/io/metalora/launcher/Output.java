package io.metalora.launcher;

import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The stream that a verb prints to. {@link java.io.PrintWriter} hides an IOException; the first failure of this stream reaches
 * the verb as a {@link Failure}, so that work stops whose result would be lost. Later output is dropped.
 */
final class Output extends OutputStream {

    /** What a verb prints can't be written. */
    static final class Failure extends RuntimeException {

        private static final long serialVersionUID = 1;

        private final boolean readerGone;

        private Failure(boolean readerGone, IOException cause) {
            super("the standard output can't be written: " + FileFailure.reason(cause) + "; what was printed is not complete", cause);
            this.readerGone = readerGone;
        }

        /** Whether nobody reads any more, as after {@code | head -1}, which is not reported as a failure. */
        boolean readerGone() {
            return readerGone;
        }
    }

    /** What the standard output is, where the system says. */
    private static final Path OWN = Path.of("/proc/self/fd/1");

    private final OutputStream to;
    private final boolean own;
    private final boolean needed;
    private volatile boolean failed;

    private Output(OutputStream to, boolean own, boolean needed) {
        this.to = to;
        this.own = own;
        this.needed = needed;
    }

    /**
     * The results' stream: a failure is thrown.
     *
     * @param own whether it is the process' own standard output
     */
    static Output results(OutputStream to, boolean own) {
        return new Output(to, own, true);
    }

    /** The messages' stream: work continues without its reader, and {@link #failed} says so at the end. */
    static Output messages(OutputStream to) {
        return new Output(to, false, false);
    }

    /** Whether something was lost. */
    boolean failed() {
        return failed;
    }

    @Override
    public void write(int b) {
        write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] bytes, int from, int count) {
        if (failed) {
            return;
        }
        try {
            to.write(bytes, from, count);
        } catch (IOException e) {
            fail(e);
        }
    }

    @Override
    public void flush() {
        if (failed) {
            return;
        }
        try {
            to.flush();
        } catch (IOException e) {
            fail(e);
        }
    }

    private void fail(IOException e) {
        failed = true;
        if (needed) {
            throw new Failure(readerGone(e), e);
        }
    }

    /** The system's wording depends on the locale; that a pipe fails for no other reason does not. */
    private boolean readerGone(IOException e) {
        if ("Broken pipe".equals(e.getMessage())) {
            return true;
        }
        try {
            return own && Files.readSymbolicLink(OWN).toString().startsWith("pipe:");
        } catch (IOException | UnsupportedOperationException unknown) {
            return false;
        }
    }
}

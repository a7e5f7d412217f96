package io.metalora.bindings;

/** A failure of the native core: its status and the text it left, or the reason it could not be loaded. */
public final class NativeException extends RuntimeException {
    private final Status status;

    /** @param message the reason, for users; the status is for programs and stack traces */
    public NativeException(Status status, String message) {
        super(message);
        this.status = status;
    }

    /** @param message the reason, for users; the status is for programs and stack traces */
    public NativeException(Status status, String message, Throwable cause) {
        super(message, cause);
        this.status = status;
    }

    /** What went wrong, as metalora.h names it. */
    public Status status() {
        return status;
    }

    @Override
    public String toString() {
        return getClass().getName() + " (ML_" + status + "): " + getMessage();
    }
}

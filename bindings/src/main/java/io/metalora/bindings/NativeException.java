package io.metalora.bindings;

/** A failure of the native core: its status and the text it left, or the reason it could not be loaded. */
public final class NativeException extends RuntimeException {
    private final Status status;

    /** @param message the reason; the status is put before it */
    public NativeException(Status status, String message) {
        super("ML_" + status + ": " + message);
        this.status = status;
    }

    /** @param message the reason; the status is put before it */
    public NativeException(Status status, String message, Throwable cause) {
        super("ML_" + status + ": " + message, cause);
        this.status = status;
    }

    /** What went wrong, as metalora.h names it. */
    public Status status() {
        return status;
    }
}

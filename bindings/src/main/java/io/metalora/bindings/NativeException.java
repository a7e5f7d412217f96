package io.metalora.bindings;

/** A failure of the native core: its status and the text it left, or the reason it could not be loaded. */
public final class NativeException extends RuntimeException {
    private final Status status;

    public NativeException(Status status, String message) {
        super("ML_" + status + ": " + message);
        this.status = status;
    }

    public NativeException(Status status, String message, Throwable cause) {
        super("ML_" + status + ": " + message, cause);
        this.status = status;
    }

    public Status status() {
        return status;
    }
}

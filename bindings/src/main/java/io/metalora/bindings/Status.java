package io.metalora.bindings;

/** {@code ml_status} of metalora.h: the result of a call into the native core. */
public enum Status {
    OK,
    INVALID_ARGUMENT,
    OUT_OF_MEMORY,
    UNSUPPORTED,
    BACKEND_UNAVAILABLE,
    BUSY,
    NOT_FINITE,
    INTERNAL;

    private static final Status[] BY_CODE = values();

    /** The status of a return code; a code this version doesn't know is {@link #INTERNAL}. */
    public static Status of(int code) {
        return code >= 0 && code < BY_CODE.length ? BY_CODE[code] : INTERNAL;
    }

    /** The code in metalora.h. */
    public int code() {
        return ordinal();
    }
}

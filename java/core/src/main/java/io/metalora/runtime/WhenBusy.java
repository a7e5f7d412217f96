package io.metalora.runtime;

/** What happens to a call on a {@link Device} while a call of another thread is running. */
public enum WhenBusy {
    /** The call is refused and changes nothing, so that sharing a device by mistake is noticed. */
    REFUSE,
    /** The call waits until the other one has ended. Calls of several threads may alternate, each of them whole. */
    WAIT
}

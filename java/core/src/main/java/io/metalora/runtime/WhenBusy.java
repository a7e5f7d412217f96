package io.metalora.runtime;

/** What becomes of a call to a {@link Device} while another thread's call runs. */
public enum WhenBusy {
    /** It is refused and changes nothing: two threads that share a device by mistake notice. */
    REFUSE,
    /** It waits until the other call has ended. Calls of several threads then mix, each whole. */
    WAIT
}

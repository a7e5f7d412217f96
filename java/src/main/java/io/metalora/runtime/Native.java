package io.metalora.runtime;

import io.metalora.bindings.NativeException;
import io.metalora.bindings.Status;
import io.metalora.bindings.generated.Metalora;

/** Turns the status of a native call into an exception. */
final class Native {
    private Native() {}

    static void check(int status) {
        if (status != Metalora.ML_OK()) {
            throw new NativeException(Status.of(status), lastError());
        }
    }

    /** The text of this thread's last failure. */
    static String lastError() {
        return Metalora.ml_last_error().getString(0);
    }
}

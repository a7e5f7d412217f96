package io.metalora.files;

import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;

/** A named pipe, which nothing is written to: opening it never comes back. */
public final class Pipe {

    private Pipe() {
    }

    /** Skips the test where none can be made. */
    public static Path make(Path at) throws IOException, InterruptedException {
        try {
            Assumptions.assumeTrue(new ProcessBuilder("mkfifo", at.toString()).start().waitFor() == 0,
                    "mkfifo makes no pipe here");
        } catch (IOException e) {
            Assumptions.abort("there is no mkfifo here");
        }
        return at;
    }
}

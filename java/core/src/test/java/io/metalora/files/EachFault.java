package io.metalora.files;

import io.metalora.files.FaultyFileSystem.Fault;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/**
 * Lets every operation of some work fail in turn. A build takes turns with the kinds of faults; {@code -Dmetalora.faults=all}
 * tries each at every operation.
 */
public final class EachFault {

    private static final boolean ALL = "all".equals(System.getProperty("metalora.faults"));

    private EachFault() {
    }

    /** The work, and what has to hold after it. */
    public interface Trial {

        /**
         * The fault waits in the file system.
         *
         * @param name a folder's, for this trial alone
         */
        void run(String name) throws IOException;
    }

    /**
     * Until a trial ends without having met its fault.
     *
     * @return the operations that failed
     */
    public static List<String> of(FaultyFileSystem files, Trial trial) throws IOException {
        var hit = new ArrayList<String>();
        boolean failed = true;
        for (int number = 1; failed; number++) {
            for (Fault fault : Fault.values()) {
                for (boolean lasting : new boolean[] {false, true}) {
                    int turn = 2 * fault.ordinal() + (lasting ? 1 : 0);
                    if (ALL || number % (2 * Fault.values().length) == turn) {
                        files.failAt(number, fault, lasting);
                        trial.run("run-" + number + fault + lasting);
                        failed = files.failed();
                    }
                }
            }
            if (failed) {
                hit.add(files.firstFailed());
            }
        }
        return hit;
    }

    /** A copy of a folder with all in it. */
    public static Path copy(Path from, Path to) throws IOException {
        try (var all = Files.walk(from)) {
            for (Path file : all.toList()) {
                Files.copy(file, to.resolve(from.relativize(file).toString()));
            }
        }
        return to;
    }
}

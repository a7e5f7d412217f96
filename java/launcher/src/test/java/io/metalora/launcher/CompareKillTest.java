package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.files.JavaCommand;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.api.io.TempDir;

/** {@code compare}, killed at random moments and started again by the same command: as if nothing had happened. */
@DisabledOnOs(OS.WINDOWS)
class CompareKillTest {

    private static final int KILLS = Integer.getInteger("metalora.kills", 3);
    private static final int MOST_A_RUN = 5;
    private static final long SEED = Long.getLong("metalora.kills.seed", 1);

    @TempDir
    private Path folder;

    @Test
    void endsAsIfItHadNeverBeenKilled() throws IOException, InterruptedException {
        Path protocol = CompareFixture.protocol(folder, CompareFixture.tasks(folder));
        Path straight = folder.resolve("straight");
        long begin = System.nanoTime();
        end(start(protocol, straight));
        long whole = System.nanoTime() - begin;

        var random = new Random(SEED);
        int kills = 0;
        for (int run = 0; kills < KILLS; run++) {
            Path killed = folder.resolve("killed-" + run);
            var moments = new ArrayList<Long>();
            int most = 1 + random.nextInt(MOST_A_RUN);
            for (int again = 0; again < most && kills < KILLS && !Files.exists(killed.resolve("results.json")); again++) {
                Process process = start(protocol, killed);
                moments.add((long) (random.nextDouble() * whole) / 1_000_000);
                if (!process.waitFor(moments.getLast(), TimeUnit.MILLISECONDS)) {
                    process.toHandle().destroyForcibly();
                    process.waitFor();
                    kills++;
                }
            }
            var last = Cli.run(arguments(protocol, killed));
            String what = "seed " + SEED + ", run " + run + ", killed after " + moments + " ms";
            assertThat(last.code()).as(what + ": " + last.err()).isZero();
            CompareFixture.requireSame(killed, straight, what);
        }
        System.out.println(kills + " kills of compare");
    }

    private Process start(Path protocol, Path output) throws IOException {
        return new ProcessBuilder(JavaCommand.of(Main.class, arguments(protocol, output)))
                .redirectOutput(folder.resolve("out").toFile()).redirectError(folder.resolve("err").toFile()).start();
    }

    private static Object[] arguments(Path protocol, Path output) {
        return new Object[] {"compare", protocol, "--output", output, "--threads", "1"};
    }

    private void end(Process process) throws IOException, InterruptedException {
        assertThat(process.waitFor(5, TimeUnit.MINUTES)).as("it hangs").isTrue();
        assertThat(process.exitValue()).as(Files.readString(folder.resolve("err"))).isZero();
    }
}

package io.metalora.run;

import io.metalora.config.TrainConfig;
import io.metalora.train.IterationReport;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** A training process of its own, to be killed: {@code KilledRun CONFIG.yaml RUN}. Prints a line an iteration. */
final class KilledRun {

    private KilledRun() {
    }

    public static void main(String[] arguments) {
        var listener = new TrainListener() {
            @Override
            public void iteration(IterationReport report, long total) {
                System.out.println("iteration " + report.iteration());
            }
        };
        Path run = Path.of(arguments[1]);
        if (Files.exists(run.resolve("config.resolved.yaml"))) {
            TrainingRun.resume(run, listener, () -> false);
        } else {
            TrainingRun.start(TrainConfig.read(Path.of(arguments[0]), List.of()), listener, () -> false);
        }
        System.out.println("finished");
    }
}

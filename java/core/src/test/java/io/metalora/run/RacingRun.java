package io.metalora.run;

import io.metalora.config.TrainConfig;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.Backend;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import io.metalora.task.TaskFolder;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * A process that trains into the same folders as others, with settings of its own: {@code RacingRun TASKS LR}. For each line
 * {@code start FOLDER} or {@code resume FOLDER} it reads, it does so and prints {@code trained} or {@code refused MESSAGE}.
 */
final class RacingRun {

    private RacingRun() {
    }

    public static void main(String[] arguments) throws IOException {
        Path tasks = Path.of(arguments[0]);
        TrainConfig settings = RunFixture.config(tasks, Path.of("unused"), "optimizer.lr=" + arguments[1], "meta.iterations=1",
                "compute.threads=1");
        try (var loaded = LoadedModel.open(settings.model(), new DeviceOptions(Backend.CPU, 1));
             var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            System.out.println("ready");
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                String folder = line.substring(line.indexOf(' ') + 1);
                try {
                    if (line.startsWith("start")) {
                        TrainingRun.start(settings.with("output=" + folder), loaded, TaskFolder.read(tasks), TrainListener.SILENT, () -> false);
                    } else {
                        TrainingRun.resume(Path.of(folder), TrainListener.SILENT, () -> false);
                    }
                    System.out.println("trained");
                } catch (InputException e) {
                    System.out.println("refused " + e.getMessage());
                }
            }
        }
    }
}

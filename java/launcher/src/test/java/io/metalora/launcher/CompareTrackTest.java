package io.metalora.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.eval.Split;
import io.metalora.eval.TaskItems;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.Backend;
import io.metalora.runtime.DeviceOptions;
import io.metalora.task.TaskFolder;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CompareTrackTest {

    @TempDir
    private Path folder;

    /** The training goes on: where it has diverged, its own loss shows it. */
    @Test
    void anAdapterWhoseResultsAreNotFiniteHasNoAnswerRight() throws IOException {
        var task = TaskFolder.read(Cli.tasks(folder), List.of("colour")).getFirst();
        Path run = Files.createDirectory(folder.resolve("run"));
        try (var loaded = LoadedModel.open(Cli.model(), new DeviceOptions(Backend.CPU, 1))) {
            var layout = new LoraLayout(loaded.model().config(), new LoraConfig(2, 4, false, 0, TargetModules.of("q_proj")));
            try (var adapter = LoraAdapter.create(loaded.device(), layout, 1)) {
                var values = adapter.parameters().toFloats();
                Arrays.fill(values, 3e38f);
                adapter.parameters().upload(values);
                var track = new CompareTrack(2, List.of(TaskItems.of(task, Split.DEV, 4)), run, () -> false);
                track.measure(1, 4, loaded, adapter);
                assertThat(run.resolve("track.json")).as("not the time for it").doesNotExist();
                track.measure(2, 4, loaded, adapter);
            }
        }
        var points = CompareFolder.read(run.resolve("track.json")).orElseThrow().get("points");
        assertThat(points).hasSize(1);
        assertThat(points.get(0).get("iteration").asLong()).isEqualTo(2);
        assertThat(points.get(0).get("accuracy").asDouble(-1)).isZero();
    }
}

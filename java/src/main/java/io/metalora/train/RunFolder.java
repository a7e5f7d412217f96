package io.metalora.train;

import io.metalora.io.AtomicFile;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * The files of one training run:
 * <pre>
 * config.resolved.yaml   every setting with its value
 * draws.jsonl            every task and sample drawn
 * metrics.jsonl          one line an iteration
 * checkpoints/           the last two states to resume from
 * adapter/               the trained adapter in PEFT's format
 * </pre>
 */
public final class RunFolder {

    private static final String CONFIG = "config.resolved.yaml";

    private static final String CHECKPOINTS = "checkpoints";

    private final Path path;

    private RunFolder(Path path) {
        this.path = path;
    }

    /**
     * The folder of a run to be started; makes nothing yet.
     *
     * @throws InputException if something is there already
     */
    public static RunFolder unused(Path path) {
        if (Files.exists(path.resolve(CONFIG))) {
            throw new InputException(path + ": already holds a run; give another output folder, or go on with it by --resume " + path);
        }
        if (Files.exists(path) && !Files.isDirectory(path)) {
            throw new InputException(path + ": is a file; give an output folder that does not exist yet");
        }
        if (Files.isDirectory(path)) {
            try (var entries = Files.list(path)) {
                // A run killed before its config was written leaves no more than an empty folder of checkpoints.
                if (entries.anyMatch(entry -> !entry.equals(path.resolve(CHECKPOINTS)) && !AtomicFile.isTemporary(entry))) {
                    throw new InputException(path + ": is not empty; give an output folder that does not exist yet");
                }
            } catch (IOException e) {
                throw new InputException(path + ": can't be listed: " + e.getMessage());
            }
        }
        return new RunFolder(path);
    }

    /**
     * The folder of a run to go on with.
     *
     * @throws InputException if it holds none
     */
    public static RunFolder existing(Path path) {
        if (!Files.isRegularFile(path.resolve(CONFIG))) {
            throw new InputException(path + ": holds no run to resume (no " + CONFIG + "); start one with train CONFIG.yaml");
        }
        return new RunFolder(path);
    }

    public Path path() {
        return path;
    }

    public Path adapter() {
        return path.resolve("adapter");
    }

    public Path metrics() {
        return path.resolve("metrics.jsonl");
    }

    public Path draws() {
        return path.resolve("draws.jsonl");
    }

    Path checkpoints() {
        return path.resolve(CHECKPOINTS);
    }

    /** The run's settings. */
    public TrainConfig config() {
        return TrainConfig.read(path.resolve(CONFIG), List.of());
    }

    /** Makes the folder with the run's settings in it. */
    void create(TrainConfig config) {
        try {
            Files.createDirectories(checkpoints());
            AtomicFile.write(path.resolve(CONFIG), config.toYaml().getBytes(StandardCharsets.UTF_8));
        } catch (IOException | UncheckedIOException e) {
            throw new InputException(path + ": can't be made: " + e.getMessage() + "; give an output folder that can be written");
        }
    }

    /** Removes what writes that were killed have left. */
    void removeLeftovers() {
        for (Path folder : List.of(path, checkpoints(), adapter())) {
            if (Files.isDirectory(folder)) {
                AtomicFile.removeLeftovers(folder);
            }
        }
    }
}

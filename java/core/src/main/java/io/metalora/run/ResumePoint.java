package io.metalora.run;

import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import io.metalora.task.EncodedTask;
import io.metalora.train.TrainerState;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.function.Consumer;

/**
 * Where a run continues: found and checked before anything is changed, and before the model is loaded.
 *
 * @param checkpoint null: no iteration of the run has been saved, it begins again
 */
record ResumePoint(Checkpoint checkpoint) {

    long metricsBytes() {
        return checkpoint == null ? 0 : checkpoint.metricsBytes();
    }

    long drawsBytes() {
        return checkpoint == null ? 0 : checkpoint.drawsBytes();
    }

    /**
     * The newest checkpoint that is whole, with logs that are whole up to it.
     *
     * @param parameters of the run's adapter
     * @param every      iterations between the run's checkpoints
     * @param warning    is told of checkpoints that are passed over
     * @throws InputException if there are iterations, but no checkpoint to resume from: beginning again would cut the logs; or a
     *                        line of the logs is damaged
     */
    static ResumePoint find(RunFolder folder, long parameters, int every, Consumer<String> warning) {
        List<Path> files = Checkpoint.list(folder.checkpoints());
        for (Path file : files) {
            Checkpoint checkpoint;
            try {
                checkpoint = Checkpoint.read(file);
                requireLength(folder.metrics(), checkpoint.metricsBytes());
                requireLength(folder.draws(), checkpoint.drawsBytes());
                requireParameters(file, checkpoint.state(), parameters);
                checkpoint.state().notFinite().ifPresent(what -> {
                    throw new InputException(file + ": " + what);
                });
            } catch (InputException e) {
                warning.accept("passing over a checkpoint: " + e.getMessage());
                continue;
            }
            requireWhole(folder, checkpoint);
            return new ResumePoint(checkpoint);
        }
        if (!files.isEmpty()) {
            throw new InputException(folder.checkpoints() + ": none of the " + files.size() + " checkpoints can be used (the newest: "
                    + files.getFirst().getFileName() + "); nothing was changed. Restore one from a copy, or start a new run "
                    + "with another output");
        }
        requireNoneSaved(folder, every);
        return new ResumePoint(null);
    }

    private static void requireLength(Path log, long bytes) {
        long there;
        try {
            there = Files.exists(log) ? Files.size(log) : 0;
        } catch (IOException e) {
            throw new InputException(log + ": can't be read: " + FileFailure.reason(e), e);
        }
        if (there < bytes) {
            throw new InputException(log + ": has " + there + " bytes, but had " + bytes + " when the checkpoint was written");
        }
    }

    private static void requireParameters(Path file, TrainerState state, long parameters) {
        for (float[] values : List.of(state.parameters(), state.m(), state.v())) {
            if (values.length != parameters) {
                throw new InputException(file + ": is of an adapter of " + values.length + " parameters, not " + parameters);
            }
        }
    }

    /** Reports are made from all of the logs at the end: a damaged line is better reported now. */
    private static void requireWhole(RunFolder folder, Checkpoint checkpoint) {
        long[] seen = {0};
        RunLog.read(folder.metrics(), checkpoint.metricsBytes(), line -> RunLines.requireIteration(line, ++seen[0]));
        requireIterations(folder.metrics(), seen[0], checkpoint);
        seen[0] = 0;
        RunLog.read(folder.draws(), checkpoint.drawsBytes(), line -> {
            if (seen[0] > 0 || !RunLines.isSubset(line)) {
                RunLines.requireIteration(line, ++seen[0]);
            }
        });
        requireIterations(folder.draws(), seen[0], checkpoint);
    }

    private static void requireIterations(Path log, long iterations, Checkpoint checkpoint) {
        if (iterations != checkpoint.state().step()) {
            throw new InputException(log + ": holds " + iterations + " iterations, but the checkpoint is of iteration "
                    + checkpoint.state().step() + "; restore the file from a copy, or start a new run with another output. "
                    + "Nothing was changed");
        }
    }

    /** Without a checkpoint no more iterations can have been logged than there are up to the first. */
    private static void requireNoneSaved(RunFolder folder, int every) {
        if (!Files.exists(folder.metrics())) {
            return;
        }
        long logged;
        try (var lines = Files.newBufferedReader(folder.metrics(), StandardCharsets.ISO_8859_1)) {
            logged = lines.lines().filter(line -> !line.isEmpty()).limit(every + 1L).count();
        } catch (IOException e) {
            throw new InputException(folder.metrics() + ": can't be read: " + FileFailure.reason(e), e);
        }
        // An adapter is saved after a checkpoint alone.
        if (logged > every || logged > 0 && (!Files.isDirectory(folder.checkpoints()) || Files.exists(folder.adapter())
                || Files.exists(folder.adapters()))) {
            throw new InputException(folder.checkpoints() + ": holds no checkpoint, though " + folder.metrics() + " records iterations "
                    + "that were saved; nothing was changed. Restore the checkpoints from a copy, or remove " + folder.metrics()
                    + " to begin again");
        }
    }

    /**
     * The run's own record of its data, at the beginning of draws.jsonl, against what was read now.
     *
     * @param sameText whether the tokenizer gives the ids it gave
     * @throws InputException if they differ
     */
    void requireSameData(RunFolder folder, List<EncodedTask> tasks, Path data, boolean sameText) {
        if (checkpoint == null) {
            return;
        }
        var recorded = new ArrayList<ObjectNode>();
        RunLog.read(folder.draws(), drawsBytes(), line -> {
            if (RunLines.isSubset(line)) {
                recorded.add(line);
            }
        });
        for (int i = 0; i < Math.max(recorded.size(), tasks.size()); i++) {
            ObjectNode was = i < recorded.size() ? recorded.get(i) : null;
            ObjectNode is = i < tasks.size() ? RunLines.subset(tasks.get(i)) : null;
            if (!sameText && was != null && is != null) {
                was = RunLines.withoutDigest(was);
                is = RunLines.withoutDigest(is);
            }
            if (!Objects.equals(was, is)) {
                String task = was == null ? tasks.get(i).name() : was.path("task").asText();
                throw new InputException("the training examples of task " + task + " in " + data
                        + " are not those that the run began with (" + folder.draws() + " line " + (i + 1)
                        + "); restore them (and compute.token_budget, if data.over_length is drop or truncate), or start a new run with another output");
            }
        }
    }
}

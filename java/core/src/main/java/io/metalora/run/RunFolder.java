package io.metalora.run;

import io.metalora.adapter.LoraAdapter;
import io.metalora.config.TrainConfig;
import io.metalora.file.AtomicFile;
import io.metalora.file.RegularFile;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.function.BooleanSupplier;

/**
 * The files of one training run:
 * <pre>
 * config.resolved.yaml   every setting with its value; the last file of a new run, so that there is a run once it is there
 * fingerprint.json       the base model that the run began with
 * initial_adapter/       the values that adapter.init gave
 * replay.jsonl           the draws that meta.replay gave
 * draws.jsonl            every task and sample drawn
 * metrics.jsonl          one line an iteration
 * checkpoints/           the last two states to resume from
 * adapter/               the trained adapter in PEFT's format
 * inner_rates.json       the inner rates that were learned with it
 * evaluation.jsonl       the answers of the evaluation at the end
 * report.html            of the run and the evaluation
 * run.lock               who trains in the folder now
 * </pre>
 */
public final class RunFolder {

    /** The resolved configuration: where it is, there is a run. */
    public static final String CONFIG = "config.resolved.yaml";

    private static final String FINGERPRINT = "fingerprint.json";
    private static final String REPLAY = "replay.jsonl";
    private static final String INITIAL_ADAPTER = "initial_adapter";
    private static final String CHECKPOINTS = "checkpoints";

    /** What a run leaves that was killed before its config was written. */
    private static final Set<String> BEFORE_CONFIG = Set.of(RunLock.FILE, FINGERPRINT, REPLAY, INITIAL_ADAPTER, CHECKPOINTS);
    private static final String ADVICE = "give an output folder that can be written";

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
        // The lock's file is the first one of a new run: without it, what is there belongs to something else.
        return unused(path, () -> Files.exists(path.resolve(RunLock.FILE)));
    }

    /** @param begun whether a run was begun there, and may have been killed; asked after the folder was listed */
    private static RunFolder unused(Path path, BooleanSupplier begun) {
        requireNoRun(path);
        // In this order: another training may make the folder in between.
        boolean there = Files.exists(path, LinkOption.NOFOLLOW_LINKS);
        if (there && Files.isDirectory(path)) {
            try (var entries = Files.list(path)) {
                List<Path> others = entries.filter(entry -> !entry.endsWith(RunLock.FILE)).toList();
                if (!others.isEmpty() && !(begun.getAsBoolean() && others.stream().allMatch(RunFolder::isOfItsBeginning))) {
                    requireNoRun(path); // which another training may have begun by now
                    throw new InputException(path + ": is not empty; give an output folder that does not exist yet");
                }
            } catch (IOException e) {
                throw new InputException(path + ": can't be listed: " + FileFailure.reason(e), e);
            }
        } else if (there) {
            throw new InputException(path + (Files.isSymbolicLink(path) ? ": is a link to nowhere" : ": is a file")
                    + "; give an output folder that does not exist yet");
        }
        Path above = path.toAbsolutePath();
        while (!Files.exists(above)) {
            above = above.getParent();
        }
        if (!Files.isDirectory(above) || !Files.isWritable(above)) {
            throw new InputException(path + ": can't be made: " + above + (Files.isDirectory(above) ? " can't be written" : " is a file")
                    + "; " + ADVICE);
        }
        return new RunFolder(path);
    }

    /** Whether a run that was killed before its config was written may have left the file. */
    private static boolean isOfItsBeginning(Path file) {
        return BEFORE_CONFIG.contains(file.getFileName().toString())
                || AtomicFile.nameToBe(file).filter(name -> name.equals(CONFIG) || BEFORE_CONFIG.contains(name)).isPresent();
    }

    private static void requireNoRun(Path path) {
        if (Files.exists(path.resolve(CONFIG))) {
            throw new InputException(path + ": already holds a run" + RunLock.holder(path).map(holder -> ", at work now (" + holder + ")")
                    .orElse("") + "; give another output folder, or resume it with --resume " + path);
        }
    }

    /**
     * The folder of a run to resume.
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

    /** Of a method that gives each task an adapter: a folder for each of them. */
    public Path adapters() {
        return path.resolve("adapters");
    }

    /** The inner rates, where they are learned. */
    public Path innerRates() {
        return path.resolve("inner_rates.json");
    }

    public Path metrics() {
        return path.resolve("metrics.jsonl");
    }

    public Path draws() {
        return path.resolve("draws.jsonl");
    }

    /** What the evaluation at the end has answered. */
    public Path evaluation() {
        return path.resolve("evaluation.jsonl");
    }

    /** How a mixture's heads are used, measured at the end. */
    public Path heads() {
        return path.resolve("heads.json");
    }

    public Path report() {
        return path.resolve("report.html");
    }

    Path checkpoints() {
        return path.resolve(CHECKPOINTS);
    }

    Path fingerprint() {
        return path.resolve(FINGERPRINT);
    }

    /** The draws that the run repeats, as they were when it began. */
    Path replay() {
        return path.resolve(REPLAY);
    }

    Path initialAdapter() {
        return path.resolve(INITIAL_ADAPTER);
    }

    /**
     * The run's settings.
     *
     * @throws InputException if they are damaged, or the run folder was moved into that of its own tasks
     */
    public TrainConfig config() {
        TrainConfig config = TrainConfig.read(path.resolve(CONFIG), List.of());
        if (config.model() == null || config.output() == null || config.data().folder() == null) {
            throw new InputException(path.resolve(CONFIG) + ": is damaged: model, output or data.folder is missing; restore it from a copy");
        }
        requireApart(path, config.data().folder(), "move the run folder out of it and resume it there");
        return config;
    }

    /** One folder in the other would be read as a task, or changed by the run. */
    public static void requireApart(Path run, Path data, String help) {
        Path realRun = real(run.toAbsolutePath());
        Path realData = real(data.toAbsolutePath());
        if (realRun.startsWith(realData) || realData.startsWith(realRun)) {
            throw new InputException("output " + run + " and data.folder " + data + ": one is inside the other (" + realRun + ", " + realData
                    + "), and the run's files would be taken for tasks; " + help);
        }
    }

    /** Without links, as far as the path exists. */
    private static Path real(Path path) {
        try {
            return path.toRealPath();
        } catch (IOException e) {
            return path.getParent() == null ? path : real(path.getParent()).resolve(path.getFileName());
        }
    }

    /** Whether there is a run, which can be resumed. */
    boolean holdsRun() {
        return Files.exists(path.resolve(CONFIG));
    }

    /** What the run began with; empty of one that an earlier version started. */
    Optional<RunStart> start() {
        return RegularFile.isNamed(fingerprint()) ? Optional.of(RunStart.read(fingerprint())) : Optional.empty();
    }

    /**
     * The right to change the folder of a run that is there, until it is closed.
     *
     * @throws InputException if another training has it, or something is in the way of the run's files
     */
    RunLock lock() {
        requireFiles();
        RunLock lock = RunLock.take(path);
        try {
            lock.sign();
            return lock;
        } catch (RuntimeException e) {
            lock.close();
            throw e;
        }
    }

    /** Better than when they are to be written, after the training. */
    private void requireFiles() {
        var files = new ArrayList<>(List.of(path.resolve(RunLock.FILE), metrics(), draws(), innerRates(), evaluation(), heads(), report()));
        // Of checkpoints a link that leads nowhere is a damaged one: an earlier one takes its place.
        Checkpoint.list(checkpoints()).stream().filter(Files::exists).forEach(files::add);
        files.forEach(file -> RegularFile.requireNothingElse(file, "the run", "restore the file from a copy"));
    }

    /**
     * Makes the folder with what the run begins with in it.
     *
     * @param initial the adapter to begin from; null where the config's seed determines it
     * @param replayed a hash of the draws to repeat, as they were checked; null without any
     * @return the right to change the folder, until it is closed
     * @throws InputException if the folder can't be made, or another training came first; nothing in it was changed then
     */
    RunLock create(TrainConfig config, RunStart start, LoraAdapter initial, String replayed) {
        AtomicFile.makeFolder(path, ADVICE);
        unused(path); // again, before the lock's file is there: reading the model took a while
        RunLock lock = RunLock.take(path);
        try {
            unused(path, () -> !lock.isNew()); // and again: from now on no other training can use it
            lock.sign();
            AtomicFile.removeLeftovers(path);
            AtomicFile.delete(initialAdapter()); // of a run that was killed here
            Files.createDirectories(checkpoints());
            RunStart begun = start;
            if (initial != null) {
                initial.save(initialAdapter(), config.model().toString());
                begun = start.withInitialAdapter(initialAdapter());
            }
            if (config.meta().replay() == null) {
                AtomicFile.delete(replay()); // likewise
            } else {
                AtomicFile.write(replay(), Files.readAllBytes(config.meta().replay()));
                begun = begun.withReplay(replay());
                if (!begun.repeats(replayed)) {
                    throw new InputException("meta.replay: " + config.meta().replay() + " was written to while it was read; give the log of a run that "
                            + "is over");
                }
            }
            begun.write(fingerprint());
            AtomicFile.write(path.resolve(CONFIG), config.toYaml().getBytes(StandardCharsets.UTF_8));
            return lock;
        } catch (IOException e) {
            lock.close();
            throw AtomicFile.failed(path, e);
        } catch (RuntimeException e) {
            lock.close();
            throw e;
        }
    }

    /** Removes what writes that were killed have left, and puts back an empty folder of checkpoints that was removed. */
    void repair() {
        try {
            Files.createDirectories(checkpoints());
        } catch (IOException e) {
            throw AtomicFile.failed(checkpoints(), e);
        }
        var folders = new ArrayList<>(List.of(path, checkpoints(), adapter()));
        if (Files.isDirectory(adapters())) {
            folders.add(adapters());
            try (var each = Files.list(adapters())) {
                folders.addAll(each.toList());
            } catch (IOException e) {
                throw new UncheckedIOException(adapters() + ": can't be listed: " + FileFailure.reason(e), e);
            }
        }
        for (Path folder : folders) {
            if (Files.isDirectory(folder)) {
                AtomicFile.removeLeftovers(folder);
            }
        }
    }
}

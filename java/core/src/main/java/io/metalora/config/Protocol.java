package io.metalora.config;

import io.metalora.adapter.AdapterPart;
import io.metalora.runtime.InputException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.TreeMap;

/**
 * How methods are compared, written down before anything is run: the tasks, the seeds, what each arm does, and the questions.
 * docs/compare.md describes every key. Read from YAML with {@link #parse}.
 *
 * @param title      one line for the results
 * @param model      folder of the base model, or {@link #EMBEDDED}
 * @param tasks      what is trained on and what is held out
 * @param seeds      of the cells whose results are reported: subset of the samples, initial adapter, order
 * @param tuningSeeds of the trials, which see dev splits alone; a trial is judged by its mean over them
 * @param trials     hyper-parameter trials of every arm that has any
 * @param margin     points of accuracy (0 to 100) by which an arm may be behind and still count as not inferior
 * @param arms       by name, in the file's order
 * @param questions  what the comparison is to answer
 */
public record Protocol(String title, String model, Tasks tasks, List<Long> seeds, List<Long> tuningSeeds, int trials, double margin,
                       Map<String, Arm> arms, List<Question> questions) {

    /** Stands for the model that comes with the launcher, and begins the names of its generated tasks. */
    public static final String EMBEDDED = "embedded";

    /** Which tasks an arm is evaluated on. */
    public enum On {
        /** Those that shared adapters are trained on. */
        TRAINED,
        /** Those that no training has seen. */
        UNSEEN;

        @Override
        public String toString() {
            return name().toLowerCase(Locale.ROOT);
        }
    }

    /**
     * A folder with one folder per task.
     *
     * @param folder a path, or {@code embedded:NAME}
     * @param names  the tasks of it to use; empty: all
     */
    public record Source(String folder, List<String> names) {
        public Source {
            Objects.requireNonNull(folder, "folder");
            names = List.copyOf(names);
        }
    }

    /**
     * @param trained      tasks that shared adapters are trained on
     * @param unseen       tasks held out of every training; empty where there are none
     * @param tuning       tasks like the unseen ones, on whose dev splits settings for those are chosen; empty: on the dev splits
     *                     of the unseen tasks themselves
     * @param devFromTrain samples that are taken out of the training split of a task without dev split, to be one
     * @param devItems     most items of a dev split that a trial answers; 0: all
     * @param testItems    the same of a test split
     */
    public record Tasks(Source trained, Optional<Source> unseen, Optional<Source> tuning, int devFromTrain, int devItems, int testItems) {
    }

    /**
     * That the arm goes from one adapter to one of each task, as the verb adapt does it.
     *
     * @param samples  K, the training samples of each task; 0: all
     * @param chooseAt the K that trials are judged at, one of {@code samples}
     */
    public record Adaptation(List<Integer> samples, int chooseAt) {
        public Adaptation {
            samples = List.copyOf(samples);
        }
    }

    /**
     * How a task is adapted to, with the meaning of the verb adapt's options.
     *
     * @param epochs    times every sample is seen; only where steps are 0
     * @param steps     optimizer steps of each task
     * @param batchSize samples per step
     * @param lr        highest learning rate
     * @param optimizer what takes the steps
     * @param adapts    which matrices of the adapter they train
     */
    public record FineTune(int epochs, long steps, int batchSize, double lr, InnerOptimizer optimizer, AdapterPart adapts) {
    }

    /**
     * The settings of one trial.
     *
     * @param varied what the grid says, for people
     * @param train  settings of the training by dotted key, those of all arms, the arm and the trial laid over each other
     * @param adapt  of the adaptation
     */
    public record Trial(Map<String, String> varied, Map<String, String> train, FineTune adapt) {
        public Trial {
            varied = Collections.unmodifiableMap(new LinkedHashMap<>(varied));
            train = Collections.unmodifiableMap(new TreeMap<>(train));
        }

        /** The training's configuration, without paths and seed. */
        public TrainConfig config() {
            return TrainConfig.of(train.entrySet().stream().map(entry -> entry.getKey() + "=" + entry.getValue()).toArray(String[]::new));
        }
    }

    /**
     * A way to answer tasks: train or not, adapt or not.
     *
     * @param name  in questions and files
     * @param label in tables and pictures
     * @param shots training samples of the task that stand in front of each prompt; 0 but for arms that neither train nor adapt
     * @param train whether a shared adapter is trained; without, adapting begins from a new one
     * @param track iterations of that training between measurements of its accuracy so far, on dev items of the trained
     *              tasks; 0: none
     * @param adapt empty: the shared adapter, or the base model, answers as it is
     * @param on    the tasks it is evaluated on; trials are judged on the first
     * @param grid  the trials; one that varies nothing where there is nothing to tune
     */
    public record Arm(String name, String label, int shots, boolean train, int track, Optional<Adaptation> adapt, List<On> on,
            List<Trial> grid) {
        public Arm {
            on = List.copyOf(on);
            grid = List.copyOf(grid);
        }

        /** What the arm is evaluated on and with how many samples: each a row of the results. */
        public List<Row> rows() {
            List<Integer> samples = adapt.map(Adaptation::samples).orElse(List.of(NO_ADAPTATION));
            return on.stream().flatMap(tasks -> samples.stream().map(k -> new Row(name, tasks, k))).toList();
        }

        /** The row that decides which trial is taken. */
        public Row chosenBy() {
            return new Row(name, on.getFirst(), adapt.map(Adaptation::chooseAt).orElse(NO_ADAPTATION));
        }

        /** Whether it has settings to be chosen. */
        public boolean isTuned() {
            return train || adapt.isPresent();
        }

        /** Whether they are chosen, by trials: with a grid of one nothing is. */
        public boolean hasTrials() {
            return grid.size() > 1;
        }
    }

    /** {@link Row#samples} of an arm that does not adapt. */
    public static final int NO_ADAPTATION = -1;

    /**
     * A row of the results.
     *
     * @param arm     its name
     * @param on      the tasks
     * @param samples K that each task was adapted on; 0: all of them; {@link #NO_ADAPTATION}
     */
    public record Row(String arm, On on, int samples) {

        /** For people: {@code meta-50 on unseen, K = 8}. */
        @Override
        public String toString() {
            return arm + " on " + on + (samples == NO_ADAPTATION ? "" : ", K = " + (samples == 0 ? "all" : samples));
        }
    }

    /**
     * Whether one row is better than another, or not inferior.
     *
     * @param ask     in words
     * @param margin  in points, as the protocol's
     */
    public record Question(String ask, Row row, Row against, double margin) {
    }

    public Protocol {
        seeds = List.copyOf(seeds);
        arms = Collections.unmodifiableMap(new LinkedHashMap<>(arms));
        questions = List.copyOf(questions);
    }

    /**
     * The text of a YAML file.
     *
     * @throws InputException if it is missing, too large or not UTF-8
     */
    public static String text(Path file) {
        return ConfigFile.read(file);
    }

    /**
     * Reads YAML.
     *
     * @param name stands for the file in messages
     * @throws InputException if a key is unknown or missing, or a value can't be, naming file, line and key
     */
    public static Protocol parse(String name, String yaml) {
        return ProtocolReader.parse(name, yaml);
    }

    /** All rows of all arms, in their order. */
    public List<Row> rows() {
        return arms.values().stream().flatMap(arm -> arm.rows().stream()).toList();
    }

    /**
     * With another model or other folders of tasks; an empty one stays as it is. Tasks that are held out of the folder of the trained
     * ones move with it.
     */
    public Protocol with(Optional<Path> otherModel, Optional<Path> trained, Optional<Path> unseen, Optional<Path> tuning) {
        var others = new Tasks(trained.map(folder -> new Source(folder.toString(), tasks.trained.names())).orElse(tasks.trained),
                moved(tasks.unseen, trained, unseen), moved(tasks.tuning, trained, tuning), tasks.devFromTrain, tasks.devItems, tasks.testItems);
        return new Protocol(title, otherModel.map(Path::toString).orElse(model), others, seeds, tuningSeeds, trials, margin, arms, questions);
    }

    private Optional<Source> moved(Optional<Source> source, Optional<Path> trained, Optional<Path> other) {
        List<String> names = source.map(Source::names).orElse(List.of());
        return other.or(() -> trained.filter(folder -> source.isPresent() && source.get().folder().equals(tasks.trained.folder())))
                .map(folder -> new Source(folder.toString(), names)).or(() -> source);
    }
}

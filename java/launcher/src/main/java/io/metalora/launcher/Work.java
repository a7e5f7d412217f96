package io.metalora.launcher;

import io.metalora.config.OuterDirection;
import io.metalora.config.TrainConfig;
import io.metalora.eval.TaskItems;
import java.util.List;

/**
 * What stages of work cost, in tokens that go forward through the model: for the time left, for which a rough figure is enough.
 */
final class Work {

    /** The cost of a token that goes forward and backward, relative to one that goes forward only. */
    static final double TRAINED = 2.5;

    private Work() {
    }

    /**
     * A whole training.
     *
     * @param samples of all tasks
     * @param tokens  of a sample
     */
    static double training(TrainConfig config, long samples, double tokens) {
        TrainConfig.Meta meta = config.meta();
        return TRAINED * tokens * switch (config.method()) {
            case META_LORA -> meta.iterations() * (double) meta.tasksPerIteration()
                    * (meta.innerSteps() * (double) meta.supportSize() * switch (meta.outer()) {
                        case FIRST_ORDER, REPTILE -> 1;
                        case EXACT -> 3; // two more passes for each step's product with the Hessian
                    } + meta.querySize() / (meta.outer() == OuterDirection.REPTILE ? TRAINED : 1)); // reptile only measures there
            case JOINT_LORA, SEPARATE_LORA, ASYMMETRIC_LORA -> config.joint().epochs() * (double) samples;
        };
    }

    /** Iterations of a whole training, on so many samples of each task. */
    static long iterations(TrainConfig config, List<Integer> samples) {
        long batch = config.joint().batchSize();
        return switch (config.method()) {
            case META_LORA -> config.meta().iterations();
            case JOINT_LORA, ASYMMETRIC_LORA -> config.joint().epochs() * Math.ceilDiv(samples.stream()
                    .mapToLong(Integer::longValue).sum(), batch);
            case SEPARATE_LORA -> config.joint().epochs() * Math.ceilDiv(samples.stream().mapToLong(Integer::longValue).max().orElse(0), batch);
        };
    }

    /** Stage 1 of tasks, on {@code samples} samples of all of them together. */
    static double adaptation(TrainConfig config, long samples, double tokens) {
        return TRAINED * tokens * config.meta().innerSteps() * samples;
    }

    /** The answers of one arm. */
    static double answers(List<TaskItems> items, double tokensACharacter) {
        return tokensACharacter * items.stream().mapToLong(TaskItems::characters).sum();
    }
}

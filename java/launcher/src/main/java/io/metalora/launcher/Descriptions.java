package io.metalora.launcher;

import io.metalora.config.Method;
import io.metalora.config.TrainConfig;
import java.util.Locale;

/** Wordings that reports share. */
final class Descriptions {

    /** How accuracy is measured. */
    static final String JUDGING = "A task with a closed set of labels is answered by ranking them by log-probability, any other by greedy "
            + "decoding, which must give the completion exactly.";

    private Descriptions() {
    }

    static String name(Method method) {
        return switch (method) {
            case META_LORA -> "MeTA-LoRA";
            case JOINT_LORA -> "joint LoRA";
            case SEPARATE_LORA -> "LoRA of each task";
        };
    }

    /** The method with its most important settings. */
    static String method(TrainConfig config) {
        var adapter = config.adapter();
        String lora = String.format(Locale.ROOT, "rank %d, alpha %s, learning rate %s", adapter.rank(), adapter.alpha(),
                config.optimizer().lr());
        return switch (config.method()) {
            case META_LORA -> String.format(Locale.ROOT,
                    "MeTA-LoRA: %d tasks an iteration, %d support and %d query samples, %d inner steps of %s at %s; %s",
                    config.meta().tasksPerIteration(), config.meta().supportSize(), config.meta().querySize(),
                    config.meta().innerSteps(), config.meta().innerOptimizer(), config.meta().innerLr(), lora);
            case JOINT_LORA -> String.format(Locale.ROOT, "joint LoRA: %d epochs in batches of %d; %s", config.joint().epochs(),
                    config.joint().batchSize(), lora);
            case SEPARATE_LORA -> String.format(Locale.ROOT, "LoRA of each task: %d epochs in batches of %d; %s", config.joint().epochs(),
                    config.joint().batchSize(), lora);
        };
    }
}

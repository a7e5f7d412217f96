package io.metalora.launcher;

import io.metalora.adapter.AdapterKind;
import io.metalora.config.TrainConfig;
import java.util.Locale;

/** Wordings that reports share. */
final class Descriptions {

    /** How accuracy is measured. */
    static final String JUDGING = "A task with a closed set of labels is answered by ranking them by log-probability, any other by greedy "
            + "decoding, which must give the completion exactly.";

    private Descriptions() {
    }

    static String name(TrainConfig config) {
        String kind = switch (config.adapter().kind()) {
            case LORA -> "LoRA";
            case MIXTURE -> "mixture";
        };
        return switch (config.method()) {
            case META_LORA -> config.adapter().kind() == AdapterKind.LORA ? "MeTA-LoRA" : "MeTA-LoRA of a " + kind;
            case JOINT_LORA -> "joint " + kind;
            case SEPARATE_LORA -> kind + " of each task";
            case ASYMMETRIC_LORA -> "asymmetric " + kind;
        };
    }

    /** The method with its most important settings. */
    static String method(TrainConfig config) {
        var adapter = config.adapter();
        String heads = switch (adapter.kind()) {
            case LORA -> "";
            case MIXTURE -> adapter.heads() + " heads of ";
        };
        String shape = String.format(Locale.ROOT, "%srank %d, alpha %s, learning rate %s", heads, adapter.rank(), adapter.alpha(),
                config.optimizer().lr());
        return name(config) + switch (config.method()) {
            case META_LORA -> String.format(Locale.ROOT,
                    ": %d tasks an iteration, %d support and %d query samples, %d inner steps of %s at %s; %s",
                    config.meta().tasksPerIteration(), config.meta().supportSize(), config.meta().querySize(),
                    config.meta().innerSteps(), config.meta().innerOptimizer(), config.meta().innerLr(), shape);
            case JOINT_LORA, SEPARATE_LORA, ASYMMETRIC_LORA -> String.format(Locale.ROOT, ": %d epochs in batches of %d; %s",
                    config.joint().epochs(), config.joint().batchSize(), shape);
        };
    }
}

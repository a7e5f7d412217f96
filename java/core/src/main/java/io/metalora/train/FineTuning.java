package io.metalora.train;

import io.metalora.adapter.AdapterPart;
import io.metalora.config.InnerOptimizer;
import io.metalora.config.TrainConfig;
import java.util.Objects;

/**
 * How an adapter is fine-tuned on the samples of one task.
 *
 * @param steps       optimizer steps; 0: as many as the epochs have
 * @param epochs      times every sample is seen; only where steps are not given
 * @param batchSize   samples per step; the last step of an epoch takes the remaining ones
 * @param algorithm   what takes the steps
 * @param adapts      which matrices of the adapter they train
 * @param optimizer   its learning rate, schedule, weight decay and clip, and AdamW's constants
 * @param seed        of the order of the samples and of dropout
 * @param tokenBudget most tokens in one pass, as {@code compute.token_budget}
 */
public record FineTuning(long steps, int epochs, int batchSize, InnerOptimizer algorithm, AdapterPart adapts,
                         TrainConfig.Optimizer optimizer, long seed, int tokenBudget) {

    public FineTuning {
        Objects.requireNonNull(algorithm, "algorithm");
        Objects.requireNonNull(adapts, "adapts");
        Objects.requireNonNull(optimizer, "optimizer");
        if (adapts != AdapterPart.ALL && optimizer.weightDecay() > 0) {
            throw new IllegalArgumentException("weight decay moves what has no gradient too: with it, adapts must be " + AdapterPart.ALL);
        }
        if (steps < 0 || steps == 0 && epochs < 1 || batchSize < 1) {
            throw new IllegalArgumentException(steps + " steps, " + epochs + " epochs, batches of " + batchSize);
        }
    }

    /** As joint LoRA would, by the sections joint and optimizer. */
    public static FineTuning of(TrainConfig config) {
        return new FineTuning(0, config.joint().epochs(), config.joint().batchSize(), InnerOptimizer.ADAMW, AdapterPart.ALL,
                config.optimizer(), config.seed(), config.compute().tokenBudget());
    }

    /** Samples per step for a task of {@code samples}. */
    int batch(int samples) {
        return Math.min(batchSize, samples);
    }

    /** Steps for a task of {@code samples}. */
    public long stepsFor(int samples) {
        return steps > 0 ? steps : (long) epochs * Math.ceilDiv(samples, batch(samples));
    }
}

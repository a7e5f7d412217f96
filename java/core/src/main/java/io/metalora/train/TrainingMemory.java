package io.metalora.train;

import io.metalora.adapter.AdapterLayout;
import io.metalora.config.InnerOptimizer;
import io.metalora.config.Method;
import io.metalora.config.OuterDirection;
import io.metalora.config.TrainConfig;
import io.metalora.io.ModelConfig;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadOptions;
import io.metalora.model.MemoryEstimate;
import io.metalora.model.ModelPass;
import io.metalora.model.PassLimits;
import io.metalora.runtime.Device;
import io.metalora.task.EncodedTask;
import java.util.List;

/** What a whole run will hold, known from the headers of the weights and the lengths of the examples. */
public final class TrainingMemory {

    private TrainingMemory() {
    }

    static MemoryEstimate estimate(TrainConfig config, ModelConfig model, AdapterLayout layout, List<EncodedTask> tasks, Device device) {
        LoadOptions options = config.loadOptions(layout, tasks.size());
        return CausalLM.estimate(config.model(), device, options).plus(besideModel(config, model, options, layout, tasks, device));
    }

    /** The same without the frozen weights. */
    public static MemoryEstimate besideModel(TrainConfig config, ModelConfig model, LoadOptions options, AdapterLayout layout,
                                      List<EncodedTask> tasks, Device device) {
        PassLimits limits = switch (config.method()) {
            case META_LORA -> MetaLora.limits(tasks, config);
            case JOINT_LORA -> JointLora.limits(tasks, config);
            case SEPARATE_LORA -> SeparateLora.limits(tasks, FineTuning.of(config));
        };
        // A slot's parameters and gradient, and its moments; then the shared adapter, its moments and, of MeTA-LoRA, its gradient.
        long vectors = switch (config.method()) {
            case META_LORA -> (config.meta().innerOptimizer() == InnerOptimizer.ADAMW ? 4L : 2L) * config.slots(tasks.size())
                    + (config.meta().outer() == OuterDirection.EXACT ? (config.meta().innerSteps() + 2L) * config.slots(tasks.size()) : 0) + 4;
            case JOINT_LORA -> 2 + 3;
            case SEPARATE_LORA -> 4L * tasks.size() + 1; // where all begin
        };
        return ModelPass.estimate(model, device, options, limits, layout, true)
                .plus(new MemoryEstimate(0, GradientPass.ledgerBytes(limits), 0))
                .plus(new MemoryEstimate(0, 0, config.method() == Method.META_LORA && config.meta().innerRateLr() > 0
                        ? LearnedRates.bytes(layout, config.slots(tasks.size())) : 0))
                .plus(new MemoryEstimate(0, 0, MemoryEstimate.product(vectors + (config.optimizer().ema() > 0 ? 1 : 0),
                        Float.BYTES, layout.parameters())));
    }

    /** What {@link #estimate} gives, once it is known to fit. */
    public static MemoryEstimate requireFits(TrainConfig config, ModelConfig model, AdapterLayout layout, List<EncodedTask> tasks, Device device) {
        MemoryEstimate needed = estimate(config, model, layout, tasks, device);
        needed.requireFits(device, "Training " + config.model(),
                (config.method() == Method.SEPARATE_LORA ? "take fewer tasks at a time with data.names, " : "")
                        + "lower " + (config.method() == Method.META_LORA ? "meta.tasks_per_iteration, " : "")
                        + "compute.token_budget or adapter.rank, choose a smaller model, hold its weights as bf16, or free memory");
        return needed;
    }
}

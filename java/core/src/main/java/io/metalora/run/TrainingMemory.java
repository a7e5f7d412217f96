package io.metalora.run;

import io.metalora.adapter.AdapterLayout;
import io.metalora.config.Method;
import io.metalora.config.TrainConfig;
import io.metalora.io.ModelConfig;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadOptions;
import io.metalora.model.MemoryEstimate;
import io.metalora.runtime.Device;
import io.metalora.task.EncodedTask;
import io.metalora.train.Trainer;
import java.util.List;

/** What a whole run will hold, known from the headers of the weights and the lengths of the examples. */
final class TrainingMemory {

    private TrainingMemory() {
    }

    static MemoryEstimate estimate(TrainConfig config, ModelConfig model, AdapterLayout layout, List<EncodedTask> tasks, Device device) {
        LoadOptions options = config.loadOptions(layout, tasks.size());
        return CausalLM.estimate(config.model(), device, options).plus(Trainer.estimate(config, model, options, layout, tasks, device));
    }

    /** What {@link #estimate} gives, once it is known to fit. */
    static MemoryEstimate requireFits(TrainConfig config, ModelConfig model, AdapterLayout layout, List<EncodedTask> tasks, Device device) {
        MemoryEstimate needed = estimate(config, model, layout, tasks, device);
        needed.requireFits(device, "Training " + config.model(),
                (config.method().givesEachTaskAnAdapter() ? "take fewer tasks at a time with data.names, " : "")
                        + "lower " + (config.method() == Method.META_LORA ? "meta.tasks_per_iteration, " : "")
                        + "compute.token_budget or adapter.rank, choose a smaller model, hold its weights as bf16, or free memory");
        return needed;
    }
}

package io.metalora.bench;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraLayout;
import io.metalora.config.TrainConfig;
import io.metalora.model.CausalLM;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.train.JointLora;
import io.metalora.train.MetaLora;
import io.metalora.train.Trainer;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;

/** What the end-to-end benchmarks and the comparison with the peer train on: sequences of one length, given or random. */
final class Workload {
    private static final long ENDLESS = 1_000_000;

    private Workload() {}

    /** Random sequences of which every token but the first carries loss. */
    static List<EncodedTask> random(long seed, int vocabulary, int tasks, int sequences, int length) {
        var random = new SplittableRandom(seed);
        var result = new ArrayList<EncodedTask>(tasks);
        for (int task = 0; task < tasks; task++) {
            var examples = new ArrayList<EncodedExample>(sequences);
            for (int i = 0; i < sequences; i++) {
                examples.add(new EncodedExample(random.ints(length, 0, vocabulary).toArray(), 1));
            }
            result.add(task("task" + task, examples));
        }
        return result;
    }

    static EncodedTask task(String name, List<EncodedExample> examples) {
        return new EncodedTask(name, examples, IntStream.range(0, examples.size()).toArray());
    }

    /** Joint LoRA whose every step is a batch of {@code batch} sequences. */
    static Trainer trainingStep(CausalLM model, LoraAdapter adapter, List<EncodedTask> tasks, int batch, String... settings) {
        return new JointLora(model, adapter, tasks, config(settings, "joint.epochs=" + ENDLESS, "joint.batch_size=" + batch));
    }

    /** MeTA-LoRA whose every iteration takes all tasks. */
    static Trainer metaIteration(
            CausalLM model, LoraAdapter adapter, List<EncodedTask> tasks, int support, int query, int innerSteps,
            String... settings) {
        return new MetaLora(model, adapter, tasks, config(settings, "meta.iterations=" + ENDLESS,
                "meta.tasks_per_iteration=" + tasks.size(), "meta.support_size=" + support, "meta.query_size=" + query,
                "meta.inner_steps=" + innerSteps, "meta.support_after_every=0"));
    }

    static LoraAdapter adapter(CausalLM model, int rank, float alpha, List<String> targetModules) {
        var config = TrainConfig.of("adapter.rank=" + rank, "adapter.alpha=" + alpha,
                "adapter.target_modules=" + targetModules).adapter().lora();
        return LoraAdapter.create(model.device(), new LoraLayout(model.config(), config), 1);
    }

    private static TrainConfig config(String[] settings, String... more) {
        var all = new ArrayList<>(List.of(settings));
        all.addAll(List.of(more));
        all.add("optimizer.schedule=constant");
        return TrainConfig.of(all.toArray(String[]::new));
    }
}

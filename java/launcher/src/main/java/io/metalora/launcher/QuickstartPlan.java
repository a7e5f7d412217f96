package io.metalora.launcher;

import io.metalora.config.Schedule;
import io.metalora.config.TrainConfig;
import io.metalora.launcher.synthetic.SyntheticTasks;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/**
 * What quickstart trains. The settings of each arm were chosen by its accuracy on the dev splits; docs/quickstart.md lists
 * every trial.
 *
 * @param settings the sets of tasks
 * @param jointFew joint LoRA on few samples a task
 * @param jointAll joint LoRA on all
 * @param metaFew  MeTA-LoRA on the same few
 * @param newTasks what is trained for tasks that come later
 */
record QuickstartPlan(List<Setting> settings, Arm jointFew, Arm jointAll, Arm metaFew, NewTasks newTasks) {

    /** Training samples a task that the arms on few samples see. */
    private static final int FEW = 50;

    static final QuickstartPlan DEFAULT = new QuickstartPlan(
            List.of(
                    new Setting("multi-task", "ten tasks in English", (seed, folder) -> SyntheticTasks.multiTask(seed).writeTo(folder)),
                    new Setting("multilingual", "one task in four languages",
                            (seed, folder) -> SyntheticTasks.multilingual(seed).writeTo(folder))),
            new Arm("joint-few", "joint LoRA, " + FEW, 0, List.of(
                    "method=joint-lora", "data.samples_per_task=" + FEW, "joint.epochs=8", "joint.batch_size=8",
                    "optimizer.lr=4e-3", "optimizer.warmup_ratio=0.06")),
            new Arm("joint-all", "joint LoRA, all", 0, List.of(
                    "method=joint-lora", "data.samples_per_task=0", "joint.epochs=2", "joint.batch_size=32",
                    "optimizer.lr=8e-3", "optimizer.warmup_ratio=0.06")),
            new Arm("meta-few", "MeTA-LoRA, " + FEW, 20, List.of(
                    "method=meta-lora", "data.samples_per_task=" + FEW, "meta.tasks_per_iteration=4", "meta.support_size=2",
                    "meta.query_size=12", "meta.inner_steps=1", "meta.inner_lr=0.005", "optimizer.lr=8e-3",
                    "optimizer.warmup_ratio=0.06")),
            new NewTasks("new-tasks", "four new customers, after training on 24 others",
                    (seed, folder) -> SyntheticTasks.customers(seed).writeTo(folder), (seed, folder) -> SyntheticTasks.newCustomers(seed).writeTo(folder),
                    new Arm("joint", "joint LoRA", 0, List.of(
                            "method=joint-lora", "data.samples_per_task=40", "joint.epochs=6", "joint.batch_size=8", "optimizer.lr=4e-3",
                            "optimizer.warmup_ratio=0.06")),
                    new Arm("meta", "MeTA-LoRA", 17, List.of(
                            "method=meta-lora", "data.samples_per_task=40", "meta.tasks_per_iteration=2", "meta.support_size=12",
                            "meta.query_size=12", "meta.inner_steps=3", "meta.inner_optimizer=adamw", "meta.inner_lr=0.015",
                            "optimizer.lr=4e-3", "optimizer.warmup_ratio=0.06")),
                    List.of(4, 8, 16, 40), 20, 8,
                    new TrainConfig.Optimizer(8e-3, 0.9, 0.999, 1e-8, 0, 1, Schedule.COSINE, 0, 0, 0)));

    /** Makes tasks from a seed, in a folder. */
    interface TaskWriter {
        void write(long seed, Path folder) throws IOException;
    }

    /**
     * A set of tasks.
     *
     * @param name  its folder in the run
     * @param title what it is, in a few words
     * @param tasks makes them
     */
    record Setting(String name, String title, TaskWriter tasks) {
    }

    /**
     * A way to train.
     *
     * @param name              its folder in the setting's
     * @param label             its column in the table
     * @param iterationsPerTask of MeTA-LoRA, so that its training grows with the tasks as epochs do; 0 for joint LoRA
     * @param settings          of the configuration, where they differ from the defaults
     */
    record Arm(String name, String label, int iterationsPerTask, List<String> settings) {

        TrainConfig config(Path model, Path folder, int tasks, Path output, long seed, DeviceChoice device) {
            TrainConfig config = TrainConfig.of(settings.toArray(String[]::new)).with(
                    "model=" + model.toAbsolutePath(), "data.folder=" + folder.toAbsolutePath(), "output=" + output.toAbsolutePath(),
                    "seed=" + seed).with(device.settings());
            return iterationsPerTask == 0 ? config : config.with("meta.iterations=" + iterationsPerTask * tasks);
        }
    }

    /**
     * Tasks with a rule in common, on which shared adapters are trained, and new ones, to which they are adapted.
     *
     * @param name      its folder in the run
     * @param title     what it is, in a few words
     * @param training  makes the tasks to train on
     * @param use       makes the new ones
     * @param joint     joint LoRA on the tasks to train on
     * @param meta      MeTA-LoRA on the same
     * @param samples   of a new task, that it is adapted on: K, ascending
     * @param epochs    of adapting, as {@link io.metalora.train.FineTuning}; the batch size and the optimizer likewise
     */
    record NewTasks(String name, String title, TaskWriter training, TaskWriter use, Arm joint, Arm meta, List<Integer> samples, int epochs,
            int batchSize, TrainConfig.Optimizer optimizer) {

        /** In the order they are trained. */
        List<Arm> arms() {
            return List.of(joint, meta);
        }
    }

    /** The arms in the order they are trained. */
    List<Arm> arms() {
        return List.of(jointFew, jointAll, metaFew);
    }
}

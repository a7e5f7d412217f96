package io.metalora.launcher;

import io.metalora.task.synthetic.SyntheticTasks;
import io.metalora.train.TrainConfig;
import java.nio.file.Path;
import java.util.List;
import java.util.function.LongFunction;

/**
 * What quickstart trains. The settings of each arm were chosen by its accuracy on the dev splits, with the same number of
 * trials for every arm.
 */
final class QuickstartPlan {

    /** Training samples a task that the arms on few samples see. */
    static final int FEW = 50;

    /**
     * A set of tasks.
     *
     * @param name  its folder in the run
     * @param title what it is, in a few words
     * @param tasks makes them from a seed
     */
    record Setting(String name, String title, LongFunction<SyntheticTasks> tasks) {
    }

    /**
     * A way to train.
     *
     * @param name     its folder in the setting's
     * @param label    its column in the table
     * @param settings of the configuration, where they differ from the defaults
     */
    record Arm(String name, String label, List<String> settings) {

        TrainConfig config(Path model, Path tasks, Path output, long seed, DeviceChoice device) {
            return TrainConfig.of(settings.toArray(String[]::new)).with(
                    "model=" + quoted(model), "data.folder=" + quoted(tasks), "output=" + quoted(output), "seed=" + seed,
                    "compute.backend=" + device.options().backend().name().toLowerCase(java.util.Locale.ROOT),
                    "compute.threads=" + device.options().threads());
        }

        /** A path as YAML takes it whatever is in it. */
        private static String quoted(Path path) {
            return "'" + path.toString().replace("'", "''") + "'";
        }
    }

    static final List<Setting> SETTINGS = List.of(
            new Setting("multi-task", "ten tasks in English", SyntheticTasks::multiTask),
            new Setting("multilingual", "one task in four languages", SyntheticTasks::multilingual));

    static final Arm JOINT_FEW = new Arm("joint-few", "joint LoRA, " + FEW, List.of(
            "method=joint-lora", "data.samples_per_task=" + FEW, "joint.epochs=8", "joint.batch_size=8", "optimizer.lr=2e-3",
            "optimizer.warmup_ratio=0.06"));

    static final Arm JOINT_ALL = new Arm("joint-all", "joint LoRA, all", List.of(
            "method=joint-lora", "data.samples_per_task=0", "joint.epochs=2", "joint.batch_size=8", "optimizer.lr=2e-3",
            "optimizer.warmup_ratio=0.06"));

    static final Arm META_FEW = new Arm("meta-few", "MeTA-LoRA, " + FEW, List.of(
            "method=meta-lora", "data.samples_per_task=" + FEW, "meta.iterations=150", "meta.tasks_per_iteration=4",
            "meta.support_size=8", "meta.query_size=8", "meta.inner_steps=2", "meta.inner_lr=0.1", "optimizer.lr=3e-3",
            "optimizer.warmup_ratio=0.06"));

    private QuickstartPlan() {
    }
}

package io.metalora.config;

import io.metalora.adapter.AdapterKind;
import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.LoraConfig;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.MixtureLayout;
import io.metalora.adapter.TargetModules;
import io.metalora.file.Folders;
import io.metalora.io.ModelConfig;
import io.metalora.model.LoadOptions;
import io.metalora.model.WeightStorage;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.Backend;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import io.metalora.runtime.InstructionSet;
import io.metalora.task.Columns;
import io.metalora.task.ContentSplit;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.OverLength;
import io.metalora.task.ReadOptions;
import io.metalora.text.TextTokenizer;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;

/**
 * All settings of a training run; docs/configuration.md describes each. Made by {@link #builder}, or read from YAML with
 * {@link #read}, where an unknown key or a wrong type is an {@link InputException} that names file, line and key. However it is
 * made, a value out of its range is refused.
 *
 * @param method    which trainer
 * @param model     Hugging Face folder of the base model
 * @param output    the run folder to make
 * @param seed      of every random draw, and of the adapter's initial values
 * @param adapter   the adapter to train
 * @param data      the tasks to train on
 * @param meta      settings of MeTA-LoRA
 * @param joint     settings of joint LoRA
 * @param optimizer the optimizer of the shared adapter: MeTA-LoRA's outer step, joint LoRA's only one
 * @param compute   where and how it runs; nothing here is meant to change the outcome beyond rounding
 */
public record TrainConfig(Method method, Path model, Path output, long seed, Adapter adapter, Data data, Meta meta,
                          Joint joint, Optimizer optimizer, Compute compute) {

    /**
     * @param kind          what it computes
     * @param rank          r
     * @param heads         B matrices for each A; of a mixture alone
     * @param alpha         the update is scaled by alpha / r
     * @param rslora        by alpha / sqrt(r) instead
     * @param dropout       in [0, 1), on the adapter's input
     * @param targetModules which Linears are adapted: names, a regex, or all-linear
     * @param init          nullable: the folder of an adapter of this kind to start from; its rank, heads, scale, dropout and
     *                      targets then replace those above
     */
    public record Adapter(AdapterKind kind, int rank, int heads, float alpha, boolean rslora, float dropout,
                          TargetModules targetModules, Path init) {
        public Adapter {
            Objects.requireNonNull(kind, "kind");
            Objects.requireNonNull(targetModules, "targetModules");
        }

        /** Rank, scale, dropout and targets, which adapters of every kind have. */
        public LoraConfig lora() {
            return new LoraConfig(rank, alpha, rslora, dropout, targetModules);
        }

        /** Where its parameters lie, on {@code model}. */
        public AdapterLayout layout(ModelConfig model) {
            return switch (kind) {
                case LORA -> new LoraLayout(model, lora());
                case MIXTURE -> new MixtureLayout(model, lora(), heads);
            };
        }
    }

    /**
     * @param folder         one folder per task, with train.jsonl in it
     * @param names          the tasks to use; empty: all
     * @param samplesPerTask how many training examples of each task may be seen; 0: all
     * @param appendEos      teach the end of sequence token after every completion
     * @param maxLength      the most tokens of an example in training; 0: the model's context
     * @param overLength     what happens to longer ones, or those longer than {@code compute.token_budget}
     * @param split          what is cut off train.jsonl where a task has no dev or test file
     * @param columns        which keys or columns of the files hold what
     * @param thinking       false: a chat template that knows {@code enable_thinking} is told that it is false
     */
    public record Data(Path folder, List<String> names, int samplesPerTask, boolean appendEos, int maxLength, OverLength overLength,
                       ContentSplit split, Columns columns, boolean thinking) {
        public Data {
            names = List.copyOf(names);
            Objects.requireNonNull(overLength, "overLength");
            Objects.requireNonNull(split, "split");
            Objects.requireNonNull(columns, "columns");
        }
    }

    /**
     * @param iterations        outer steps
     * @param tasksPerIteration n, the tasks of a meta-batch
     * @param supportSize       samples per task to adapt on
     * @param querySize         samples per task to take the outer gradient on
     * @param innerSteps        k; 0 is multi-task LoRA on the query sets
     * @param adapts            which matrices of the adapter the inner steps train
     * @param innerOptimizer    what takes the inner steps
     * @param innerLr           its learning rate
     * @param innerRates        rates of single modules in its place, each as {@code MODULE=RATE}; of several that name a
     *                          Linear the first counts
     * @param innerRateLr       rate at which the inner rate of every Linear is learned; 0: they are constant
     * @param innerClip         largest norm of a task's inner gradient; 0: no limit
     * @param outer             what a task contributes to the outer step
     * @param composition       which tasks form an iteration
     * @param compositionTemperature how strongly it prefers some: the smaller, the more
     * @param aggregation       how the tasks' query gradients become one
     * @param cagradC           c of CAGrad, in [0, 1): how far from the mean it may go
     * @param replay            nullable: the draws.jsonl of a run whose draws are repeated, in place of new ones
     * @param supportAfterEvery iterations between measurements of the support loss after the last inner step, which cost
     *                          one forward pass each; 0: never
     */
    public record Meta(long iterations, int tasksPerIteration, int supportSize, int querySize, int innerSteps, AdapterPart adapts,
                       InnerOptimizer innerOptimizer, double innerLr, List<String> innerRates, double innerRateLr,
                       double innerClip, OuterDirection outer, CompositionRule composition, double compositionTemperature,
                       AggregationRule aggregation, double cagradC, Path replay,
                       int supportAfterEvery) {
        public Meta {
            Objects.requireNonNull(outer, "outer");
            Objects.requireNonNull(composition, "composition");
            Objects.requireNonNull(aggregation, "aggregation");
            Objects.requireNonNull(innerOptimizer, "innerOptimizer");
            Objects.requireNonNull(adapts, "adapts");
            innerRates = List.copyOf(innerRates);
        }

        /** The rates of single modules, in their order. */
        public List<ModuleRate> moduleRates() {
            return innerRates.stream().map(ModuleRate::parse).toList();
        }
    }

    /**
     * @param epochs    times every sample is seen
     * @param batchSize samples per step; the last step of an epoch takes the remaining ones
     */
    public record Joint(int epochs, int batchSize) {
    }

    /**
     * AdamW (Loshchilov and Hutter 2019) with a schedule.
     *
     * @param lr          highest learning rate
     * @param beta1       decay of the first moment
     * @param beta2       decay of the second moment
     * @param eps         added to the root of the second moment
     * @param weightDecay decoupled
     * @param clip        largest global norm of the gradient; 0: no limit
     * @param schedule    of the learning rate
     * @param warmupSteps steps of linear warm-up
     * @param warmupRatio the same as a share of all steps, rounded up; only one of the two may be set
     * @param ema         decay of the average over the iterations, which is then what training gives; 0: it gives the last
     */
    public record Optimizer(double lr, double beta1, double beta2, double eps, double weightDecay, double clip,
                            Schedule schedule, long warmupSteps, double warmupRatio, double ema) {
        public Optimizer {
            Objects.requireNonNull(schedule, "schedule");
        }

        /** Warm-up steps of a run of {@code total} steps. */
        public long warmup(long total) {
            return warmupSteps > 0 ? warmupSteps : (long) Math.ceil(warmupRatio * total);
        }

        /** Learning rate after {@code step} steps of {@code total}. */
        public double learningRate(long step, long total) {
            return lr * schedule.factor(step, warmup(total), total);
        }
    }

    /**
     * @param backend         auto, cpu or cuda
     * @param threads         CPU threads; 0: all physical cores
     * @param isa             auto, portable, avx2 or avx512: which CPU kernels
     * @param arithmetic      fp32, or bf16: what products with frozen weights are computed in on a CPU
     * @param weights         how the frozen weights are held
     * @param tokenBudget     most tokens in one pass; a larger batch is split into micro-batches of the same gradient;
     *                        0: 512, or the longest example's where they are more
     * @param checkpointEvery iterations between checkpoints
     */
    public record Compute(Backend backend, int threads, InstructionSet isa, Arithmetic arithmetic, WeightStorage weights,
                          int tokenBudget, int checkpointEvery) {
        public Compute {
            Objects.requireNonNull(backend, "backend");
            Objects.requireNonNull(isa, "isa");
            Objects.requireNonNull(arithmetic, "arithmetic");
            Objects.requireNonNull(weights, "weights");
        }

        /** How to open the device. */
        public DeviceOptions device() {
            return new DeviceOptions(backend, threads, isa).withArithmetic(arithmetic);
        }
    }

    /** The most tasks whose gradients are reduced to one. */
    public static final int MOST_TASKS = 4096;

    /** @throws InputException if a value is out of its range */
    public TrainConfig(Method method, Path model, Path output, long seed, Adapter adapter, Data data, Meta meta, Joint joint,
                       Optimizer optimizer, Compute compute) {
        this.method = Objects.requireNonNull(method, "method");
        this.model = model;
        this.output = output;
        this.seed = seed;
        this.adapter = adapter;
        this.data = data;
        this.meta = meta;
        this.joint = joint;
        this.optimizer = optimizer;
        this.compute = compute;
        ConfigCheck.check(this);
    }

    /** The defaults; {@code model}, {@code output} and {@code data.folder} have none. */
    public static final TrainConfig DEFAULTS = new TrainConfig(Method.META_LORA, null, null, 0,
            new Adapter(AdapterKind.LORA, 8, 4, 16, false, 0, TargetModules.allLinear(), null),
            new Data(null, List.of(), 0, true, 0, OverLength.REFUSE, ContentSplit.NONE, Columns.NONE, true),
            new Meta(100, 4, 8, 8, 3, AdapterPart.ALL, InnerOptimizer.SGD, 0.02, List.of(), 0, 0, OuterDirection.FIRST_ORDER,
                    CompositionRule.UNIFORM, 1, AggregationRule.MEAN, 0.4, null, 10),
            new Joint(3, 8),
            new Optimizer(1e-3, 0.9, 0.999, 1e-8, 0, 1, Schedule.COSINE, 0, 0, 0),
            new Compute(Backend.AUTO, 0, InstructionSet.AUTO, Arithmetic.FP32, WeightStorage.AUTO, 0, 50));

    /** How many adapters go through a pass together when there are so many tasks: each of its own slot. */
    public int slots(int tasks) {
        return switch (method) {
            case META_LORA -> meta.tasksPerIteration;
            case JOINT_LORA -> 1;
            case SEPARATE_LORA, ASYMMETRIC_LORA -> tasks;
        };
    }

    /** How the model is to be loaded for an adapter to be trained on so many tasks. */
    public LoadOptions loadOptions(AdapterLayout adapter, int tasks) {
        return new LoadOptions(compute.weights).withRoomFor(adapter, slots(tasks));
    }

    /** How the examples are read: with the columns that {@code data.columns} names, conversations by the model's chat template. */
    public ReadOptions readOptions() {
        return ReadOptions.of(model, data.columns, data.thinking);
    }

    /**
     * How training sees examples: with the end token where {@code data.append_eos} says so, none longer than {@code data.max_length}
     * or a pass, and cut to that where {@code data.over_length} says so.
     */
    public ExampleEncoder encoder(TextTokenizer tokenizer, ModelConfig model) {
        ExampleEncoder encoder = data.appendEos ? ExampleEncoder.forTraining(tokenizer, model)
                : ExampleEncoder.forTrainingWithoutEnd(tokenizer, model);
        if (data.overLength == OverLength.TRUNCATE) {
            encoder = encoder.truncating();
        }
        if (data.maxLength > 0) {
            encoder = encoder.within(data.maxLength, "data.max_length");
        }
        return compute.tokenBudget > 0 ? encoder.within(compute.tokenBudget, "compute.token_budget") : encoder;
    }

    /**
     * Reads a YAML file.
     *
     * @param overrides {@code key=value} with dotted keys, as {@code meta.inner_steps=1}; the value is taken as it stands, a
     *                  quoted text or a list as YAML
     */
    public static TrainConfig read(Path file, List<String> overrides) {
        return ConfigReader.read(file, overrides);
    }

    /** As {@link #read(Path, List)} from text; {@code name} stands for the file in messages. */
    public static TrainConfig parse(String name, String yaml, List<String> overrides) {
        return ConfigReader.parse(name, yaml, overrides);
    }

    /** A builder that starts from the defaults. */
    public static TrainConfigBuilder builder() {
        return DEFAULTS.toBuilder();
    }

    /** A builder that starts from these settings. */
    public TrainConfigBuilder toBuilder() {
        return new TrainConfigBuilder(this);
    }

    /** The defaults with {@code key=value} overrides. */
    public static TrainConfig of(String... overrides) {
        return ConfigReader.parse("(no file)", "", List.of(overrides));
    }

    /** A copy with {@code key=value} overrides. */
    public TrainConfig with(String... overrides) {
        return ConfigReader.override(this, List.of(overrides));
    }

    /** Every setting by its dotted key, as {@code meta.inner_steps}, its value as YAML has it. */
    public Map<String, String> settings() {
        var settings = new TreeMap<String, String>();
        ConfigReader.leaves(this).forEach((key, value) -> settings.put(key, ConfigValues.write(value, "").strip()));
        return settings;
    }

    /** The whole config as YAML, each key with its value. */
    public String toYaml() {
        return ConfigReader.toYaml(this);
    }

    /** A copy with absolute paths, so that it means the same from any working directory. */
    public TrainConfig absolute() {
        return new TrainConfig(method, Folders.absolute(model), Folders.absolute(output), seed,
                new Adapter(adapter.kind, adapter.rank, adapter.heads, adapter.alpha, adapter.rslora, adapter.dropout,
                        adapter.targetModules, Folders.absolute(adapter.init)),
                new Data(Folders.absolute(data.folder), data.names, data.samplesPerTask, data.appendEos, data.maxLength, data.overLength,
                        data.split, data.columns, data.thinking),
                new Meta(meta.iterations, meta.tasksPerIteration, meta.supportSize, meta.querySize, meta.innerSteps, meta.adapts,
                        meta.innerOptimizer, meta.innerLr, meta.innerRates, meta.innerRateLr, meta.innerClip, meta.outer,
                        meta.composition, meta.compositionTemperature, meta.aggregation, meta.cagradC,
                        Folders.absolute(meta.replay), meta.supportAfterEvery), joint, optimizer, compute);
    }
}

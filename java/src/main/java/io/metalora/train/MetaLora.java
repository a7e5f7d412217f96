package io.metalora.train;

import io.metalora.adapter.LoraAdapter;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.PassLimits;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Held;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Ops;
import io.metalora.runtime.Tensor;
import io.metalora.task.CounterRandom;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.task.Episode;
import io.metalora.task.EpisodeSampler;
import io.metalora.task.PackBuilder;
import io.metalora.task.TaskSampler;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.OptionalDouble;
import java.util.function.BooleanSupplier;

/**
 * MeTA-LoRA (arXiv 2510.11598), first order. One iteration:
 * <ol>
 * <li>n tasks are drawn, from each a support set S_i and a query set Q_i, disjoint;
 * <li>stage 1: theta_i &lt;- theta, then k inner steps on S_i ({@link InnerLoop});
 * <li>stage 2: g_i = gradient of the loss on Q_i at theta_i; theta takes one AdamW step along mean_i g_i.
 * </ol>
 * The tasks' sequences are packed together and every task has its own adapter slot, so that one pass over the frozen
 * weights serves all of them. With k = 0 this is multi-task LoRA on the query sets, every task weighing the same.
 */
public final class MetaLora implements Trainer {

    private static final String LOWER_INNER = "lower meta.inner_lr, or set meta.inner_clip";

    private final TrainConfig config;
    private final Held held = new Held();
    private final Ops ops;
    private final LoraAdapter shared;
    private final EpisodeSampler episodes;
    private final AdapterSlots slots;
    private final GradientPass pass;
    private final long scratchBytes;
    private final InnerLoop inner;
    private final SharedOptimizer optimizer;
    private final Tensor taskWeights;
    private final Tensor gradient;
    private final Tensor gram;
    private final double[][] supportLoss;
    private final double[] adaptedLoss;
    private final double[] queryLoss;
    private final double[] gramOnHost;

    /**
     * Prepares training on the model; holds buffers on its device until closed.
     *
     * @param shared the adapter to train, changed in place; stays the caller's
     * @param tasks  to draw from
     * @param config its sections meta, optimizer and compute, and its seed
     * @throws InputException if there are fewer tasks than a meta-batch needs, or a task has too few samples
     */
    public MetaLora(CausalLM model, LoraAdapter shared, List<EncodedTask> tasks, TrainConfig config) {
        this(model, shared, tasks, config, () -> false);
    }

    /** As above; {@code stop} is asked before every pass and ends the iteration when true. */
    public MetaLora(CausalLM model, LoraAdapter shared, List<EncodedTask> tasks, TrainConfig config, BooleanSupplier stop) {
        TrainConfig.Meta meta = config.meta();
        int n = meta.tasksPerIteration();
        PassLimits limits = limits(tasks, config);
        this.config = config;
        this.shared = shared;
        this.episodes = episodes(tasks, config);
        this.supportLoss = new double[meta.innerSteps()][n];
        this.adaptedLoss = new double[n];
        this.queryLoss = new double[n];
        this.gramOnHost = new double[n * n];
        Device device = model.device();
        this.ops = device.ops();
        long parameters = shared.layout().parameters();
        this.slots = held.add(() -> new AdapterSlots(device, shared.layout(), n, true), AdapterSlots::close);
        this.pass = held.add(() -> new GradientPass(model, shared.layout(), limits, stop), GradientPass::close);
        this.inner = held.add(() -> new InnerLoop(device, slots, meta), InnerLoop::close);
        this.optimizer = held.add(
                () -> new SharedOptimizer(device, shared.parameters(), config.optimizer(), meta.iterations()), SharedOptimizer::close);
        this.taskWeights = held.add(() -> device.zeros(DType.F32, n), Tensor::close);
        this.gradient = held.add(() -> device.zeros(DType.F32, parameters), Tensor::close);
        this.gram = held.add(() -> device.zeros(DType.F64, n, n), Tensor::close);
        this.scratchBytes = held.orClose(this::prepare);
    }

    /**
     * The draws of a run.
     *
     * @throws InputException if there are fewer tasks than a meta-batch needs, or a task has too few samples
     */
    static EpisodeSampler episodes(List<EncodedTask> tasks, TrainConfig config) {
        TrainConfig.Meta meta = config.meta();
        requireEnough(tasks, meta);
        return new EpisodeSampler(tasks, TaskSampler.uniform(tasks.size(), meta.tasksPerIteration(), config.seed()),
                meta.innerSteps() == 0 ? 0 : meta.supportSize(), meta.querySize(), config.seed());
    }

    private static void requireEnough(List<EncodedTask> tasks, TrainConfig.Meta meta) {
        if (tasks.size() < meta.tasksPerIteration()) {
            throw new InputException("meta.tasks_per_iteration is " + meta.tasksPerIteration() + ", but there are only " + tasks.size()
                    + " tasks; lower it or add tasks");
        }
    }

    private long prepare() {
        float[] weights = new float[slots.slots()];
        Arrays.fill(weights, 1f / weights.length);
        taskWeights.upload(weights);
        return pass.plan(slots, () -> {
            inner.planned(shared.parameters());
            reduce();
            optimizer.queue(gradient);
        });
    }

    /** The mean of the tasks' gradients, and their Gram matrix. */
    private void reduce() {
        long count = gradient.elements();
        ops.taskReduce(slots.gradients(), taskWeights, gradient, gram, count, count, slots.slots());
    }

    /**
     * Of a pass, for any episodes that can be drawn from the tasks.
     *
     * @throws InputException if there are fewer tasks than a meta-batch needs, or an example is longer than a pass
     */
    static PassLimits limits(List<EncodedTask> tasks, TrainConfig config) {
        TrainConfig.Meta meta = config.meta();
        requireEnough(tasks, meta);
        return PackBuilder.limits(meta.tasksPerIteration(), Math.max(meta.supportSize(), meta.querySize()), EncodedTask.longest(tasks),
                config.compute().tokenBudget());
    }

    @Override
    public long total() {
        return config.meta().iterations();
    }

    @Override
    public long scratchBytes() {
        return scratchBytes;
    }

    /** Passes that were replayed; see {@link io.metalora.model.ModelPass#replayed}. */
    long replayed() {
        return pass.replayed();
    }

    @Override
    public long done() {
        return optimizer.step();
    }

    @Override
    public TrainerState state() {
        return optimizer.snapshot();
    }

    @Override
    public void restore(TrainerState state) {
        optimizer.restore(state);
    }

    @Override
    public IterationReport iterate() {
        return iterate(episodes.draw(done()));
    }

    /**
     * An iteration on given episodes.
     *
     * @param batch one episode a slot; exactly {@code meta.tasks_per_iteration} of them
     */
    public IterationReport iterate(List<Episode> batch) {
        if (batch.size() != slots.slots()) {
            throw new IllegalArgumentException(batch.size() + " episodes for " + slots.slots() + " slots");
        }
        return pass.whole(() -> run(batch));
    }

    private IterationReport run(List<Episode> batch) {
        long begin = System.nanoTime();
        long iteration = done();
        int k = config.meta().innerSteps();
        long dropoutSeed = new CounterRandom(config.seed(), CounterRandom.Purpose.DROPOUT, iteration).nextLong();

        var support = k == 0 ? List.<List<EncodedExample>>of() : batch.stream().map(Episode::supportExamples).toList();
        inner.adapt(shared.parameters(), support, k, pass, dropoutSeed, supportLoss);
        int every = config.meta().supportAfterEvery();
        boolean measure = k > 0 && every > 0 && iteration % every == 0;
        if (measure) {
            pass.forward(support, slots, adaptedLoss);
        }

        slots.zeroGradients();
        pass.backward(batch.stream().map(Episode::queryExamples).toList(), slots, dropoutSeed + k, queryLoss);
        reduce();
        double lr = optimizer.learningRate();
        optimizer.queue(gradient);
        // All is queued: only now the host waits. A loss that is not finite gives a gradient that is not, which changed nothing.
        pass.settle();
        if (iteration == 0) {
            pass.requireFiniteBeginning(k == 0 ? queryLoss : supportLoss[0]);
        }
        for (int step = 0; step < k; step++) {
            requireFinite(supportLoss[step], batch, iteration, "support loss after " + step + " inner steps",
                    step == 0 ? "lower optimizer.lr" : LOWER_INNER);
        }
        requireFinite(queryLoss, batch, iteration, "query loss", k == 0 ? "lower optimizer.lr" : LOWER_INNER + ", or lower optimizer.lr");
        gram.download(gramOnHost);
        double norm = optimizer.settle();
        double seconds = (System.nanoTime() - begin) * 1e-9;
        return report(batch, lr, norm, measure, seconds);
    }

    private static void requireFinite(double[] losses, List<Episode> batch, long iteration, String what, String help) {
        for (int i = 0; i < losses.length; i++) {
            if (!Double.isFinite(losses[i])) {
                throw new TrainingDivergedException("iteration " + (iteration + 1) + ", task " + batch.get(i).task().name()
                        + ": the " + what + " is " + losses[i] + "; " + help);
            }
        }
    }

    private IterationReport report(List<Episode> batch, double lr, double norm, boolean measured, double seconds) {
        int n = batch.size();
        var tasks = new ArrayList<IterationReport.TaskReport>(n);
        var draws = new ArrayList<IterationReport.Draw>(n);
        double[][] cosines = new double[n][n];
        for (int i = 0; i < n; i++) {
            int slot = i;
            Episode episode = batch.get(i);
            tasks.add(new IterationReport.TaskReport(episode.task().name(),
                    Arrays.stream(supportLoss).mapToDouble(losses -> losses[slot]).toArray(),
                    measured && Double.isFinite(adaptedLoss[i]) ? OptionalDouble.of(adaptedLoss[i]) : OptionalDouble.empty(),
                    queryLoss[i], Math.sqrt(gramOnHost[i * n + i])));
            draws.add(new IterationReport.Draw(episode.task().name(), episode.supportLines(), episode.queryLines()));
            for (int j = 0; j < n; j++) {
                double norms = Math.sqrt(gramOnHost[i * n + i] * gramOnHost[j * n + j]);
                cosines[i][j] = norms == 0 ? 0 : gramOnHost[i * n + j] / norms;
            }
        }
        double loss = Arrays.stream(queryLoss).average().orElseThrow();
        return new IterationReport(done(), lr, loss, norm, pass.takeTokens(), seconds, tasks, cosines, draws);
    }

    @Override
    public void close() {
        held.close();
    }
}

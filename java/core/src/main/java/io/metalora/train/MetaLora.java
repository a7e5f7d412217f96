package io.metalora.train;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.CompositionRule;
import io.metalora.config.TrainConfig;
import io.metalora.model.CausalLM;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PassLimits;
import io.metalora.random.CounterRandom;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.task.Composition;
import io.metalora.task.EncodedTask;
import io.metalora.task.Episode;
import io.metalora.task.EpisodeSampler;
import io.metalora.task.EpisodeSource;
import io.metalora.task.GradientComposition;
import io.metalora.task.LossComposition;
import io.metalora.task.SizeComposition;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.function.BooleanSupplier;

/**
 * MeTA-LoRA (arXiv 2510.11598). One iteration:
 * <ol>
 * <li>n tasks are drawn, from each a support set S_i and a query set Q_i, disjoint;
 * <li>stage 1: theta_i &lt;- theta, then k inner steps on S_i ({@link InnerLoop});
 * <li>stage 2: g_i = gradient of the loss on Q_i at theta_i, or what {@link io.metalora.config.OuterDirection} says; theta takes one
 *     AdamW step along sum_i w_i g_i, by default their mean ({@link Aggregation}).
 * </ol>
 * The tasks' sequences are packed together and every task has its own adapter slot, so that one pass over the frozen
 * weights serves all of them. With k = 0 this is multi-task LoRA on the query sets, every task weighing the same.
 */
public final class MetaLora implements Trainer {

    private final TrainConfig config;
    private final Held held = new Held();
    private final LoraAdapter shared;
    private final EpisodeSource episodes;
    private final EpisodeGradients gradients;
    private final GradientReduction reduction;
    private final SharedOptimizer optimizer;
    private final long scratchBytes;

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
        this(model, shared, tasks, config, stop, episodes(tasks, config), Aggregation.of(config));
    }

    /** As above, on episodes from elsewhere, of as many tasks and no more samples than the config says. */
    public MetaLora(CausalLM model, LoraAdapter shared, List<EncodedTask> tasks, TrainConfig config, EpisodeSource episodes, BooleanSupplier stop) {
        this(model, shared, tasks, config, stop, episodes, Aggregation.of(config));
    }

    MetaLora(CausalLM model, LoraAdapter shared, List<EncodedTask> tasks, TrainConfig config, BooleanSupplier stop, EpisodeSource episodes,
             Aggregation aggregation) {
        PassLimits limits = limits(tasks, config);
        this.config = config;
        this.shared = shared;
        this.episodes = episodes;
        var plan = new BufferPlan(model.device());
        var buffers = Buffers.in(plan, shared.layout(), shared.parameters(), limits, config, aggregation);
        held.add(plan::allocate, BufferPlan::close);
        this.gradients = held.add(
                () -> new EpisodeGradients(model, shared, limits, buffers.episodes(), config.meta(), stop), EpisodeGradients::close);
        this.reduction = buffers.reduction();
        this.optimizer = buffers.optimizer();
        this.scratchBytes = held.orClose(() -> gradients.plan(() -> queueStep(new int[config.meta().tasksPerIteration()])));
    }

    /** What training holds beside the shared adapter and the buffers of a pass. */
    private record Buffers(EpisodeGradients.Buffers episodes, GradientReduction reduction, SharedOptimizer optimizer) {

        static Buffers in(
                BufferPlan plan, AdapterLayout layout, Tensor shared, PassLimits limits, TrainConfig config, Aggregation aggregation) {
            var episodes = EpisodeGradients.Buffers.in(plan, layout, limits, config.meta());
            return new Buffers(episodes, new GradientReduction(plan, episodes.slots(), aggregation),
                    new SharedOptimizer(plan, shared, config.optimizer(), config.meta().iterations()));
        }
    }

    /** Lays out, in a plan that is not allocated, all that training holds beside the buffers of a pass; returns the limits of that. */
    static PassLimits plan(BufferPlan plan, AdapterLayout layout, List<EncodedTask> tasks, TrainConfig config) {
        PassLimits limits = limits(tasks, config);
        Buffers.in(plan, layout, plan.floats(layout.parameters()), limits, config, Aggregation.of(config));
        return limits;
    }

    /** @throws InputException if there are fewer tasks than a meta-batch needs, or a task has too few samples */
    public static void requireEnough(List<EncodedTask> tasks, TrainConfig config) {
        episodes(tasks, config);
    }

    /** @throws InputException if a module that is given an inner rate is none of the adapter's */
    public static void requireModules(AdapterLayout layout, TrainConfig config) {
        InnerRates.of(layout, config.meta());
    }

    /** @throws InputException if the device's products are too coarse for the config's direction of stage 2 */
    public static void requireArithmetic(TrainConfig config, Device device) {
        EpisodeGradients.requireArithmetic(config.meta().outer(), device);
    }

    /**
     * The draws of a run.
     *
     * @throws InputException if there are fewer tasks than a meta-batch needs, or a task has too few samples
     */
    private static EpisodeSampler episodes(List<EncodedTask> tasks, TrainConfig config) {
        TrainConfig.Meta meta = config.meta();
        requireEnough(tasks, meta);
        return new EpisodeSampler(tasks, composition(tasks, config),
                meta.innerSteps() == 0 ? 0 : meta.supportSize(), meta.querySize(), config.seed());
    }

    private static Composition composition(List<EncodedTask> tasks, TrainConfig config) {
        TrainConfig.Meta meta = config.meta();
        int n = tasks.size();
        int count = meta.tasksPerIteration();
        double temperature = meta.compositionTemperature();
        if (meta.composition() != CompositionRule.UNIFORM && count == n) {
            throw new InputException("meta.composition chooses among tasks, but meta.tasks_per_iteration takes all " + n + " of them; lower it, or use "
                    + "uniform");
        }
        return switch (meta.composition()) {
            case UNIFORM -> Composition.uniform(n, count, config.seed());
            case SIZE -> new SizeComposition(tasks.stream().mapToInt(task -> task.examples().size()).toArray(), count, temperature, config.seed());
            case LOSS -> new LossComposition(n, count, temperature, config.seed());
            case AGREE, COVER -> {
                if (n > GradientComposition.MOST_TASKS) {
                    throw new InputException("meta.composition agree and cover take at most " + GradientComposition.MOST_TASKS + " tasks, and there are "
                            + n + "; choose another composition, or fewer tasks with data.names");
                }
                yield new GradientComposition(n, count, meta.composition() == CompositionRule.AGREE, temperature, config.seed());
            }
        };
    }

    private static void requireEnough(List<EncodedTask> tasks, TrainConfig.Meta meta) {
        if (tasks.size() < meta.tasksPerIteration()) {
            throw new InputException("meta.tasks_per_iteration is " + meta.tasksPerIteration() + ", but there are only " + tasks.size()
                    + " tasks; lower it or add tasks");
        }
    }

    /** Stage 2 after the gradients: one of all tasks, of so many samples each, and the step along it. */
    private void queueStep(int[] samples) {
        reduction.queue(done(), samples);
        optimizer.queue(reduction.gradient());
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

    /** Passes that were replayed; see {@link io.metalora.model.pass.Pass#replayed}. */
    long replayed() {
        return gradients.replayed();
    }

    @Override
    public long done() {
        return optimizer.step();
    }

    @Override
    public TrainerState state() {
        LearnedRates learned = gradients.learned();
        return optimizer.snapshot(episodes.state(), learned == null ? new float[0] : learned.state());
    }

    @Override
    public void restore(TrainerState state) {
        episodes.restore(state.composition());
        optimizer.restore(state);
        if (gradients.learned() != null) {
            gradients.learned().restore(state.innerRates());
        }
    }

    @Override
    public void conclude() {
        optimizer.conclude();
    }

    /** The inner rates that were learned, by the paths of the Linears; empty where they are constant. */
    public Map<String, Float> learnedRates() {
        return gradients.learned() == null ? Map.of() : gradients.learned().byPath();
    }

    @Override
    public IterationReport iterate() {
        IterationReport report = iterate(episodes.draw(done()));
        episodes.observe(report.tasks().stream().mapToDouble(IterationReport.TaskReport::queryLoss).toArray(), report.gram().cosines());
        return report;
    }

    /**
     * An iteration on given episodes.
     *
     * @param batch one episode per slot; exactly {@code meta.tasks_per_iteration} of them
     */
    public IterationReport iterate(List<Episode> batch) {
        return gradients.whole(() -> run(batch));
    }

    private IterationReport run(List<Episode> batch) {
        long begin = System.nanoTime();
        boolean measure = measures();
        gradients.queue(batch, measure, dropoutSeed());
        double lr = optimizer.learningRate();
        queueStep(batch.stream().mapToInt(episode -> episode.task().examples().size()).toArray());
        // All is queued: only now the host waits. A loss that is not finite gives a gradient that is not, which changed nothing.
        gradients.await(batch, done() + 1);
        double[] gram = reduction.awaitGram();
        double norm = optimizer.await();
        Map<String, Float> rates = learnedRates();
        if (gradients.learned() != null) {
            gradients.learned().learn(reduction.weights(), done());
        }
        double seconds = (System.nanoTime() - begin) * 1e-9;
        return report(batch, gram, lr, rates, norm, measure, seconds);
    }

    /** Whether the next iteration measures the support losses after stage 1. */
    private boolean measures() {
        int every = config.meta().supportAfterEvery();
        return config.meta().innerSteps() > 0 && every > 0 && done() % every == 0;
    }

    private long dropoutSeed() {
        return new CounterRandom(config.seed(), CounterRandom.Purpose.DROPOUT, done()).nextLong();
    }

    /**
     * The first half of an iteration: stage 1, and the gradient of each task's query loss at its adapted parameters. The shared
     * adapter and the count of iterations stay.
     *
     * @param batch one episode per slot; exactly {@code meta.tasks_per_iteration} of them
     * @return F32 [n, P], one row per task's gradient, in the order of the batch; stays this object's, until the next call
     * @throws TrainingDivergedException if a loss is not finite
     */
    public Tensor gradients(List<Episode> batch) {
        return gradients.whole(() -> {
            gradients.queue(batch, false, dropoutSeed());
            gradients.await(batch, done() + 1);
            gradients.takeTokens(); // of no iteration that is reported
            return gradients.slots().gradients();
        });
    }

    /**
     * The second half: one step of the shared adapter along a gradient, which may come from elsewhere. Inner rates that are
     * learned stay as they are.
     *
     * @param gradient F32 [P], of the query losses; clipped in place
     * @return its norm before clipping
     * @throws TrainingDivergedException if it, or what the step would give, is not finite; the step then was none
     */
    public double apply(Tensor gradient) {
        optimizer.queue(gradient);
        return optimizer.await();
    }

    private IterationReport report(List<Episode> batch, double[] products, double lr, Map<String, Float> rates, double norm,
            boolean measured, double seconds) {
        int n = batch.size();
        var tasks = new ArrayList<IterationReport.TaskReport>(n);
        var draws = new ArrayList<IterationReport.Draw>(n);
        var gram = new Gram(products, n);
        double[] adaptedLoss = gradients.adaptedLoss();
        double[] queryLoss = gradients.queryLoss();
        for (int i = 0; i < n; i++) {
            int slot = i;
            Episode episode = batch.get(i);
            tasks.add(new IterationReport.TaskReport(episode.task().name(),
                    Arrays.stream(gradients.supportLoss()).map(losses -> losses[slot]).toList(),
                    measured && Double.isFinite(adaptedLoss[i]) ? OptionalDouble.of(adaptedLoss[i]) : OptionalDouble.empty(),
                    queryLoss[i], gram.norm(i)));
            draws.add(new IterationReport.Draw(episode.task().name(), episode.supportLines(), episode.queryLines(),
                    episode.probability()));
        }
        double loss = Arrays.stream(queryLoss).average().orElseThrow();
        return new IterationReport(done(), lr, loss, norm, gradients.takeTokens(), seconds, tasks, gram, draws, rates);
    }

    @Override
    public void close() {
        held.close();
    }
}

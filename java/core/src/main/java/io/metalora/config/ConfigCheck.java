package io.metalora.config;

import io.metalora.adapter.AdapterKind;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.MixtureLayout;
import io.metalora.file.Shown;
import io.metalora.model.WeightStorage;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.function.UnaryOperator;

/** The ranges of the config's values. */
final class ConfigCheck {

    /** A value out of its range. */
    static final class Refusal extends InputException {

        private static final long serialVersionUID = 1;

        private final String key;
        private final String reason;

        Refusal(String key, String reason) {
            super("config: " + reason);
            this.key = key;
            this.reason = reason;
        }

        /** The same with where the key was set. */
        InputException at(UnaryOperator<String> place) {
            return new InputException(place.apply(key) + ": " + reason, this);
        }
    }

    /** Of a pass; counts of rows and their sums then stay ints. */
    private static final int MOST_TOKENS = 1 << 24;
    /** Far more than a method of few steps needs, and few enough for a record of each task's loss at each step. */
    private static final int MOST_INNER_STEPS = 10_000;

    /** Of the rules that depend on the gradients: their cost on the host grows with the third power of the tasks. */
    private static final int MOST_AGGREGATED = 256;

    /** Why what adapts may not be the router. */
    static final String NO_ROUTER = "adapters of adapter.kind: lora have no router; use all or b, or set adapter.kind: mixture";

    private ConfigCheck() {
    }

    /** @throws Refusal that names the first key whose value is out of range */
    static void check(TrainConfig config) {
        var adapter = config.adapter();
        require(adapter.rank() >= 1 && adapter.rank() <= 4096, "adapter.rank", adapter.rank(), "must be between 1 and 4096");
        int mostHeads = MixtureLayout.MAX_COLUMNS / adapter.rank();
        require(adapter.heads() >= 1 && adapter.heads() <= mostHeads, "adapter.heads", adapter.heads(),
                "must be between 1 and " + mostHeads + " with adapter.rank " + adapter.rank());
        require(adapter.alpha() > 0 && Float.isFinite(adapter.alpha()), "adapter.alpha", adapter.alpha(), "must be above 0");
        require(adapter.dropout() >= 0 && adapter.dropout() < 1, "adapter.dropout", adapter.dropout(),
                "must be at least 0 and below 1");
        require(adapter.lora().scale() >= Float.MIN_NORMAL, "adapter.alpha", adapter.alpha(),
                "divided by adapter.rank it must be at least 1.2e-38");
        require(adapter.kind() == AdapterKind.LORA || config.method() != Method.ASYMMETRIC_LORA, "adapter.kind", "mixture",
                "method asymmetric-lora has a B of each task in place of a router; leave it lora, or take another method");
        require(config.data().samplesPerTask() >= 0, "data.samples_per_task", config.data().samplesPerTask(),
                "must be at least 0 (0 = all)");
        require(config.data().maxLength() >= 0, "data.max_length", config.data().maxLength(), "must be at least 0 (0 = the model's context)");
        requireShare("data.split.dev", config.data().split().dev());
        requireShare("data.split.test", config.data().split().test());
        require(config.data().split().dev() + config.data().split().test() < 1, "data.split.test", config.data().split().test(),
                "together with data.split.dev it must be below 1, to leave something to train on");

        if (config.data().columns().contradictory()) {
            throw new Refusal("data.columns", "data.columns names columns of several forms; name those of one: prompt and completion, or messages, "
                    + "or instruction, input and output");
        }

        var names = new HashSet<String>();
        for (String name : config.data().names()) {
            if (!names.add(name)) {
                throw new Refusal("data.names", "data.names holds " + Shown.quoted(name) + " twice");
            }
        }

        var meta = config.meta();
        require(meta.iterations() >= 1, "meta.iterations", meta.iterations(), "must be at least 1");
        require(meta.tasksPerIteration() >= 1 && meta.tasksPerIteration() <= TrainConfig.MOST_TASKS, "meta.tasks_per_iteration",
                meta.tasksPerIteration(), "must be between 1 and " + TrainConfig.MOST_TASKS);
        require(meta.innerSteps() >= 0 && meta.innerSteps() <= MOST_INNER_STEPS, "meta.inner_steps", meta.innerSteps(),
                "must be between 0 and " + MOST_INNER_STEPS);
        int leastSupport = meta.innerSteps() == 0 ? 0 : 1;
        require(meta.supportSize() >= leastSupport, "meta.support_size", meta.supportSize(),
                "must be at least " + leastSupport + " with " + meta.innerSteps() + " inner steps");
        require(meta.querySize() >= 1, "meta.query_size", meta.querySize(), "must be at least 1");
        nonNegative("meta.inner_lr", meta.innerLr());
        nonNegative("meta.inner_clip", meta.innerClip());
        stageOne(meta);
        require(meta.adapts().isOf(adapter.kind()), "meta.adapts", meta.adapts(), NO_ROUTER);
        require(meta.outer() == OuterDirection.FIRST_ORDER || meta.innerSteps() > 0, "meta.outer", meta.outer().name().toLowerCase(Locale.ROOT),
                "without inner steps there is only first-order");
        require(meta.outer() != OuterDirection.EXACT || meta.innerOptimizer() == InnerOptimizer.SGD && meta.innerClip() == 0, "meta.outer", "exact",
                "takes meta.inner_optimizer: sgd and meta.inner_clip: 0, through which it is known");
        require(!(meta.composition() == CompositionRule.AGREE || meta.composition() == CompositionRule.COVER) || meta.tasksPerIteration() >= 2,
                "meta.composition", meta.composition().name().toLowerCase(Locale.ROOT), "takes two tasks or more, and meta.tasks_per_iteration is "
                        + meta.tasksPerIteration());
        require(meta.aggregation() == AggregationRule.MEAN || meta.aggregation() == AggregationRule.WEIGHTED
                || meta.tasksPerIteration() <= MOST_AGGREGATED, "meta.aggregation", meta.aggregation().name().toLowerCase(Locale.ROOT),
                "is computed for at most " + MOST_AGGREGATED + " tasks, and meta.tasks_per_iteration is " + meta.tasksPerIteration());
        require(meta.compositionTemperature() >= 1e-3 && meta.compositionTemperature() <= 1e6, "meta.composition_temperature",
                meta.compositionTemperature(), "must be between 0.001 and 1000000");
        require(meta.cagradC() >= 0 && meta.cagradC() < 1, "meta.cagrad_c", meta.cagradC(), "must be at least 0 and below 1");
        require(meta.aggregation() == AggregationRule.MEAN || meta.tasksPerIteration() >= 2, "meta.aggregation",
                meta.aggregation().name().toLowerCase(Locale.ROOT), "takes two tasks or more, and meta.tasks_per_iteration is "
                        + meta.tasksPerIteration());
        require(meta.replay() == null || config.method() == Method.META_LORA, "meta.replay", meta.replay(), "draws are repeated by method meta-lora alone");
        require(meta.supportAfterEvery() >= 0, "meta.support_after_every", meta.supportAfterEvery(),
                "must be at least 0 (0 = never)");

        require(config.joint().epochs() >= 1, "joint.epochs", config.joint().epochs(), "must be at least 1");
        require(config.joint().batchSize() >= 1, "joint.batch_size", config.joint().batchSize(), "must be at least 1");

        var optimizer = config.optimizer();
        nonNegative("optimizer.lr", optimizer.lr());
        decay("optimizer.beta1", optimizer.beta1());
        decay("optimizer.beta2", optimizer.beta2());
        require(Float.isFinite((float) (optimizer.lr() / (1 - (float) optimizer.beta1()))), "optimizer.lr", optimizer.lr(),
                "divided by 1 - optimizer.beta1, which is the first step, it must be at most 3.4e38");
        require(optimizer.eps() > 0 && optimizer.eps() <= 1, "optimizer.eps", optimizer.eps(),
                "must be above 0 and at most 1: larger ones leave nothing of a step");
        nonNegative("optimizer.weight_decay", optimizer.weightDecay());
        nonNegative("optimizer.clip", optimizer.clip());
        require(optimizer.warmupSteps() >= 0, "optimizer.warmup_steps", optimizer.warmupSteps(), "must be at least 0");
        require(optimizer.warmupRatio() >= 0 && optimizer.warmupRatio() <= 1, "optimizer.warmup_ratio",
                optimizer.warmupRatio(), "must be between 0 and 1");
        decay("optimizer.ema", optimizer.ema());
        require(optimizer.ema() == 0 || config.method() != Method.SEPARATE_LORA, "optimizer.ema", optimizer.ema(),
                "an average is kept of one shared adapter, which method separate-lora has not; leave it 0");
        require(optimizer.warmupSteps() == 0 || optimizer.warmupRatio() == 0, "optimizer.warmup_ratio",
                optimizer.warmupRatio(), "can't be set together with optimizer.warmup_steps; leave one of them 0");

        var compute = config.compute();
        require(compute.threads() >= 0 && compute.threads() <= DeviceOptions.MAX_THREADS, "compute.threads", compute.threads(),
                "must be between 0 (all cores) and " + DeviceOptions.MAX_THREADS);
        require(compute.arithmetic() == Arithmetic.FP32 || compute.weights() != WeightStorage.F32, "compute.weights", "f32",
                "can't be together with compute.arithmetic bf16, which multiplies by weights held in bf16; leave it auto");
        require(compute.tokenBudget() == 0 || compute.tokenBudget() >= 2 && compute.tokenBudget() <= MOST_TOKENS,
                "compute.token_budget", compute.tokenBudget(), "must be between 2 and " + MOST_TOKENS + ", or 0 to choose it");
        require(compute.checkpointEvery() >= 1, "compute.checkpoint_every", compute.checkpointEvery(), "must be at least 1");
    }

    /** What it adapts, and at which rates. */
    private static void stageOne(TrainConfig.Meta meta) {
        AdapterPart part = meta.adapts();
        boolean steps = meta.innerSteps() > 0;
        require(steps || part == AdapterPart.ALL, "meta.adapts", part,
                "without inner steps nothing is adapted; leave it all, or set meta.inner_steps");
        require(meta.outer() == OuterDirection.FIRST_ORDER || part == AdapterPart.ALL, "meta.adapts", part,
                "takes meta.outer: first-order: reptile would never move the rest of the adapter, and exact goes through steps "
                        + "on all of it");
        List<ModuleRate> modules;
        try {
            modules = meta.moduleRates();
        } catch (InputException e) {
            throw new Refusal("meta.inner_rates", "meta.inner_rates " + e.getMessage());
        }
        require(steps || modules.isEmpty(), "meta.inner_rates", meta.innerRates(),
                "without inner steps there are no rates; leave it [], or set meta.inner_steps");
        require(meta.outer() != OuterDirection.EXACT || modules.isEmpty(), "meta.inner_rates", meta.innerRates(),
                "meta.outer: exact takes one rate for all");
        var named = new HashSet<String>();
        modules.forEach(module -> require(named.add(module.module()), "meta.inner_rates", meta.innerRates(),
                "names " + Shown.quoted(module.module()) + " twice"));
        require(meta.innerRateLr() >= 0 && meta.innerRateLr() <= 1, "meta.inner_rate_lr", meta.innerRateLr(),
                "must be between 0 (not learned) and 1");
        require(meta.innerRateLr() == 0 || steps && meta.outer() == OuterDirection.FIRST_ORDER, "meta.inner_rate_lr",
                meta.innerRateLr(), "inner rates are learned with meta.inner_steps of 1 or more and meta.outer: first-order");
        require(meta.innerRateLr() == 0 || meta.innerLr() > 0 || modules.stream().anyMatch(module -> module.rate() > 0),
                "meta.inner_rate_lr", meta.innerRateLr(),
                "what is learned are factors of the inner rates, and those are 0; set meta.inner_lr to where they begin");
    }

    private static void nonNegative(String key, double value) {
        require(value >= 0 && Double.isFinite(value), key, value, "must be at least 0 and finite");
    }

    /** Also as a float: 0.99999999 rounds to 1. */
    private static void decay(String key, double value) {
        require(value >= 0 && (float) value < 1, key, value, "must be at least 0 and below 1, as a 32-bit float too");
    }

    private static void requireShare(String key, double share) {
        require(share >= 0 && share < 1, key, share, "must be at least 0 and below 1");
    }

    private static void require(boolean holds, String key, Object value, String what) {
        if (!holds) {
            throw new Refusal(key, key + " is " + value + ", but " + what);
        }
    }
}

package io.metalora.config;

import io.metalora.adapter.AdapterKind;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.TargetModules;
import io.metalora.model.WeightStorage;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.Backend;
import io.metalora.runtime.InputException;
import io.metalora.runtime.InstructionSet;
import io.metalora.task.Columns;
import io.metalora.task.ContentSplit;
import io.metalora.task.OverLength;
import java.nio.file.Path;
import java.util.List;
import java.util.function.UnaryOperator;

/**
 * Changes settings of a configuration by name: {@code TrainConfig.builder().adapter(a -> a.rank(4)).meta(m ->
 * m.innerSteps(2)).build()}. What they mean is documented where they are read, such as at {@link TrainConfig.Meta#innerSteps()}.
 */
public final class TrainConfigBuilder {

    private Method method;
    private Path model;
    private Path output;
    private long seed;
    private TrainConfig.Adapter adapter;
    private TrainConfig.Data data;
    private TrainConfig.Meta meta;
    private TrainConfig.Joint joint;
    private TrainConfig.Optimizer optimizer;
    private TrainConfig.Compute compute;

    TrainConfigBuilder(TrainConfig from) {
        this.method = from.method();
        this.model = from.model();
        this.output = from.output();
        this.seed = from.seed();
        this.adapter = from.adapter();
        this.data = from.data();
        this.meta = from.meta();
        this.joint = from.joint();
        this.optimizer = from.optimizer();
        this.compute = from.compute();
    }

    public TrainConfigBuilder method(Method method) {
        this.method = method;
        return this;
    }

    public TrainConfigBuilder model(Path model) {
        this.model = model;
        return this;
    }

    public TrainConfigBuilder output(Path output) {
        this.output = output;
        return this;
    }

    public TrainConfigBuilder seed(long seed) {
        this.seed = seed;
        return this;
    }

    public TrainConfigBuilder adapter(UnaryOperator<Adapter> settings) {
        adapter = settings.apply(new Adapter(adapter)).build();
        return this;
    }

    public TrainConfigBuilder data(UnaryOperator<Data> settings) {
        data = settings.apply(new Data(data)).build();
        return this;
    }

    public TrainConfigBuilder meta(UnaryOperator<Meta> settings) {
        meta = settings.apply(new Meta(meta)).build();
        return this;
    }

    public TrainConfigBuilder joint(UnaryOperator<Joint> settings) {
        joint = settings.apply(new Joint(joint)).build();
        return this;
    }

    public TrainConfigBuilder optimizer(UnaryOperator<Optimizer> settings) {
        optimizer = settings.apply(new Optimizer(optimizer)).build();
        return this;
    }

    public TrainConfigBuilder compute(UnaryOperator<Compute> settings) {
        compute = settings.apply(new Compute(compute)).build();
        return this;
    }

    /** @throws InputException that names the first setting that is out of its range */
    public TrainConfig build() {
        return new TrainConfig(method, model, output, seed, adapter, data, meta, joint, optimizer, compute);
    }

    /** The section {@link TrainConfig.Adapter}. */
    public static final class Adapter {

        private AdapterKind kind;
        private int rank;
        private int heads;
        private float alpha;
        private boolean rslora;
        private float dropout;
        private TargetModules targetModules;
        private Path init;

        private Adapter(TrainConfig.Adapter from) {
            this.kind = from.kind();
            this.rank = from.rank();
            this.heads = from.heads();
            this.alpha = from.alpha();
            this.rslora = from.rslora();
            this.dropout = from.dropout();
            this.targetModules = from.targetModules();
            this.init = from.init();
        }

        public Adapter kind(AdapterKind kind) {
            this.kind = kind;
            return this;
        }

        public Adapter rank(int rank) {
            this.rank = rank;
            return this;
        }

        public Adapter heads(int heads) {
            this.heads = heads;
            return this;
        }

        public Adapter alpha(float alpha) {
            this.alpha = alpha;
            return this;
        }

        public Adapter rslora(boolean rslora) {
            this.rslora = rslora;
            return this;
        }

        public Adapter dropout(float dropout) {
            this.dropout = dropout;
            return this;
        }

        public Adapter targetModules(TargetModules targetModules) {
            this.targetModules = targetModules;
            return this;
        }

        public Adapter init(Path init) {
            this.init = init;
            return this;
        }

        private TrainConfig.Adapter build() {
            return new TrainConfig.Adapter(kind, rank, heads, alpha, rslora, dropout, targetModules, init);
        }
    }

    /** The section {@link TrainConfig.Data}. */
    public static final class Data {

        private Path folder;
        private List<String> names;
        private int samplesPerTask;
        private boolean appendEos;
        private int maxLength;
        private OverLength overLength;
        private ContentSplit split;
        private Columns columns;
        private boolean thinking;

        private Data(TrainConfig.Data from) {
            this.folder = from.folder();
            this.names = from.names();
            this.samplesPerTask = from.samplesPerTask();
            this.appendEos = from.appendEos();
            this.maxLength = from.maxLength();
            this.overLength = from.overLength();
            this.split = from.split();
            this.columns = from.columns();
            this.thinking = from.thinking();
        }

        public Data folder(Path folder) {
            this.folder = folder;
            return this;
        }

        public Data names(String... names) {
            this.names = List.of(names);
            return this;
        }

        public Data samplesPerTask(int samplesPerTask) {
            this.samplesPerTask = samplesPerTask;
            return this;
        }

        public Data appendEos(boolean appendEos) {
            this.appendEos = appendEos;
            return this;
        }

        public Data maxLength(int maxLength) {
            this.maxLength = maxLength;
            return this;
        }

        public Data overLength(OverLength overLength) {
            this.overLength = overLength;
            return this;
        }

        public Data split(ContentSplit split) {
            this.split = split;
            return this;
        }

        public Data columns(Columns columns) {
            this.columns = columns;
            return this;
        }

        public Data thinking(boolean thinking) {
            this.thinking = thinking;
            return this;
        }

        private TrainConfig.Data build() {
            return new TrainConfig.Data(folder, names, samplesPerTask, appendEos, maxLength, overLength, split, columns, thinking);
        }
    }

    /** The section {@link TrainConfig.Meta}. */
    public static final class Meta {

        private long iterations;
        private int tasksPerIteration;
        private int supportSize;
        private int querySize;
        private int innerSteps;
        private AdapterPart adapts;
        private InnerOptimizer innerOptimizer;
        private double innerLr;
        private List<String> innerRates;
        private double innerRateLr;
        private double innerClip;
        private OuterDirection outer;
        private CompositionRule composition;
        private double compositionTemperature;
        private AggregationRule aggregation;
        private double cagradC;
        private Path replay;
        private int supportAfterEvery;

        private Meta(TrainConfig.Meta from) {
            this.iterations = from.iterations();
            this.tasksPerIteration = from.tasksPerIteration();
            this.supportSize = from.supportSize();
            this.querySize = from.querySize();
            this.innerSteps = from.innerSteps();
            this.adapts = from.adapts();
            this.innerOptimizer = from.innerOptimizer();
            this.innerLr = from.innerLr();
            this.innerRates = from.innerRates();
            this.innerRateLr = from.innerRateLr();
            this.innerClip = from.innerClip();
            this.outer = from.outer();
            this.composition = from.composition();
            this.compositionTemperature = from.compositionTemperature();
            this.aggregation = from.aggregation();
            this.cagradC = from.cagradC();
            this.replay = from.replay();
            this.supportAfterEvery = from.supportAfterEvery();
        }

        public Meta iterations(long iterations) {
            this.iterations = iterations;
            return this;
        }

        public Meta tasksPerIteration(int tasksPerIteration) {
            this.tasksPerIteration = tasksPerIteration;
            return this;
        }

        public Meta supportSize(int supportSize) {
            this.supportSize = supportSize;
            return this;
        }

        public Meta querySize(int querySize) {
            this.querySize = querySize;
            return this;
        }

        public Meta innerSteps(int innerSteps) {
            this.innerSteps = innerSteps;
            return this;
        }

        public Meta adapts(AdapterPart adapts) {
            this.adapts = adapts;
            return this;
        }

        public Meta innerOptimizer(InnerOptimizer innerOptimizer) {
            this.innerOptimizer = innerOptimizer;
            return this;
        }

        public Meta innerLr(double innerLr) {
            this.innerLr = innerLr;
            return this;
        }

        public Meta innerRates(List<String> innerRates) {
            this.innerRates = innerRates;
            return this;
        }

        public Meta innerRateLr(double innerRateLr) {
            this.innerRateLr = innerRateLr;
            return this;
        }

        public Meta innerClip(double innerClip) {
            this.innerClip = innerClip;
            return this;
        }

        public Meta outer(OuterDirection outer) {
            this.outer = outer;
            return this;
        }

        public Meta composition(CompositionRule composition) {
            this.composition = composition;
            return this;
        }

        public Meta compositionTemperature(double compositionTemperature) {
            this.compositionTemperature = compositionTemperature;
            return this;
        }

        public Meta aggregation(AggregationRule aggregation) {
            this.aggregation = aggregation;
            return this;
        }

        public Meta cagradC(double cagradC) {
            this.cagradC = cagradC;
            return this;
        }

        public Meta replay(Path replay) {
            this.replay = replay;
            return this;
        }

        public Meta supportAfterEvery(int supportAfterEvery) {
            this.supportAfterEvery = supportAfterEvery;
            return this;
        }

        private TrainConfig.Meta build() {
            return new TrainConfig.Meta(iterations, tasksPerIteration, supportSize, querySize, innerSteps, adapts, innerOptimizer,
                    innerLr, innerRates, innerRateLr, innerClip, outer, composition, compositionTemperature, aggregation, cagradC,
                    replay, supportAfterEvery);
        }
    }

    /** The section {@link TrainConfig.Joint}. */
    public static final class Joint {

        private int epochs;
        private int batchSize;

        private Joint(TrainConfig.Joint from) {
            this.epochs = from.epochs();
            this.batchSize = from.batchSize();
        }

        public Joint epochs(int epochs) {
            this.epochs = epochs;
            return this;
        }

        public Joint batchSize(int batchSize) {
            this.batchSize = batchSize;
            return this;
        }

        private TrainConfig.Joint build() {
            return new TrainConfig.Joint(epochs, batchSize);
        }
    }

    /** The section {@link TrainConfig.Optimizer}. */
    public static final class Optimizer {

        private double lr;
        private double beta1;
        private double beta2;
        private double eps;
        private double weightDecay;
        private double clip;
        private Schedule schedule;
        private long warmupSteps;
        private double warmupRatio;
        private double ema;

        private Optimizer(TrainConfig.Optimizer from) {
            this.lr = from.lr();
            this.beta1 = from.beta1();
            this.beta2 = from.beta2();
            this.eps = from.eps();
            this.weightDecay = from.weightDecay();
            this.clip = from.clip();
            this.schedule = from.schedule();
            this.warmupSteps = from.warmupSteps();
            this.warmupRatio = from.warmupRatio();
            this.ema = from.ema();
        }

        public Optimizer lr(double lr) {
            this.lr = lr;
            return this;
        }

        public Optimizer beta1(double beta1) {
            this.beta1 = beta1;
            return this;
        }

        public Optimizer beta2(double beta2) {
            this.beta2 = beta2;
            return this;
        }

        public Optimizer eps(double eps) {
            this.eps = eps;
            return this;
        }

        public Optimizer weightDecay(double weightDecay) {
            this.weightDecay = weightDecay;
            return this;
        }

        public Optimizer clip(double clip) {
            this.clip = clip;
            return this;
        }

        public Optimizer schedule(Schedule schedule) {
            this.schedule = schedule;
            return this;
        }

        public Optimizer warmupSteps(long warmupSteps) {
            this.warmupSteps = warmupSteps;
            return this;
        }

        public Optimizer warmupRatio(double warmupRatio) {
            this.warmupRatio = warmupRatio;
            return this;
        }

        public Optimizer ema(double ema) {
            this.ema = ema;
            return this;
        }

        private TrainConfig.Optimizer build() {
            return new TrainConfig.Optimizer(lr, beta1, beta2, eps, weightDecay, clip, schedule, warmupSteps, warmupRatio, ema);
        }
    }

    /** The section {@link TrainConfig.Compute}. */
    public static final class Compute {

        private Backend backend;
        private int threads;
        private InstructionSet isa;
        private Arithmetic arithmetic;
        private WeightStorage weights;
        private int tokenBudget;
        private int checkpointEvery;

        private Compute(TrainConfig.Compute from) {
            this.backend = from.backend();
            this.threads = from.threads();
            this.isa = from.isa();
            this.arithmetic = from.arithmetic();
            this.weights = from.weights();
            this.tokenBudget = from.tokenBudget();
            this.checkpointEvery = from.checkpointEvery();
        }

        public Compute backend(Backend backend) {
            this.backend = backend;
            return this;
        }

        public Compute threads(int threads) {
            this.threads = threads;
            return this;
        }

        public Compute isa(InstructionSet isa) {
            this.isa = isa;
            return this;
        }

        public Compute arithmetic(Arithmetic arithmetic) {
            this.arithmetic = arithmetic;
            return this;
        }

        public Compute weights(WeightStorage weights) {
            this.weights = weights;
            return this;
        }

        public Compute tokenBudget(int tokenBudget) {
            this.tokenBudget = tokenBudget;
            return this;
        }

        public Compute checkpointEvery(int checkpointEvery) {
            this.checkpointEvery = checkpointEvery;
            return this;
        }

        private TrainConfig.Compute build() {
            return new TrainConfig.Compute(backend, threads, isa, arithmetic, weights, tokenBudget, checkpointEvery);
        }
    }
}

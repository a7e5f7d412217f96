package io.metalora.model;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.AdapterPart;
import io.metalora.adapter.MixtureLayout;
import io.metalora.bindings.NativeException;
import io.metalora.bindings.Status;
import io.metalora.io.ModelConfig;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.PackShape;
import io.metalora.model.pass.Pass;
import io.metalora.model.pass.PassLimits;
import io.metalora.model.pass.TokenPack;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AttentionShape;
import io.metalora.runtime.op.DeviceAccess;
import io.metalora.runtime.op.Ops;
import java.util.Arrays;
import java.util.stream.IntStream;

/** The {@link Pass} over a {@link CausalLM}. All buffers are allocated once, here; a pass allocates nothing. */
final class ModelPass implements Pass {
    private static final String HELP = "lower the token budget, or adapt fewer layers, or free memory";

    private final CausalLM model;
    private final PassLimits limits;
    private final Ops ops;
    private final BufferPlan buffers;
    private final AdapterLayout layout;
    private final LowRankTerms lora;
    private final PackTensors pack;
    private final LayerForward forward;
    private final LayerBackward backward; // null in evaluation
    private final LayerActivations[] layers;
    private final AttentionShape[] attention;
    private final Tensor logprobOnDevice;
    private final Tensor argmaxOnDevice;
    private final float[] logprob;
    private final int[] argmax;
    private boolean argmaxValid;
    private boolean planning;
    private final GraphCache<PassKey> graphs; // null: passes are run op by op
    private final TokenPack filledUp; // null likewise
    private final boolean[] ownRow; // of the last pack

    /** Passes with the same ops: of one shape, at the same adapters, with the same gradients. */
    private record PassKey(PackShape shape, AdapterSlots adapters, AdapterPart part) {}

    /**
     * @param layout   of the adapters the passes will use, which are for a model of this shape; null for the base model alone
     * @param training whether {@link #forwardBackward} will be called; it needs a layout
     */
    ModelPass(CausalLM model, PassLimits limits, AdapterLayout layout, boolean training) {
        var device = model.device();
        boolean replays = replays(device, layout, training);
        this.model = model;
        this.ops = Ops.of(device);
        this.layout = layout;
        this.limits = replays ? PackShape.room(limits) : limits;
        this.buffers = new BufferPlan(device);
        var planned = PassBuffers.in(buffers, model.shape(), this.limits, layout, training);
        estimate(buffers).requireFits(device, "A pass of " + limits.tokens() + " tokens",
                training ? HELP : "shorten the longest text, or free memory");
        this.pack = planned.pack();
        this.lora = planned.lora();
        this.layers = planned.layers();
        this.logprobOnDevice = planned.logprob();
        this.argmaxOnDevice = planned.argmax();
        this.attention = attentionShapes(model);
        int rows = this.limits.lossRows();
        this.logprob = new float[rows];
        this.argmax = new int[rows];
        this.ownRow = new boolean[rows];
        this.graphs = replays ? new GraphCache<>(ops -> DeviceAccess.get().record(device, ops)) : null;
        this.filledUp = replays ? new TokenPack(this.limits) : null;
        buffers.allocate();
        try {
            this.forward = new LayerForward(model, lora, planned.forward(), pack.positions());
            this.backward = training ? new LayerBackward(model, forward, planned.backward()) : null;
        } catch (RuntimeException | Error e) {
            buffers.closeAfter(e);
            throw e;
        }
    }

    /** Whether passes of one shape are recorded. With dropout every pass has a seed of its own, which would be recorded. */
    private static boolean replays(Device device, AdapterLayout layout, boolean training) {
        if (training && layout == null) {
            throw new IllegalArgumentException("training needs the layout of an adapter");
        }
        return training && DeviceAccess.get().canRecord(device) && layout.config().dropout() == 0;
    }

    static AttentionShape[] attentionShapes(CausalLM model) {
        var c = model.config();
        float scale = (float) (1 / Math.sqrt(c.headDim()));
        return IntStream.range(0, c.layers())
                .mapToObj(i -> new AttentionShape(c.heads(), c.kvHeads(), c.headDim(), c.window(i), scale))
                .toArray(AttentionShape[]::new);
    }

    /** What the buffers of such a pass take, on a model loaded with {@code options}. */
    static MemoryEstimate estimate(
            ModelConfig config, Device device, LoadOptions options, PassLimits limits, AdapterLayout layout, boolean training) {
        var plan = new BufferPlan(device);
        PassBuffers.in(plan, ModelShape.of(config, device, options), replays(device, layout, training) ? PackShape.room(limits) : limits,
                layout, training);
        return estimate(plan);
    }

    private static MemoryEstimate estimate(BufferPlan plan) {
        return new MemoryEstimate(0, plan.bytes(), 0);
    }

    @Override
    public void forward(TokenPack tokens, AdapterSlots adapters) {
        runForward(tokens, adapters);
        logprobOnDevice.download(logprob, pack.lossRows());
        argmaxOnDevice.download(argmax, pack.lossRows());
        argmaxValid = true;
    }

    @Override
    public void runForward(TokenPack tokens, AdapterSlots adapters) {
        begin(tokens, adapters);
        argmaxValid = false;
        opsForward();
    }

    /** Of the pack that was uploaded, without dropout. */
    private void opsForward() {
        if (lora != null) {
            lora.dropout(0f, 0, 0);
        }
        var hidden = layersForward(null);
        ops.crossEntropy(model.head(), hidden, pack.loss(), logprobOnDevice, argmaxOnDevice, null, pack.tokens());
    }

    /** As {@link #runForwardBackward} of all parts; the log-probability of every loss row is then in {@link #logprob}. */
    void forwardBackward(TokenPack tokens, AdapterSlots adapters, long dropoutSeed, long dropoutStream) {
        runForwardBackward(tokens, adapters, AdapterPart.ALL, dropoutSeed, dropoutStream);
        logprobOnDevice.download(logprob, pack.lossRows());
        for (int row = 0, to = 0; row < pack.lossRows(); row++) {
            if (ownRow[row]) {
                logprob[to++] = logprob[row];
            }
        }
    }

    @Override
    public void runForwardBackward(TokenPack tokens, AdapterSlots adapters, AdapterPart part, long dropoutSeed, long dropoutStream) {
        if (backward == null) {
            throw new IllegalStateException("this pass was made for evaluation");
        }
        adapters.gradients();
        requireFits(tokens, adapters);
        argmaxValid = false;
        if (graphs == null) {
            upload(tokens, adapters);
            lora.dropout(layout.config().dropout(), dropoutSeed, dropoutStream);
            lora.gradientsOf(part);
            opsForwardBackward();
            return;
        }
        pack.check(tokens);
        var shape = PackShape.bucketOf(tokens, limits.tokens(), model.config().maxPositions());
        filledUp.fillUp(tokens, shape, ownRow);
        pack.copy(filledUp);
        lora.bind(adapters, tokens.slots());
        lora.dropout(0f, 0, 0);
        lora.gradientsOf(part);
        graphs.run(new PassKey(shape, adapters, part), this::opsForwardBackward);
    }

    @Override
    public long plan(AdapterSlots adapters, Runnable work) {
        if (backward == null) {
            throw new IllegalStateException("this pass was made for evaluation");
        }
        adapters.gradients();
        pack.pretendFull();
        argmaxValid = false;
        lora.bind(adapters, adapters.slots());
        planning = true;
        try {
            return DeviceAccess.get().plan(model.device(), work);
        } catch (NativeException e) {
            if (e.status() != Status.OUT_OF_MEMORY) {
                throw e;
            }
            throw new InputException("A pass of " + limits.tokens() + " tokens has its buffers of " + MemoryEstimate.size(buffers.bytes())
                    + ", but the scratch memory of its ops does not fit beside them: " + e.getMessage() + "; " + HELP, e);
        } finally {
            planning = false;
        }
    }

    @Override
    public boolean isPlanning() {
        return planning;
    }

    @Override
    public void planForwardBackward(AdapterPart part) {
        lora.dropout(layout.config().dropout(), 0, 0);
        lora.gradientsOf(part);
        opsForwardBackward();
    }

    @Override
    public void planForward() {
        opsForward();
    }

    /** Of the pack that was uploaded. Nothing but ops is called: this may be recorded. */
    private void opsForwardBackward() {
        var hidden = layersForward(backward.rstdFinal());
        ops.crossEntropy(model.head(), hidden, pack.loss(), logprobOnDevice, null, backward.dFinal(), pack.tokens());
        backward.finalNorm(layers[layers.length - 1].out(), pack.tokens());
        int first = layout.firstAdaptedLayer();
        for (int i = layers.length - 1; i >= first; i--) {
            backward.layer(i, layers[i], pack, attention[i], i > first);
        }
    }

    @Override
    public void copyLogprob(Tensor to, long at) {
        for (int row = 0; row < pack.lossRows(); row++) {
            int first = row;
            while (row < pack.lossRows() && ownRow[row]) {
                row++;
            }
            if (row > first) {
                to.copyFrom(logprobOnDevice, first, at, row - first);
                at += row - first;
            }
        }
    }

    private void begin(TokenPack tokens, AdapterSlots adapters) {
        requireFits(tokens, adapters);
        upload(tokens, adapters);
    }

    private void requireFits(TokenPack tokens, AdapterSlots adapters) {
        if (tokens.tokens() == 0) {
            throw new IllegalArgumentException("the pack is empty");
        }
        if (adapters != null) {
            if (layout == null) {
                throw new IllegalArgumentException("this pass was made for the base model alone");
            }
            if (tokens.slots() > adapters.slots()) {
                throw new IllegalArgumentException(
                        "a pack of " + tokens.slots() + " slots with " + adapters.slots() + " adapter slots");
            }
        }
    }

    private void upload(TokenPack tokens, AdapterSlots adapters) {
        pack.upload(tokens);
        Arrays.fill(ownRow, 0, pack.lossRows(), true);
        if (lora != null) {
            lora.bind(adapters, tokens.slots());
        }
    }

    /** All layers and the final norm; the result is overwritten by the next use of the forward's buffers. */
    private Tensor layersForward(Tensor rstdFinal) {
        int tokens = pack.tokens();
        forward.embed(pack.ids(), layers[0].in(), tokens);
        for (int i = 0; i < layers.length; i++) {
            var a = layers[i];
            forward.project(i, a, tokens);
            forward.rotate(i, a, a.rotated().q(), a.rotated().k(), null, null, tokens);
            ops.attention(attention[i], a.rotated(), a.attended(), pack.sequences(), null);
            forward.finish(i, a, tokens);
        }
        return forward.finalNorm(layers[layers.length - 1].out(), rstdFinal, tokens);
    }

    @Override
    public float[] logprob() {
        return logprob;
    }

    @Override
    public int[] argmax() {
        if (!argmaxValid) {
            throw new IllegalStateException("only forward gives the most probable tokens");
        }
        return argmax;
    }

    @Override
    public void addHeadWeights(int[] rowOf, double[][] sums) {
        if (backward == null || !(layout instanceof MixtureLayout mixture) || mixture.heads() != sums[0].length) {
            throw new IllegalStateException("this pass keeps no weights of " + sums[0].length + " heads");
        }
        lora.addHeadWeights(pack.tokens(), rowOf, sums);
    }

    /** [tokens, hidden], the output of the final norm in the last {@link #forward}. */
    Tensor lastHidden() {
        return forward.finalNormed();
    }

    /** Recorded passes. */
    int recorded() {
        return graphs == null ? 0 : graphs.recorded();
    }

    @Override
    public long replayed() {
        return graphs == null ? 0 : graphs.replayed();
    }

    @Override
    public void close() {
        try (buffers; graphs) {
            // The graphs first, which know the buffers' addresses; each also where the other fails.
        }
    }
}

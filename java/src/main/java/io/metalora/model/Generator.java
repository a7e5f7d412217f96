package io.metalora.model;

import io.metalora.runtime.AttentionInput;
import io.metalora.runtime.AttentionShape;
import io.metalora.runtime.InputException;
import io.metalora.runtime.LoraLinear;
import io.metalora.runtime.Ops;
import io.metalora.runtime.Sequences;
import io.metalora.runtime.Tensor;
import java.util.Arrays;
import java.util.function.IntConsumer;

/**
 * Continues prompts with a key/value cache: the prompt goes through the layers in one pass, then a token at a time.
 * Buffers are allocated once, for prompt and continuation of up to {@code maxTokens} together.
 */
public final class Generator implements AutoCloseable {
    private final CausalLM model;
    private final AdapterSlots adapters;
    private final int slot;
    private final int maxTokens;
    private final Ops ops;
    private final Memory memory;
    private final LoraTerms lora;
    private final LayerForward forward;
    private final LayerActivations activations;
    private final AttentionShape[] attention;
    private final Tensor ids;
    private final Tensor positions;
    private final Tensor queryOffsets;
    private final Tensor keyOffsets;
    private final Tensor slotOffsets;
    private final AttentionInput[] heads; // of each layer: q of the pass, k and v of the cache
    private final Tensor lastHidden;
    private final Tensor logitsOnDevice;
    private final float[] logits;
    private final int[] idsOnHost;
    private final int[] positionsOnHost;
    private final int[] offsets = new int[2];
    private final int[] slotOffsetsOnHost;
    private int cached;

    /** @param adapters null for the base model; else its first slot is used */
    public Generator(CausalLM model, AdapterSlots adapters, int maxTokens) {
        this(model, adapters, 0, maxTokens);
    }

    /** @param slot of the adapter to use */
    public Generator(CausalLM model, AdapterSlots adapters, int slot, int maxTokens) {
        this(model, adapters, slot, maxTokens, checked(model, adapters, slot, maxTokens));
    }

    private static Memory checked(CausalLM model, AdapterSlots adapters, int slot, int maxTokens) {
        if (maxTokens < 1 || maxTokens > model.config().maxPositions()) {
            throw new InputException(maxTokens + " tokens of prompt and continuation; the model's context has "
                    + model.config().maxPositions());
        }
        if (adapters != null && (slot < 0 || slot >= adapters.slots())) {
            throw new IllegalArgumentException("slot " + slot + " of " + adapters.slots());
        }
        estimate(model, adapters, maxTokens)
                .requireFits(
                        model.device(), "Generating up to " + maxTokens + " tokens", "ask for fewer tokens, or free memory");
        return Memory.of(model.device());
    }

    private Generator(CausalLM model, AdapterSlots adapters, int slot, int maxTokens, Memory memory) {
        var c = model.config();
        int slots = adapters == null ? 1 : adapters.slots();
        this.model = model;
        this.adapters = adapters;
        this.slot = slot;
        this.maxTokens = maxTokens;
        this.ops = model.device().ops();
        this.memory = memory;
        try {
            this.ids = memory.ints(maxTokens);
            this.positions = memory.ints(maxTokens);
            this.queryOffsets = memory.ints(2);
            this.keyOffsets = memory.ints(2);
            this.slotOffsets = memory.ints(slots + 1L);
            this.lora = adapters == null
                    ? null
                    : new LoraTerms(memory, adapters.layout(), model, maxTokens, false, slotOffsets);
            this.forward = new LayerForward(memory, model, lora, maxTokens, positions);
            this.activations =
                    LayerActivations.shared(memory, model, maxTokens, memory.activation(maxTokens, c.hiddenSize()));
            this.attention = ModelPass.attentionShapes(model);
            this.heads = new AttentionInput[c.layers()];
            for (int i = 0; i < c.layers(); i++) {
                heads[i] = new AttentionInput(
                        activations.heads().q(),
                        memory.activation(maxTokens, c.kvHeads(), c.headDim()),
                        memory.activation(maxTokens, c.kvHeads(), c.headDim()));
            }
            this.lastHidden = memory.activation(1, c.hiddenSize());
            this.logitsOnDevice = memory.activation(1, c.vocabSize());
            this.logits = new float[c.vocabSize()];
            this.idsOnHost = new int[memory.holds() ? maxTokens : 0];
            this.positionsOnHost = new int[idsOnHost.length];
            this.slotOffsetsOnHost = new int[slots + 1];
        } catch (RuntimeException | Error e) {
            memory.closeAfter(e);
            throw e;
        }
    }

    /** What the buffers and the cache of such a generator take. */
    public static MemoryEstimate estimate(CausalLM model, AdapterSlots adapters, int maxTokens) {
        var counting = Memory.counting(model.device());
        new Generator(model, adapters, 0, maxTokens, counting);
        return new MemoryEstimate(0, counting.bytes(), 0);
    }

    /** The tokens that follow {@code prompt}, up to the first stop token, which is left out. */
    public int[] generate(int[] prompt, GenerationOptions options) {
        return generate(prompt, options, token -> { });
    }

    /**
     * As {@link #generate(int[], GenerationOptions)}.
     *
     * @param listener hears of each token as it comes
     * @throws InputException if the prompt does not fit, or weights of the model or the adapter are not finite
     */
    public int[] generate(int[] prompt, GenerationOptions options, IntConsumer listener) {
        if (prompt.length == 0) {
            throw new InputException("the prompt has no tokens; give at least one");
        }
        if ((long) prompt.length + options.maxNewTokens() > maxTokens) {
            throw new InputException("a prompt of " + prompt.length + " tokens and " + options.maxNewTokens()
                    + " new ones do not fit " + maxTokens + "; shorten the prompt or ask for fewer tokens");
        }
        PackTensors.requireTokens(prompt, prompt.length, model.config().vocabSize());
        var sampler = new Sampler(options, logits.length);
        var out = new int[options.maxNewTokens()];
        int count = 0;
        reset();
        append(prompt, prompt.length);
        while (true) {
            requireFinite();
            int token = sampler.next(logits);
            if (Arrays.stream(options.stopIds()).anyMatch(id -> id == token)) {
                break;
            }
            out[count++] = token;
            listener.accept(token);
            if (count == out.length) {
                break;
            }
            idsOnHost[0] = token;
            append(idsOnHost, 1);
        }
        return Arrays.copyOf(out, count);
    }

    /** A probability of each token needs all logits. */
    private void requireFinite() {
        int largest = 0;
        for (float logit : logits) {
            largest = Math.max(largest, Float.floatToRawIntBits(logit) & Integer.MAX_VALUE);
        }
        if (!Float.isFinite(Float.intBitsToFloat(largest))) {
            throw model.notFinite(adapters);
        }
    }

    /** Empties the cache. */
    void reset() {
        cached = 0;
    }

    /** Puts the first {@code count} of {@code tokens} behind those in the cache and computes the logits of the last. */
    float[] append(int[] tokens, int count) {
        var c = model.config();
        for (int i = 0; i < count; i++) {
            positionsOnHost[i] = cached + i;
        }
        ids.upload(tokens, count);
        positions.upload(positionsOnHost, count);
        offsets[1] = count;
        queryOffsets.upload(offsets, 2);
        offsets[1] = cached + count;
        keyOffsets.upload(offsets, 2);
        if (lora != null) {
            Arrays.fill(slotOffsetsOnHost, slot + 1, slotOffsetsOnHost.length, count);
            slotOffsets.upload(slotOffsetsOnHost, slotOffsetsOnHost.length);
            lora.bind(adapters, adapters.slots());
        }
        var queries = new Sequences(queryOffsets, 1, count, count);
        var cache = new Sequences(keyOffsets, 1, cached + count, cached + count);
        var a = activations;
        forward.embed(ids, a.in(), count);
        for (int i = 0; i < c.layers(); i++) {
            forward.project(i, a, count);
            forward.rotate(i, a, a.heads(), null, null, count);
            heads[i].k().copyRows(a.heads().k(), cached, count);
            heads[i].v().copyRows(a.heads().v(), cached, count);
            ops.attention(attention[i], heads[i], a.attended(), queries, cache);
            forward.finish(i, a, count);
        }
        cached += count;
        lastHidden.copyFrom(a.out(), (count - 1L) * c.hiddenSize(), 0, c.hiddenSize());
        var hidden = forward.finalNorm(lastHidden, null, 1);
        ops.linear(LoraLinear.frozen(model.head()), hidden, null, logitsOnDevice, 1);
        logitsOnDevice.download(logits, logits.length);
        return logits;
    }

    @Override
    public void close() {
        memory.close();
    }
}

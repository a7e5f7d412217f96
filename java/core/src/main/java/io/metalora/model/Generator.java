package io.metalora.model;

import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.AttentionShape;
import io.metalora.runtime.op.LoraLinear;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.Sequences;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.IntConsumer;

/**
 * Continues prompts with a key/value cache, one or several at once: the prompts go through the layers in one pass, then a
 * token of each sequence at a time. Linears take the tokens of all sequences together, whatever adapter each is for;
 * attention sees a sequence's own keys and values. A sequence that has ended is computed no further. Buffers are allocated
 * once; a token allocates some small objects on the Java heap, none that grows with the model or the sequences.
 */
public final class Generator implements AutoCloseable {
    private final CausalLM model;
    private final AdapterSlots adapters;
    private final int maxSequences;
    private final int maxTokens;
    private final Ops ops;
    private final BufferPlan plan;
    private final GeneratorBuffers buffers;
    private final LowRankTerms lora; // null: the base model alone
    private final LayerForward forward;
    private final AttentionShape[] attention;
    private final LoraLinear head;
    private final Tensor[] logitRows; // of each sequence
    private final float[] logits;
    private final Sampler sampler;
    private final int[] idsOnHost;
    private final int[] positionsOnHost;
    private final int[] queryOffsetsOnHost;
    private final int[] keyOffsetsOnHost;
    private final int[] slotOffsetsOnHost;

    /**
     * For one sequence at a time.
     *
     * @param adapters null for the base model alone
     * @throws InputException as {@link #Generator(CausalLM, AdapterSlots, int, int)}
     */
    public Generator(CausalLM model, AdapterSlots adapters, int maxTokens) {
        this(model, adapters, 1, maxTokens);
    }

    /**
     * @param adapters     null for the base model alone
     * @param maxSequences the most that are continued at once
     * @param maxTokens    of prompts and continuations, of all of them together
     * @throws InputException if that is more than the model's contexts or the memory hold
     */
    public Generator(CausalLM model, AdapterSlots adapters, int maxSequences, int maxTokens) {
        if (maxSequences < 1) {
            throw new IllegalArgumentException(maxSequences + " sequences at once");
        }
        var c = model.config();
        int context = c.maxPositions();
        if (maxTokens < 1 || maxTokens > (long) context * maxSequences) {
            throw new InputException(maxTokens + " tokens of " + (maxSequences == 1 ? "prompt and continuation"
                    : maxSequences + " prompts and continuations") + "; the model's context has " + context);
        }
        this.model = model;
        this.adapters = adapters;
        this.maxSequences = maxSequences;
        this.maxTokens = maxTokens;
        this.ops = Ops.of(model.device());
        this.plan = new BufferPlan(model.device());
        this.buffers = GeneratorBuffers.in(plan, model.shape(), adapters, maxSequences, maxTokens);
        new MemoryEstimate(0, plan.bytes(), 0)
                .requireFits(model.device(), "Generating up to " + maxTokens + " tokens", "ask for fewer tokens, or free memory");
        this.lora = buffers.lora();
        this.attention = ModelPass.attentionShapes(model);
        this.head = LoraLinear.frozen(model.head());
        this.logits = new float[c.vocabSize()];
        this.sampler = new Sampler(logits.length);
        this.idsOnHost = new int[maxTokens];
        this.positionsOnHost = new int[maxTokens];
        this.queryOffsetsOnHost = new int[Math.toIntExact(buffers.queryOffsets().elements())];
        this.keyOffsetsOnHost = new int[queryOffsetsOnHost.length];
        this.slotOffsetsOnHost = new int[Math.toIntExact(buffers.slotOffsets().elements())];
        this.logitRows = new Tensor[maxSequences];
        for (int i = 0; i < maxSequences; i++) {
            logitRows[i] = buffers.logits().view((long) i * c.vocabSize(), c.vocabSize());
        }
        plan.allocate();
        try {
            this.forward = new LayerForward(model, lora, buffers.forward(), buffers.positions());
        } catch (RuntimeException | Error e) {
            plan.closeAfter(e);
            throw e;
        }
    }

    /** What the buffers and the cache of such a generator take. */
    public static MemoryEstimate estimate(CausalLM model, AdapterSlots adapters, int maxSequences, int maxTokens) {
        var plan = new BufferPlan(model.device());
        GeneratorBuffers.in(plan, model.shape(), adapters, maxSequences, maxTokens);
        return new MemoryEstimate(0, plan.bytes(), 0);
    }

    /** The tokens that follow {@code prompt}, up to the first stop token, which is left out. */
    public int[] generate(int[] prompt, GenerationOptions options) {
        return generate(prompt, options, token -> { });
    }

    /**
     * As {@link #generate(int[], GenerationOptions)}, with the adapter of slot 0 where there are any.
     *
     * @param listener is called with each token as it is generated
     * @throws InputException as {@link #generate(List, TokenListener)}
     */
    public int[] generate(int[] prompt, GenerationOptions options, IntConsumer listener) {
        var request = new GenerationRequest(prompt, adapters == null ? AdapterSlots.BASE : 0, options);
        return generate(List.of(request), (sequence, token) -> {
            listener.accept(token);
            return true;
        }).getFirst().tokens();
    }

    /**
     * Continues all prompts at once. Up to rounding, each continues as it would alone.
     *
     * @return in the order of the requests
     * @throws InputException           if a prompt is empty or the prompts do not fit, or weights of the model or an adapter
     *                                  are not finite
     * @throws IllegalArgumentException if there are more requests than sequences, or one names a slot that there is not
     */
    public List<Continuation> generate(List<GenerationRequest> requests, TokenListener listener) {
        var all = sequences(requests);
        var active = new ArrayList<>(all);
        while (!active.isEmpty()) {
            step(active);
            int kept = 0;
            for (int row = 0; row < active.size(); row++) {
                var sequence = active.get(row);
                if (advance(sequence, row, listener)) {
                    active.set(kept++, sequence);
                }
            }
            while (active.size() > kept) {
                active.removeLast();
            }
        }
        var out = new Continuation[all.size()];
        for (var sequence : all) {
            out[sequence.index] = new Continuation(Arrays.copyOf(sequence.out, sequence.count), sequence.stopped);
        }
        return List.of(out);
    }

    /** Takes the next token of a sequence from the logits of a row; returns whether the sequence continues. */
    private boolean advance(Sequence sequence, int row, TokenListener listener) {
        logits(row);
        requireFinite(sequence);
        int token = sampler.next(logits, sequence.options, sequence.random);
        for (int stop : sequence.stopIds) {
            if (stop == token) {
                sequence.stopped = true;
                return false;
            }
        }
        sequence.out[sequence.count++] = token;
        if (!listener.token(sequence.index, token)) {
            sequence.stopped = true;
            return false;
        }
        sequence.append(token);
        return sequence.count < sequence.out.length;
    }

    /** A sequence that is being continued. */
    static final class Sequence {
        private final int index; // among the requests
        private final int slot;
        private final int start; // its first row of the cache
        private final GenerationOptions options;
        private final int[] stopIds;
        private final SplittableRandom random;
        private final int[] out;
        private final int[] last = new int[1];
        private int[] pending; // tokens behind those in the cache
        private int cached;
        private int count;
        private boolean stopped;

        private Sequence(int index, int slot, int start, GenerationRequest request) {
            this.index = index;
            this.slot = slot;
            this.start = start;
            this.options = request.options();
            this.stopIds = options.stopIds().stream().mapToInt(Integer::intValue).toArray();
            this.random = new SplittableRandom(options.seed());
            this.out = new int[options.maxNewTokens()];
            this.pending = request.prompt();
        }

        void append(int token) {
            last[0] = token;
            pending = last;
        }
    }

    /** The sequences in the order of their slots, the base model's last, each with its place in the cache. */
    List<Sequence> sequences(List<GenerationRequest> requests) {
        check(requests);
        var order = new ArrayList<Integer>();
        for (int i = 0; i < requests.size(); i++) {
            order.add(i);
        }
        order.sort(Comparator.comparingInt(i -> slot(requests.get(i))));
        var all = new ArrayList<Sequence>();
        int start = 0;
        for (int index : order) {
            var request = requests.get(index);
            all.add(new Sequence(index, slot(request), start, request));
            start += request.prompt().length + request.options().maxNewTokens();
        }
        return all;
    }

    private int slot(GenerationRequest request) {
        return request.slot() == AdapterSlots.BASE ? baseSlot() : request.slot();
    }

    private int baseSlot() {
        return adapters == null ? 0 : adapters.slots();
    }

    private void check(List<GenerationRequest> requests) {
        if (requests.size() > maxSequences) {
            throw new IllegalArgumentException(requests.size() + " requests for a generator of " + maxSequences + " sequences");
        }
        long prompts = 0;
        long more = 0;
        boolean base = false;
        boolean adapted = false;
        for (int i = 0; i < requests.size(); i++) {
            var request = requests.get(i);
            String name = requests.size() == 1 ? "the prompt" : "prompt " + i;
            int length = request.prompt().length;
            if (length == 0) {
                throw new InputException(name + " has no tokens; give at least one");
            }
            int slot = request.slot();
            if (slot != AdapterSlots.BASE && (adapters == null || slot < 0 || slot >= adapters.slots())) {
                throw new IllegalArgumentException("slot " + slot + " of " + (adapters == null ? 0 : adapters.slots()));
            }
            base |= slot == AdapterSlots.BASE;
            adapted |= slot != AdapterSlots.BASE;
            int added = request.options().maxNewTokens();
            if ((long) length + added > model.config().maxPositions()) {
                throw new InputException(name + " of " + length + " tokens and " + added + " new ones do not fit the model's context of "
                        + model.config().maxPositions() + "; shorten the prompt or ask for fewer tokens");
            }
            prompts += length;
            more += added;
            PackTensors.requireTokens(request.prompt(), length, model.config().vocabSize());
        }
        if (prompts + more > maxTokens) {
            throw new InputException((requests.size() == 1 ? "a prompt" : requests.size() + " prompts") + " of " + prompts
                    + " tokens and " + more + " new ones do not fit " + maxTokens + "; shorten "
                    + (requests.size() == 1 ? "the prompt" : "the prompts") + " or ask for fewer tokens");
        }
        if (base && adapted && !adapters.hasBase()) {
            throw new IllegalArgumentException("these adapter slots can't be mixed with the base model; make them with"
                    + " AdapterSlots.of(List)");
        }
    }

    /** The logits of a sequence of the last step, by its place there; overwritten by the next call. */
    float[] logits(int row) {
        logitRows[row].download(logits, logits.length);
        return logits;
    }

    /** Checks all logits: one that is not finite would spoil the probability of every token. */
    private void requireFinite(Sequence sequence) {
        int largest = 0;
        for (float logit : logits) {
            largest = Math.max(largest, Float.floatToRawIntBits(logit) & Integer.MAX_VALUE);
        }
        if (!Float.isFinite(Float.intBitsToFloat(largest))) {
            throw model.notFinite(sequence.slot == baseSlot() ? null : adapters);
        }
    }

    /** Takes the pending tokens of the sequences into the cache and computes the logits behind the last of each. */
    void step(List<Sequence> active) {
        var c = model.config();
        int tokens = 0;
        int segments = 0;
        int longest = 0;
        int cacheEnd = 0;
        boolean adapted = false;
        boolean base = false;
        Arrays.fill(slotOffsetsOnHost, 0);
        for (int s = 0; s < active.size(); s++) {
            var sequence = active.get(s);
            int count = sequence.pending.length;
            for (int i = 0; i < count; i++) {
                idsOnHost[tokens + i] = sequence.pending[i];
                positionsOnHost[tokens + i] = sequence.cached + i;
            }
            if (sequence.start > cacheEnd) {
                // Rows of others, or free ones: to attention a segment of keys that no query sees.
                queryOffsetsOnHost[++segments] = tokens;
                keyOffsetsOnHost[segments] = sequence.start;
            }
            tokens += count;
            cacheEnd = sequence.start + sequence.cached + count;
            queryOffsetsOnHost[++segments] = tokens;
            keyOffsetsOnHost[segments] = cacheEnd;
            longest = Math.max(longest, count);
            base |= sequence.slot == baseSlot();
            adapted |= sequence.slot != baseSlot();
            if (lora != null) {
                Arrays.fill(slotOffsetsOnHost, sequence.slot + 1, slotOffsetsOnHost.length, tokens);
            }
        }
        buffers.ids().upload(idsOnHost, tokens);
        buffers.positions().upload(positionsOnHost, tokens);
        buffers.queryOffsets().upload(queryOffsetsOnHost, segments + 1);
        buffers.keyOffsets().upload(keyOffsetsOnHost, segments + 1);
        if (lora != null) {
            buffers.slotOffsets().upload(slotOffsetsOnHost, slotOffsetsOnHost.length);
            lora.bind(adapted ? adapters : null, base ? adapters.slots() + 1 : adapters.slots());
        }
        var queries = new Sequences(buffers.queryOffsets(), segments, tokens, longest);
        var cache = new Sequences(buffers.keyOffsets(), segments, cacheEnd, cacheEnd);
        var a = buffers.activations();
        var heads = buffers.heads();
        var lastHidden = buffers.lastHidden();
        forward.embed(buffers.ids(), a.in(), tokens);
        for (int i = 0; i < c.layers(); i++) {
            forward.project(i, a, tokens);
            forward.rotate(i, a, a.q(), a.k(), null, null, tokens);
            int row = 0;
            for (int s = 0; s < active.size(); s++) {
                var sequence = active.get(s);
                int count = sequence.pending.length;
                heads[i].k().copyRows(a.k(), row, sequence.start + sequence.cached, count);
                heads[i].v().copyRows(a.v(), row, sequence.start + sequence.cached, count);
                row += count;
            }
            ops.attention(attention[i], heads[i], a.attended(), queries, cache);
            forward.finish(i, a, tokens);
        }
        int end = 0;
        for (int s = 0; s < active.size(); s++) {
            var sequence = active.get(s);
            end += sequence.pending.length;
            sequence.cached += sequence.pending.length;
            lastHidden.copyFrom(a.out(), (end - 1L) * c.hiddenSize(), (long) s * c.hiddenSize(), c.hiddenSize());
        }
        var hidden = forward.finalNorm(lastHidden, null, active.size());
        ops.linear(head, hidden, null, buffers.logits(), active.size());
    }

    @Override
    public void close() {
        plan.close();
    }
}

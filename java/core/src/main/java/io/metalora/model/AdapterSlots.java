package io.metalora.model;

import io.metalora.adapter.AdapterLayout;
import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraLayout;
import io.metalora.adapter.MixtureLayout;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.host.Held;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.SlotVectors;
import java.util.List;
import java.util.Optional;

/** n adapters of one layout, one after the other, and their gradients. A pack names a slot for each of its tokens. */
public final class AdapterSlots implements AutoCloseable {
    /** In place of a slot: the base model, without an adapter. */
    public static final int BASE = -1;

    private final AdapterLayout layout;
    private final int slots;
    private final SlotVectors vectors;
    private final boolean hasBase; // behind the n slots there is one of zeros
    private final Tensor parameters;
    private final Tensor gradients;
    private final Held held = new Held(); // nothing where the memory is an adapter's or a plan's

    /** n slots of zeros. */
    public AdapterSlots(Device device, AdapterLayout layout, int slots, boolean gradients) {
        this(device, layout, slots, gradients, false);
    }

    private AdapterSlots(Device device, AdapterLayout layout, int slots, boolean gradients, boolean hasBase) {
        if (slots < 1) {
            throw new IllegalArgumentException(slots + " slots");
        }
        this.layout = layout;
        this.slots = slots;
        this.hasBase = hasBase;
        this.vectors = SlotVectors.dense(layout.parameters(), slots);
        this.parameters = held.add(() -> device.zeros(DType.F32, hasBase ? slots + 1L : slots, layout.parameters()), Tensor::close);
        this.gradients = gradients ? held.add(() -> device.zeros(DType.F32, slots, layout.parameters()), Tensor::close) : null;
    }

    /** n slots of zeros with gradients, in a plan, which owns their memory. */
    AdapterSlots(BufferPlan plan, AdapterLayout layout, int slots) {
        this.layout = layout;
        this.slots = slots;
        this.hasBase = false;
        this.vectors = SlotVectors.dense(layout.parameters(), slots);
        this.parameters = plan.floats(slots, layout.parameters());
        this.gradients = plan.floats(slots, layout.parameters());
    }

    private AdapterSlots(LoraAdapter adapter) {
        this.layout = adapter.layout();
        this.slots = 1;
        this.hasBase = false;
        this.vectors = SlotVectors.dense(layout.parameters(), 1);
        this.parameters = adapter.parameters().view(0, 1, layout.parameters());
        this.gradients = null;
    }

    /** One slot in the memory of {@code adapter}, for inference. Closing it leaves the adapter open. */
    public static AdapterSlots of(LoraAdapter adapter) {
        return new AdapterSlots(adapter);
    }

    /**
     * A slot for a copy of each adapter, in their order, for inference. Packs may mix them with the base model, {@link #BASE}.
     *
     * @param adapters at least one, of one device; may be closed afterwards
     * @throws InputException if they have not all the same kind, rank, scale and Linears, which those in one pack need
     */
    public static AdapterSlots of(List<LoraAdapter> adapters) {
        var first = adapters.getFirst();
        for (int i = 1; i < adapters.size(); i++) {
            requireAlike(first.layout(), "adapter 0", adapters.get(i).layout(), "adapter " + i);
        }
        var made = new AdapterSlots(first.parameters().device(), first.layout(), adapters.size(), false, true);
        long count = first.layout().parameters();
        for (int i = 0; i < adapters.size(); i++) {
            var from = adapters.get(i).parameters();
            int slot = i;
            made.held.orClose(() -> {
                made.parameters.copyFrom(from, 0, slot * count, count);
                return null;
            });
        }
        return made;
    }

    /**
     * Checks that two adapters can be in one pack.
     *
     * @throws InputException that names both, if they cannot
     */
    static void requireAlike(AdapterLayout first, String firstName, AdapterLayout other, String otherName) {
        float scale = first.config().scale();
        float otherScale = other.config().scale();
        if (!other.equals(first) || otherScale != scale) {
            throw new InputException(otherName + " has "
                    + (other.equals(first) ? "the scale " + otherScale + ", not " + scale : other.difference(first))
                    + " as " + firstName + ": adapters in one pack need the same kind, rank, scale (alpha) and Linears; use such"
                    + " ones, or load these one at a time");
        }
    }

    /** Copies one adapter's parameters, F32 [P], into every slot. */
    public void setAll(Tensor adapter) {
        Ops.of(parameters.device()).broadcast(vectors, parameters, adapter);
    }

    /**
     * Gives all heads of mixtures the same weight on every token, by routers of zeros. What they compute then is LoRA with the
     * mean of the heads as its B: as near as an adapter without router, which could be merged into the base weights, comes by
     * this means.
     *
     * @throws InputException if the adapters are LoRA, which has no heads
     */
    public void evenHeads() {
        var ops = Ops.of(parameters.device());
        switch (layout) {
            case LoraLayout _ -> throw new InputException("the adapter is LoRA, which has no heads to give the same weight");
            case MixtureLayout mixture -> {
                for (int slot = 0; slot < slots; slot++) {
                    for (var site : mixture.sites()) {
                        long count = (long) site.heads() * site.in();
                        ops.fill(parameters.view(slot * layout.parameters() + site.offsetRouter(), count), count, 0f);
                    }
                }
            }
        }
    }

    public void zeroGradients() {
        Ops.of(parameters.device()).fill(gradients(), gradients().elements(), 0f);
    }

    public AdapterLayout layout() {
        return layout;
    }

    public int slots() {
        return slots;
    }

    /** Whether packs may mix the slots with {@link #BASE}. */
    boolean hasBase() {
        return hasBase;
    }

    /** F32 [slots, P]; the slot of zeros, where there is one, comes behind them. */
    public Tensor parameters() {
        return parameters;
    }

    /** F32 [slots, P]; an IllegalStateException where the slots were made without. */
    public Tensor gradients() {
        if (gradients == null) {
            throw new IllegalStateException("these adapter slots were made without gradients");
        }
        return gradients;
    }

    /** The first value that is a NaN or an infinity, in words; empty where all are finite. */
    Optional<String> firstNotFinite() {
        for (int slot = 0; slot < slots; slot++) {
            var found = firstNotFinite(slot * layout.parameters());
            if (found.isPresent()) {
                return found;
            }
        }
        return Optional.empty();
    }

    /** @param start of the slot's parameters */
    private Optional<String> firstNotFinite(long start) {
        for (var site : layout.sites()) {
            float[] values = parameters.view(start + site.offset(), site.parameters()).toFloats();
            for (var matrix : site.matrices()) {
                float[] of = matrix.gather(values, site.offset());
                var found = HostTensor.of(site.path(), of, matrix.rows(), matrix.columns()).firstNotFinite();
                if (found.isPresent()) {
                    return Optional.of(matrix.name() + " of " + site.path() + " holds " + found.get());
                }
            }
        }
        return Optional.empty();
    }

    boolean hasGradients() {
        return gradients != null;
    }

    @Override
    public void close() {
        held.close();
    }
}

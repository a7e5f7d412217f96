package io.metalora.model;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraLayout;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.Held;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.SlotVectors;
import io.metalora.runtime.Tensor;
import java.util.Optional;

/** n adapters of one layout, one after the other, and their gradients. A pack names a slot for each of its tokens. */
public final class AdapterSlots implements AutoCloseable {
    private final LoraLayout layout;
    private final int slots;
    private final SlotVectors vectors;
    private final Tensor parameters;
    private final Tensor gradients;
    private final Held held = new Held(); // nothing where the memory is an adapter's

    /** n slots of zeros. */
    public AdapterSlots(Device device, LoraLayout layout, int slots, boolean gradients) {
        if (slots < 1) {
            throw new IllegalArgumentException(slots + " slots");
        }
        this.layout = layout;
        this.slots = slots;
        this.vectors = SlotVectors.dense(layout.parameters(), slots);
        this.parameters = held.add(() -> device.zeros(DType.F32, slots, layout.parameters()), Tensor::close);
        this.gradients = gradients ? held.add(() -> device.zeros(DType.F32, slots, layout.parameters()), Tensor::close) : null;
    }

    private AdapterSlots(LoraAdapter adapter) {
        this.layout = adapter.layout();
        this.slots = 1;
        this.vectors = SlotVectors.dense(layout.parameters(), 1);
        this.parameters = adapter.parameters().view(0, 1, layout.parameters());
        this.gradients = null;
    }

    /** One slot in the memory of {@code adapter}, for inference. Closing it leaves the adapter open. */
    public static AdapterSlots of(LoraAdapter adapter) {
        return new AdapterSlots(adapter);
    }

    /** Copies one adapter's parameters, F32 [P], into every slot. */
    public void setAll(Tensor adapter) {
        parameters.device().ops().broadcast(vectors(), parameters, adapter);
    }

    public void zeroGradients() {
        parameters.device().ops().fill(gradients(), gradients().elements(), 0f);
    }

    /** How the slots lie in {@link #parameters} and {@link #gradients}. */
    public SlotVectors vectors() {
        return vectors;
    }

    public LoraLayout layout() {
        return layout;
    }

    public int slots() {
        return slots;
    }

    /** F32 [slots, P] */
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
        int rank = layout.config().rank();
        for (int slot = 0; slot < slots; slot++) {
            long start = slot * layout.parameters();
            for (var site : layout.sites()) {
                for (boolean isA : new boolean[] {true, false}) {
                    long rows = isA ? rank : site.out();
                    long columns = isA ? site.in() : rank;
                    float[] values = parameters.view(start + (isA ? site.offsetA() : site.offsetB()), rows, columns).toFloats();
                    var found = HostTensor.of(site.path(), values, rows, columns).firstNotFinite();
                    if (found.isPresent()) {
                        return Optional.of((isA ? "lora_A of " : "lora_B of ") + site.path() + " holds " + found.get());
                    }
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

package io.metalora.train;

import io.metalora.adapter.LoraLayout;
import io.metalora.model.AdapterSlots;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.SlotVectors;

/**
 * One A for all slots of LoRA: slot 0 holds it, the others hold copies. What an optimizer of all slots' parameters sees is then one
 * vector of A, and of the B of each slot: the copies have no gradient.
 */
final class SharedA {

    private final Ops ops;
    private final AdapterSlots slots;
    private final LoraLayout layout;
    private final Tensor ones; // [slots]
    private final Tensor zeros; // the size of the largest A

    /** @param slots stay the caller's */
    SharedA(BufferPlan plan, AdapterSlots slots, LoraLayout layout) {
        this.ops = Ops.of(plan.device());
        this.slots = slots;
        this.layout = layout;
        this.ones = plan.floats(slots.slots());
        this.zeros = plan.floats(layout.sites().stream().mapToLong(SharedA::count).max().orElseThrow());
    }

    private static long count(LoraLayout.Site site) {
        return site.offsetB() - site.offsetA();
    }

    /** To be called once, when the plan's memory is there. */
    void prepare() {
        ops.fill(ones, slots.slots(), 1f);
    }

    /** Slot 0's gradient of A becomes the sum over the slots, that of the copies 0. */
    void queueSum() {
        for (LoraLayout.Site site : layout.sites()) {
            Tensor ofFirst = rest(slots.gradients(), site.offsetA());
            ops.taskReduce(every(site, slots.slots()), ofFirst, ones, ofFirst, null);
            if (slots.slots() > 1) {
                ops.broadcast(every(site, slots.slots() - 1), rest(slots.gradients(), layout.parameters() + site.offsetA()), zeros);
            }
        }
    }

    /** The copies become what slot 0 holds. */
    void queueCopies() {
        if (slots.slots() == 1) {
            return;
        }
        for (LoraLayout.Site site : layout.sites()) {
            ops.broadcast(every(site, slots.slots() - 1), rest(slots.parameters(), layout.parameters() + site.offsetA()),
                    rest(slots.parameters(), site.offsetA()));
        }
    }

    /** An A in so many slots. */
    private SlotVectors every(LoraLayout.Site site, int count) {
        return new SlotVectors(count(site), layout.parameters(), count);
    }

    private static Tensor rest(Tensor of, long offset) {
        return of.view(offset, of.elements() - offset);
    }
}

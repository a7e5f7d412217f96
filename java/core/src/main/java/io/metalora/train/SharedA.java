package io.metalora.train;

import io.metalora.adapter.LoraLayout;
import io.metalora.model.AdapterSlots;
import io.metalora.model.pass.BufferPlan;
import io.metalora.runtime.Tensor;
import io.metalora.runtime.op.Ops;
import io.metalora.runtime.op.SlotVectors;
import java.util.ArrayList;
import java.util.List;

/**
 * One A for all slots of LoRA: slot 0 holds it, the others hold copies. What an optimizer of all slots' parameters sees is then
 * one vector of A, and of the B of each slot: the copies have no gradient.
 */
final class SharedA {

    /**
     * The A of a Linear.
     *
     * @param all    in every slot
     * @param copies in every slot but the first
     */
    private record Part(SlotVectors all, SlotVectors copies, View gradient, View value) {

        /**
         * Vectors of the slots, from this A on.
         *
         * @param copies from that of the second slot on; null where there is none
         */
        private record View(Tensor first, Tensor copies) {
        }
    }

    private final Ops ops;
    private final AdapterSlots slots;
    private final LoraLayout layout;
    private final Tensor ones; // [slots]
    private final Tensor zeros; // the size of the largest A
    private final List<Part> parts = new ArrayList<>();

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
        for (LoraLayout.Site site : layout.sites()) {
            parts.add(new Part(new SlotVectors(count(site), layout.parameters(), slots.slots()),
                    new SlotVectors(count(site), layout.parameters(), slots.slots() - 1), view(slots.gradients(), site),
                    view(slots.parameters(), site)));
        }
    }

    private Part.View view(Tensor of, LoraLayout.Site site) {
        long second = layout.parameters() + site.offsetA();
        return new Part.View(of.view(site.offsetA(), of.elements() - site.offsetA()),
                slots.slots() == 1 ? null : of.view(second, of.elements() - second));
    }

    /** Slot 0's gradient of A becomes the sum over the slots, that of the copies 0. */
    void queueSum() {
        if (slots.slots() == 1) {
            return;
        }
        for (Part part : parts) {
            ops.taskReduce(part.all, part.gradient.first, ones, part.gradient.first, null);
            ops.broadcast(part.copies, part.gradient.copies, zeros);
        }
    }

    /** The copies become what slot 0 holds. */
    void queueCopies() {
        if (slots.slots() == 1) {
            return;
        }
        for (Part part : parts) {
            ops.broadcast(part.copies, part.value.copies, part.value.first);
        }
    }
}

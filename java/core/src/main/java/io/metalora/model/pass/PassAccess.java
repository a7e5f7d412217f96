package io.metalora.model.pass;

import io.metalora.adapter.AdapterLayout;
import io.metalora.io.ModelConfig;
import io.metalora.model.AdapterSlots;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadOptions;
import io.metalora.model.MemoryEstimate;
import io.metalora.runtime.Device;
import java.lang.invoke.MethodHandles;

/**
 * What training and evaluation do with a model and users have no use for, so that {@code io.metalora.model} need not expose it.
 * {@link CausalLM} provides it.
 */
public abstract class PassAccess {
    private static volatile PassAccess given;

    /** Called once, by {@link CausalLM}. */
    public static void give(PassAccess access) {
        given = access;
    }

    public static PassAccess get() {
        if (given == null) {
            try {
                MethodHandles.lookup().ensureInitialized(CausalLM.class);
            } catch (IllegalAccessException e) {
                throw new AssertionError(e); // it is public
            }
        }
        return given;
    }

    /**
     * A pass, with all its buffers.
     *
     * @param layout of the adapters it will use, which are for a model of this shape; null for the base model alone
     * @throws io.metalora.runtime.InputException if memory does not suffice
     */
    public abstract Pass evaluation(CausalLM model, PassLimits limits, AdapterLayout layout);

    /** As above, with backward. */
    public abstract Pass training(CausalLM model, PassLimits limits, AdapterLayout layout);

    /** What the buffers of a pass for training take, on a model loaded with {@code options}. */
    public abstract MemoryEstimate trainingEstimate(
            ModelConfig model, LoadOptions options, PassLimits limits, AdapterLayout layout, Device device);

    /** n slots of zeros with gradients, laid out in a plan that will be allocated. */
    public abstract AdapterSlots slots(BufferPlan plan, AdapterLayout layout, int n);
}

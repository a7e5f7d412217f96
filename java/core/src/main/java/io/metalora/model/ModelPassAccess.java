package io.metalora.model;

import io.metalora.adapter.AdapterLayout;
import io.metalora.io.ModelConfig;
import io.metalora.model.pass.BufferPlan;
import io.metalora.model.pass.Pass;
import io.metalora.model.pass.PassAccess;
import io.metalora.model.pass.PassLimits;
import io.metalora.runtime.Device;

/** See {@link PassAccess}. */
final class ModelPassAccess extends PassAccess {

    @Override
    public Pass evaluation(CausalLM model, PassLimits limits, AdapterLayout layout) {
        return new ModelPass(model, limits, layout, false);
    }

    @Override
    public Pass training(CausalLM model, PassLimits limits, AdapterLayout layout) {
        return new ModelPass(model, limits, layout, true);
    }

    @Override
    public MemoryEstimate trainingEstimate(
            ModelConfig model, LoadOptions options, PassLimits limits, AdapterLayout layout, Device device) {
        return ModelPass.estimate(model, device, options, limits, layout, true);
    }

    @Override
    public AdapterSlots slots(BufferPlan plan, AdapterLayout layout, int n) {
        return new AdapterSlots(plan, layout, n);
    }
}

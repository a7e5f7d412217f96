package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.function.ObjLongConsumer;

/**
 * An adapter as PEFT writes it: adapter_config.json beside adapter_model.safetensors, with tensors named
 * {@code base_model.model.<module path>.lora_A.weight} [r, in] and {@code ...lora_B.weight} [out, r]. What PEFT only
 * warns about, and then computes wrongly, is refused here.
 */
final class PeftFormat implements AdapterFormat {

    @Override
    public Reader open(Path dir, ModelConfig model) {
        LoraLayout layout = layout(dir, model);
        var weights = PeftTensors.open(dir);
        try {
            PeftTensors.check(weights, layout, model);
            return new PeftReader(weights, layout);
        } catch (RuntimeException | Error e) {
            weights.close();
            throw e;
        }
    }

    /** What the configuration asks for, in {@code model}. */
    static LoraLayout layout(Path dir, ModelConfig model) {
        LoraConfig config = PeftConfig.read(dir);
        try {
            return new LoraLayout(model, config, false);
        } catch (InputException e) {
            throw new InputException(dir.resolve(PeftConfig.FILE) + ": " + e.getMessage(), e);
        }
    }

    private record PeftReader(Safetensors weights, LoraLayout layout) implements Reader {

        @Override
        public void read(ObjLongConsumer<float[]> to) {
            for (var site : layout.sites()) {
                to.accept(values(PeftTensors.nameA(site)), site.offsetA());
                to.accept(values(PeftTensors.nameB(site)), site.offsetB());
            }
            weights.requireUnchanged();
        }

        private float[] values(String name) {
            float[] values = weights.tensor(name).toFloats();
            for (int i = 0; i < values.length; i++) {
                if (!Float.isFinite(values[i])) {
                    throw new InputException(weights.path() + ": tensor " + name + " holds " + values[i] + " at element " + i
                            + "; the adapter is damaged or its training diverged: use an earlier one");
                }
            }
            return values;
        }

        @Override
        public void close() {
            weights.close();
        }
    }

    @Override
    public void write(Path dir, AdapterLayout layout, String baseModel, Values values) {
        switch (layout) {
            case LoraLayout lora -> write(dir, lora, baseModel, values);
        }
    }

    private static void write(Path dir, LoraLayout layout, String baseModel, Values values) {
        PeftFolder.requireUsable(dir);
        byte[] config = PeftConfig.json(layout.config(), baseModel);
        var tensors = new HashMap<String, HostTensor>();
        int rank = layout.config().rank();
        for (var site : layout.sites()) {
            for (var tensor : List.of(tensor(PeftTensors.nameA(site), values, site.offsetA(), rank, site.in()),
                    tensor(PeftTensors.nameB(site), values, site.offsetB(), site.out(), rank))) {
                tensor.firstNotFinite().ifPresent(found -> {
                    throw new IllegalStateException("an adapter that is not finite is not written to " + dir + ": tensor "
                            + tensor.name() + " holds " + found);
                });
                tensors.put(tensor.name(), tensor);
            }
        }
        PeftFolder.write(dir, config, tensors);
    }

    private static HostTensor tensor(String name, Values values, long offset, int rows, int columns) {
        return HostTensor.of(name, values.at(offset, rows * columns), rows, columns);
    }
}

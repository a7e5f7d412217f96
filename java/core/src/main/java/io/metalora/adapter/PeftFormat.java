package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.function.ObjLongConsumer;

/**
 * An adapter as PEFT writes it: adapter_config.json beside adapter_model.safetensors, with tensors named
 * {@code base_model.model.<module path>.lora_A.weight} [r, in] and {@code ...lora_B.weight} [out, r]; or a mixture as HydraLoRA
 * writes it, with {@code ...lora_B0.weight}, {@code ...lora_B1.weight} and so on, and {@code ...lora_route.weight} [heads, in].
 * What PEFT only warns about, and then computes wrongly, is refused here.
 */
final class PeftFormat implements AdapterFormat {

    @Override
    public Reader open(Path dir, ModelConfig model) {
        AdapterLayout layout = layout(dir, model);
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
    static AdapterLayout layout(Path dir, ModelConfig model) {
        PeftConfig read = PeftConfig.read(dir);
        try {
            return read.heads().isEmpty() ? new LoraLayout(model, read.lora(), false)
                    : new MixtureLayout(model, read.lora(), read.heads().getAsInt(), false);
        } catch (InputException e) {
            throw new InputException(dir.resolve(PeftConfig.FILE) + ": " + e.getMessage(), e);
        }
    }

    private record PeftReader(Safetensors weights, AdapterLayout layout) implements Reader {

        @Override
        public void read(ObjLongConsumer<float[]> to) {
            for (var site : layout.sites()) {
                var values = new float[site.parameters()];
                for (var matrix : site.matrices()) {
                    matrix.scatter(values(PeftTensors.name(site, matrix)), values, site.offset());
                }
                to.accept(values, site.offset());
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
        PeftFolder.requireUsable(dir);
        byte[] config = PeftConfig.json(layout, baseModel);
        var tensors = new HashMap<String, HostTensor>();
        for (var site : layout.sites()) {
            float[] of = values.at(site.offset(), site.parameters());
            for (var matrix : site.matrices()) {
                String name = PeftTensors.name(site, matrix);
                var tensor = HostTensor.of(name, matrix.gather(of, site.offset()), matrix.rows(), matrix.columns());
                tensor.firstNotFinite().ifPresent(found -> {
                    throw new IllegalStateException("an adapter that is not finite is not written to " + dir + ": tensor "
                            + name + " holds " + found);
                });
                tensors.put(name, tensor);
            }
        }
        PeftFolder.write(dir, config, tensors);
    }
}

package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.InputException;
import io.metalora.runtime.Tensor;
import java.nio.file.Path;
import java.util.Objects;

/** One low-rank adapter: its values on a device, in one flat vector that its {@link AdapterLayout} describes. */
public final class LoraAdapter implements AutoCloseable {
    private final AdapterLayout layout;
    private final Tensor parameters;

    private LoraAdapter(AdapterLayout layout, Tensor parameters) {
        this.layout = layout;
        this.parameters = parameters;
    }

    /** A new adapter, which changes nothing: every B is zero, every A and router uniform in (-1/sqrt(in), 1/sqrt(in)). */
    public static LoraAdapter create(Device device, AdapterLayout layout, long seed) {
        var adapter = new LoraAdapter(layout, device.zeros(DType.F32, layout.parameters()));
        try {
            switch (layout) {
                case LoraLayout lora -> {
                    for (var site : lora.sites()) {
                        adapter.upload(site.offsetA(), InitialValues.a(seed, site, site.rank()));
                    }
                }
                case MixtureLayout mixture -> {
                    for (var site : mixture.sites()) {
                        adapter.upload(site.offsetA(), InitialValues.a(seed, site, site.rank()));
                        adapter.upload(site.offsetRouter(), InitialValues.router(seed, site));
                    }
                }
            }
            return adapter;
        } catch (RuntimeException | Error e) {
            adapter.close();
            throw e;
        }
    }

    /** An adapter over existing values, F32 [P]; closing it closes {@code parameters}, which frees no memory of a view. */
    public static LoraAdapter of(AdapterLayout layout, Tensor parameters) {
        Objects.requireNonNull(layout, "layout");
        if (parameters.dtype() != DType.F32 || parameters.elements() != layout.parameters()) {
            throw new IllegalArgumentException(parameters + " does not hold the " + layout.parameters()
                    + " floats of a " + layout);
        }
        return new LoraAdapter(layout, parameters);
    }

    /**
     * Reads an adapter (F32, F16 or BF16) as PEFT or HydraLoRA writes it.
     *
     * @throws InputException if there is none, or it does not fit {@code model}, saying why
     */
    public static LoraAdapter load(Path peftDir, ModelConfig model, Device device) {
        try (var reader = AdapterFormat.PEFT.open(peftDir, model)) {
            AdapterLayout layout = reader.layout();
            var adapter = new LoraAdapter(layout, device.zeros(DType.F32, layout.parameters()));
            try {
                reader.read((values, offset) -> adapter.upload(offset, values));
                return adapter;
            } catch (RuntimeException | Error e) {
                adapter.close();
                throw e;
            }
        }
    }

    /** The layout of the adapter in a folder, which is checked as {@link #load} does but for its values. */
    public static AdapterLayout layout(Path peftDir, ModelConfig model) {
        try (var reader = AdapterFormat.PEFT.open(peftDir, model)) {
            return reader.layout();
        }
    }

    /**
     * Writes the adapter, F32: LoRA in PEFT's format; a mixture with HydraLoRA's tensors, in a folder that PEFT, which would
     * compute something else with them, refuses. {@code dir} is created whole or not at all; one that holds an adapter is
     * overwritten file by file, any other that is not empty is refused.
     *
     * @param baseModelNameOrPath where PEFT finds the base model; null when unknown
     * @throws IllegalStateException if a value is not finite; nothing is written then
     */
    public void save(Path dir, String baseModelNameOrPath) {
        AdapterFormat.PEFT.write(dir, layout, baseModelNameOrPath, (offset, count) -> parameters.view(offset, count).toFloats());
    }

    /**
     * Refuses a folder that {@link #save} would, so that it is known before the work.
     *
     * @throws InputException if it is no place for an adapter, saying why
     */
    public static void requireTarget(Path dir) {
        PeftFolder.requireUsable(dir);
    }

    /** A hash of the folder's two files, byte by byte. */
    public static String digest(Path peftDir) {
        return PeftFolder.digest(peftDir);
    }

    private void upload(long offset, float[] values) {
        parameters.view(offset, values.length).upload(values);
    }

    public AdapterLayout layout() {
        return layout;
    }

    /** F32 [P]. */
    public Tensor parameters() {
        return parameters;
    }

    @Override
    public void close() {
        parameters.close();
    }
}

package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.function.ObjLongConsumer;

/** A file format for adapters: reads one from a folder and writes one to it, whatever device its values are on. */
interface AdapterFormat {

    /** That of Hugging Face's PEFT, and of HydraLoRA, whose form is PEFT's with tensors of its own. */
    AdapterFormat PEFT = new PeftFormat();

    /**
     * Opens the adapter in a folder, made for {@code model}, and checks everything but its values.
     *
     * @throws InputException if there is none, or none that fits, saying why
     */
    Reader open(Path dir, ModelConfig model);

    /**
     * Writes an adapter: {@code dir} is created whole or not at all; one that holds an adapter is overwritten file by file.
     *
     * @param baseModel where the base model is found, for the format's readers; null when unknown
     * @throws InputException        if {@code dir} holds something else
     * @throws IllegalStateException if a value is not finite; nothing is written then
     * @throws UncheckedIOException  if a file can't be written
     */
    void write(Path dir, AdapterLayout layout, String baseModel, Values values);

    /** The values to be written. */
    @FunctionalInterface
    interface Values {

        /** Those from an offset of the adapter's flat vector on. */
        float[] at(long offset, int count);
    }

    /** An adapter's folder, open to be read. */
    interface Reader extends AutoCloseable {

        AdapterLayout layout();

        /**
         * Passes on every value of the adapter's flat vector, in pieces with their offsets.
         *
         * @throws InputException if a value is not finite, or a file was written to meanwhile
         */
        void read(ObjLongConsumer<float[]> to);

        @Override
        void close();
    }
}

package io.metalora.run;

import io.metalora.file.Sha256;
import io.metalora.io.safetensors.Safetensors;
import io.metalora.runtime.DType;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import io.metalora.train.TrainerState;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The state of a run between two iterations, as a safetensors file: the tensors parameters, m and v, and where there are
 * such those of the composition, the average and the inner rates; the rest as
 * metadata, and a SHA-256 over all of it.
 *
 * @param state        of the trainer
 * @param metricsBytes length of metrics.jsonl at that time; what is longer belongs to iterations that will run again
 * @param drawsBytes   the same of draws.jsonl
 */
record Checkpoint(TrainerState state, long metricsBytes, long drawsBytes) {

    /** The newest, and the one before in case the newest is damaged. */
    private static final int KEPT = 2;
    private static final String FORMAT = "metalora-checkpoint-1";
    private static final String COMPOSITION = "composition";
    private static final String AVERAGE = "average";
    private static final String INNER_RATES = "inner_rates";
    private static final String PREFIX = "checkpoint-";
    private static final String SUFFIX = ".safetensors";
    private static final int CHUNK = 1 << 14;

    /** Writes the checkpoint whole or not at all, then removes all but the last ones. */
    Path write(Path folder) {
        Path file = folder.resolve(PREFIX + "%010d".formatted(state.step()) + SUFFIX);
        var tensors = new LinkedHashMap<String, HostTensor>();
        tensors.put("parameters", HostTensor.of("parameters", state.parameters(), state.parameters().length));
        tensors.put("m", HostTensor.of("m", state.m(), state.m().length));
        tensors.put("v", HostTensor.of("v", state.v(), state.v().length));
        putOptional(tensors, COMPOSITION, state.composition());
        putOptional(tensors, AVERAGE, state.average());
        putOptional(tensors, INNER_RATES, state.innerRates());
        var metadata = new LinkedHashMap<String, String>();
        metadata.put("format", FORMAT);
        metadata.put("step", Long.toString(state.step()));
        metadata.put("metrics_bytes", Long.toString(metricsBytes));
        metadata.put("draws_bytes", Long.toString(drawsBytes));
        metadata.put("sha256", digest());
        Safetensors.write(file, tensors, metadata);
        List<Path> all = list(folder);
        for (Path old : all.subList(Math.min(KEPT, all.size()), all.size())) {
            try {
                Files.deleteIfExists(old);
            } catch (IOException e) {
                throw new UncheckedIOException(old + ": can't be removed: " + FileFailure.reason(e), e);
            }
        }
        return file;
    }

    /** The folder's checkpoints, newest first. */
    static List<Path> list(Path folder) {
        if (!Files.isDirectory(folder)) {
            return List.of();
        }
        try (var entries = Files.list(folder)) {
            return entries.filter(file -> file.getFileName().toString().matches(PREFIX + "\\d+" + "\\" + SUFFIX))
                    .sorted(Comparator.comparing((Path file) -> file.getFileName().toString()).reversed()).toList();
        } catch (IOException e) {
            throw new UncheckedIOException(folder + ": can't be listed: " + FileFailure.reason(e), e);
        }
    }

    /**
     * Reads a checkpoint.
     *
     * @throws InputException if it is damaged or no checkpoint
     */
    static Checkpoint read(Path file) {
        try (Safetensors in = Safetensors.open(file)) {
            Map<String, String> metadata = in.metadata();
            if (!FORMAT.equals(metadata.get("format"))) {
                throw new InputException(file + ": is not a checkpoint of this program");
            }
            var state = new TrainerState(number(metadata, "step"), floats(in, "parameters"), floats(in, "m"), floats(in, "v"),
                    optional(in, COMPOSITION)).with(optional(in, AVERAGE), optional(in, INNER_RATES));
            var checkpoint = new Checkpoint(state, number(metadata, "metrics_bytes"), number(metadata, "draws_bytes"));
            if (!checkpoint.digest().equals(metadata.get("sha256"))) {
                throw new InputException(file + ": the content does not match its checksum");
            }
            return checkpoint;
        } catch (NumberFormatException e) {
            throw new InputException(file + ": its step or the lengths of the logs are no numbers; the file is damaged", e);
        }
    }

    private static long number(Map<String, String> metadata, String key) {
        long number = Long.parseLong(metadata.get(key));
        if (number < 0) {
            throw new NumberFormatException(key + " is " + number);
        }
        return number;
    }

    private static void putOptional(Map<String, HostTensor> tensors, String name, float[] values) {
        if (values.length > 0) {
            tensors.put(name, HostTensor.of(name, values, values.length));
        }
    }

    private static float[] optional(Safetensors in, String name) {
        return in.names().contains(name) ? floats(in, name) : new float[0];
    }

    private static float[] floats(Safetensors in, String name) {
        HostTensor tensor = in.tensor(name);
        if (tensor.dtype() != DType.F32) {
            throw new InputException(in.path() + ": tensor " + name + " is of type " + tensor.dtype() + ", but a checkpoint's are F32");
        }
        return tensor.toFloats();
    }

    private String digest() {
        MessageDigest sha = Sha256.digest();
        sha.update((state.step() + " " + metricsBytes + " " + drawsBytes).getBytes(StandardCharsets.US_ASCII));
        for (float[] values : List.of(state.parameters(), state.m(), state.v(), state.composition(), state.average(),
                state.innerRates())) {
            update(sha, values);
        }
        return HexFormat.of().formatHex(sha.digest());
    }

    private static void update(MessageDigest sha, float[] values) {
        var bytes = ByteBuffer.allocate(4 * CHUNK);
        for (int from = 0; from < values.length; from += CHUNK) {
            int count = Math.min(CHUNK, values.length - from);
            bytes.clear();
            bytes.asFloatBuffer().put(values, from, count);
            bytes.limit(4 * count);
            sha.update(bytes);
        }
    }
}

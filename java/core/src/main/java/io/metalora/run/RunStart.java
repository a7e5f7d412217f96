package io.metalora.run;

import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.metalora.adapter.LoraAdapter;
import io.metalora.config.TrainConfig;
import io.metalora.file.AtomicFile;
import io.metalora.file.JsonObject;
import io.metalora.file.Sha256;
import io.metalora.model.ModelFingerprint;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceInfo;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * What a run began with besides its data: a file of the run folder, by which a resumed run notices what has changed in
 * between.
 *
 * @param model    the base model
 * @param settings the config as dotted key to value
 * @param compute  what decides the last bits of a result: backend, instruction set, threads and their like
 */
record RunStart(ModelFingerprint model, Map<String, String> settings, Map<String, String> compute) {

    private static final String FORMAT = "metalora-fingerprint-1";
    /** Beside the settings: a hash of what adapter.init gave. */
    private static final String INITIAL_ADAPTER = "initial_adapter";
    /** Likewise of meta.replay. */
    private static final String REPLAYED = "replayed_draws";

    /** @param opened where the run computes, which need not be what the config asks for: it may be given a loaded model */
    static RunStart of(ModelFingerprint model, TrainConfig config, Device opened) {
        DeviceInfo device = opened.info();
        Arithmetic arithmetic = opened.multipliesInBf16() ? Arithmetic.BF16 : Arithmetic.FP32;
        var compute = new TreeMap<String, String>();
        compute.put("backend", device.backend().name().toLowerCase(Locale.ROOT));
        compute.put("isa", device.isa());
        compute.put("arithmetic", arithmetic.name().toLowerCase(Locale.ROOT));
        compute.put("threads", Integer.toString(device.threads()));
        compute.put("blas", device.blas());
        compute.put("weights", config.compute().weights().name().toLowerCase(Locale.ROOT));
        compute.put("token_budget", Integer.toString(config.compute().tokenBudget()));
        if (device.backend() != Backend.CPU) {
            compute.put("device", device.deviceName());
        }
        return new RunStart(model, config.settings(), compute);
    }

    /** With the adapter that the run begins from, by the files of its copy. */
    RunStart withInitialAdapter(Path copy) {
        var all = new TreeMap<>(settings);
        all.put(INITIAL_ADAPTER, LoraAdapter.digest(copy));
        return new RunStart(model, all, compute);
    }

    /** With the draws that the run repeats, by their copy. */
    RunStart withReplay(Path copy) {
        var all = new TreeMap<>(settings);
        all.put(REPLAYED, digest(copy));
        return new RunStart(model, all, compute);
    }

    /** Whether the copy is what the run began to repeat. */
    boolean repeats(Path copy) {
        return repeats(digest(copy));
    }

    boolean repeats(String digest) {
        return digest.equals(settings.get(REPLAYED));
    }

    static String digest(Path file) {
        try {
            return Sha256.of(file);
        } catch (IOException e) {
            throw new InputException(file + " can't be read: " + FileFailure.reason(e), e);
        }
    }

    /** Whether the copy is what the run began from, as far as that was noted. */
    boolean beganFrom(Path copy) {
        String before = settings.get(INITIAL_ADAPTER);
        return before == null || before.equals(LoraAdapter.digest(copy));
    }

    /** How a config differs in what is trained, in words; empty if it doesn't. */
    static List<String> changes(TrainConfig before, TrainConfig now) {
        return trainingChanges(before.settings(), now);
    }

    /** How a config differs from what the run began with; empty if it doesn't. */
    List<String> settingChangesTo(TrainConfig now) {
        return trainingChanges(settings, now);
    }

    private static List<String> trainingChanges(Map<String, String> before, TrainConfig now) {
        var kept = new TreeMap<>(before);
        kept.keySet().removeIf(key -> key.equals("output") || key.startsWith("compute."));
        return changes(kept, now.settings());
    }

    /** How the compute of a resumed run differs, in words; empty if it doesn't. */
    List<String> computeChangesTo(RunStart now) {
        return changes(compute, now.compute);
    }

    /** Of the keys in both: one that is new to this version, or unknown to it, can't have changed. */
    private static List<String> changes(Map<String, String> before, Map<String, String> now) {
        var changes = new ArrayList<String>();
        before.forEach((key, was) -> {
            String is = now.get(key);
            if (is != null && !is.equals(was)) {
                changes.add(key + " was " + was + ", is " + is);
            }
        });
        return changes;
    }

    void write(Path file) {
        var root = Map.of("format", FORMAT, "model", new TreeMap<>(model.parts()), "settings", settings, "compute", compute);
        try {
            AtomicFile.write(file, JsonMapper.builder().enable(SerializationFeature.INDENT_OUTPUT).build()
                    .writeValueAsBytes(new TreeMap<>(root)));
        } catch (IOException e) {
            throw new IllegalStateException(e); // of maps of texts
        }
    }

    /** @throws InputException if the file is damaged */
    static RunStart read(Path file) {
        JsonObject root = JsonObject.read(file);
        if (!root.string("format").equals(FORMAT)) {
            throw root.fail("format", "is " + root.describe("format") + ", but this version reads " + FORMAT);
        }
        return new RunStart(new ModelFingerprint(texts(root, "model")), texts(root, "settings"), texts(root, "compute"));
    }

    private static Map<String, String> texts(JsonObject root, String key) {
        JsonObject object = root.object(key).orElseThrow(() -> root.fail(key, "is missing"));
        var texts = new TreeMap<String, String>();
        object.keys().forEach(name -> texts.put(name, object.string(name)));
        return texts;
    }
}

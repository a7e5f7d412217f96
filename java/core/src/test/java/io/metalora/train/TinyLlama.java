package io.metalora.train;

import io.metalora.adapter.LoraAdapter;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadOptions;
import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.task.Episode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import java.util.stream.StreamSupport;

/** The goldens' random Llama, on the CPU unless told otherwise, with its adapter and episodes. */
public final class TinyLlama implements AutoCloseable {

    private final Device device;
    private final CausalLM model;

    public TinyLlama() {
        this(Device.open(new DeviceOptions(Backend.CPU, 2)));
    }

    /** @param device closed with this */
    public TinyLlama(Device device) {
        this.device = device;
        this.model = CausalLM.load(Goldens.path("tiny-llama"), device, LoadOptions.defaults());
    }

    public Device device() {
        return device;
    }

    public CausalLM model() {
        return model;
    }

    /** The goldens' adapter before training; its B are not zero. */
    public LoraAdapter adapter() {
        return adapter(Goldens.path("adapter"));
    }

    public LoraAdapter adapter(Path folder) {
        return LoraAdapter.load(folder, model.config(), device);
    }

    /** The goldens' episodes, [iterations][tasks of the meta-batch]. */
    public static List<List<Episode>> episodes() throws IOException {
        var iterations = new ArrayList<List<Episode>>();
        for (var iteration : Goldens.json("episodes.json")) {
            var episodes = new ArrayList<Episode>();
            for (var episode : iteration) {
                var examples = new ArrayList<EncodedExample>();
                for (String set : new String[] {"support", "query"}) {
                    for (var sequence : episode.get(set)) {
                        int[] ids = StreamSupport.stream(sequence.get("ids").spliterator(), false).mapToInt(id -> id.intValue()).toArray();
                        examples.add(new EncodedExample(ids, sequence.get("prompt_length").intValue()));
                    }
                }
                int support = episode.get("support").size();
                var task = new EncodedTask(episode.get("task").textValue(), examples, IntStream.range(0, examples.size()).toArray());
                episodes.add(new Episode(task, IntStream.range(0, support).toArray(),
                        IntStream.range(support, examples.size()).toArray()));
            }
            iterations.add(episodes);
        }
        return iterations;
    }

    /** Every task of the episodes once, as the trainers want them. */
    public static List<EncodedTask> tasks() throws IOException {
        return episodes().getFirst().stream().map(Episode::task).toList();
    }

    /** Short random samples, the same for the same name. */
    static EncodedTask task(String name, int samples) {
        var random = new Random(name.hashCode());
        var examples = new ArrayList<EncodedExample>();
        for (int i = 0; i < samples; i++) {
            int prompt = 1 + random.nextInt(9);
            examples.add(new EncodedExample(random.ints(prompt + 1 + random.nextInt(3), 0, 256).toArray(), prompt));
        }
        return new EncodedTask(name, examples, IntStream.range(0, samples).toArray());
    }

    /** || a - b || / || b || */
    static double relativeError(float[] a, float[] b) {
        double difference = 0;
        double norm = 0;
        for (int i = 0; i < b.length; i++) {
            difference += ((double) a[i] - b[i]) * ((double) a[i] - b[i]);
            norm += (double) b[i] * b[i];
        }
        return Math.sqrt(difference / norm);
    }

    static float[] minus(float[] a, float[] b) {
        float[] difference = new float[a.length];
        for (int i = 0; i < a.length; i++) {
            difference[i] = a[i] - b[i];
        }
        return difference;
    }

    @Override
    public void close() {
        model.close();
        device.close();
    }
}

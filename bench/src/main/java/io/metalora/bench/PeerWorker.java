package io.metalora.bench;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.metalora.adapter.LoraAdapter;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadOptions;
import io.metalora.model.WeightStorage;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.task.EncodedExample;
import io.metalora.task.EncodedTask;
import io.metalora.train.IterationReport;
import io.metalora.train.Trainer;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * The metalora side of {@code bench/peers/compare.py}: repeats one workload on request and answers with one line of JSON each
 * time. The protocol is that of {@code peft_worker.py}.
 */
public final class PeerWorker {
    private static final JsonMapper JSON = JsonMapper.builder().enable(MapperFeature.ACCEPT_CASE_INSENSITIVE_ENUMS).build();

    record Sequence(int[] ids, int prompt) {
        EncodedExample example() {
            return new EncodedExample(ids, Math.max(1, prompt)); // nothing predicts the first token
        }
    }

    record Sets(List<Sequence> support, List<Sequence> query) {}

    record Work(String kind, String model, WeightStorage weights, Arithmetic arithmetic, int threads, long seed,
            int rank, float alpha, double lr, @JsonProperty("inner_lr") double innerLr, @JsonProperty("inner_steps") int innerSteps,
            @JsonProperty("target_modules") List<String> targetModules, List<Sequence> batch, List<Sets> tasks) {}

    private PeerWorker() {}

    public static void main(String[] arguments) throws IOException {
        Work work = JSON.readValue(Path.of(arguments[0]).toFile(), Work.class);
        try (Device device = Device.open(new DeviceOptions(Backend.CPU, work.threads).withArithmetic(work.arithmetic));
                CausalLM model = CausalLM.load(Path.of(work.model), device, new LoadOptions(work.weights));
                var adapter = Workload.adapter(model, work.rank, work.alpha, work.targetModules);
                Trainer trainer = trainer(work, model, adapter)) {
            answer(Map.of("ready", true));
            var requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line; (line = requests.readLine()) != null && !line.equals("quit"); ) {
                long begin = System.nanoTime();
                IterationReport report = trainer.iterate();
                double seconds = (System.nanoTime() - begin) * 1e-9;
                answer(Map.of("seconds", seconds, "tokens", report.tokens(), "loss", report.loss()));
            }
            answer(Map.of("peak_rss", peakResidentBytes()));
        }
    }

    private static Trainer trainer(Work work, CausalLM model, LoraAdapter adapter) {
        String lr = "optimizer.lr=" + work.lr;
        if (work.kind.equals("training_step")) {
            var batch = Workload.task("batch", work.batch.stream().map(Sequence::example).toList());
            return Workload.trainingStep(model, adapter, List.of(batch), work.batch.size(), lr);
        }
        var tasks = new ArrayList<EncodedTask>();
        for (Sets sets : work.tasks) {
            var examples = new ArrayList<EncodedExample>();
            sets.support.forEach(sequence -> examples.add(sequence.example()));
            sets.query.forEach(sequence -> examples.add(sequence.example()));
            tasks.add(Workload.task("task" + tasks.size(), examples));
        }
        int support = work.tasks.getFirst().support.size();
        int query = work.tasks.getFirst().query.size();
        return Workload.metaIteration(
                model, adapter, tasks, support, query, work.innerSteps, lr, "meta.inner_lr=" + work.innerLr);
    }

    private static void answer(Map<String, Object> fields) throws IOException {
        System.out.println(JSON.writeValueAsString(fields));
        System.out.flush();
    }

    /** The process's high-water mark, native memory and mapped files included. */
    private static long peakResidentBytes() throws IOException {
        try (var lines = Files.lines(Path.of("/proc/self/status"))) {
            String line = lines.filter(l -> l.startsWith("VmHWM:")).findFirst().orElseThrow();
            return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
        }
    }
}

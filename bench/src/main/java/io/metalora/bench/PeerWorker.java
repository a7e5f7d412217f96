package io.metalora.bench;

import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.json.JsonMapper;
import io.metalora.adapter.LoraAdapter;
import io.metalora.model.CausalLM;
import io.metalora.model.GenerationOptions;
import io.metalora.model.Generator;
import io.metalora.model.LoadOptions;
import io.metalora.model.WeightStorage;
import io.metalora.runtime.Arithmetic;
import io.metalora.runtime.Backend;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InstructionSet;
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
import java.util.LinkedHashMap;
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

    record Work(String kind, String model, WeightStorage weights, Arithmetic arithmetic, InstructionSet isa, int threads, long seed,
            int rank, float alpha, double lr, @JsonProperty("inner_lr") double innerLr, @JsonProperty("inner_steps") int innerSteps,
            @JsonProperty("target_modules") List<String> targetModules, List<Sequence> batch, List<Sets> tasks,
            int[] prompt, @JsonProperty("new_tokens") int newTokens) {}

    /** Does the work once. */
    interface Job extends AutoCloseable {
        /** The answer's fields beside the time: tokens, and a loss or the ids. */
        Map<String, Object> run();

        @Override
        void close();
    }

    private PeerWorker() {}

    public static void main(String[] arguments) throws IOException {
        Work work = JSON.readValue(Path.of(arguments[0]).toFile(), Work.class);
        var options = new DeviceOptions(Backend.CPU, work.threads, work.isa).withArithmetic(work.arithmetic);
        try (Device device = Device.open(options);
                CausalLM model = CausalLM.load(Path.of(work.model), device, new LoadOptions(work.weights));
                Job job = work.kind.equals("decode") ? new Decoding(work, model) : new Training(work, model)) {
            answer(Map.of("ready", true));
            var requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            for (String line; (line = requests.readLine()) != null && !line.equals("quit"); ) {
                long begin = System.nanoTime();
                Map<String, Object> result = job.run();
                double seconds = (System.nanoTime() - begin) * 1e-9;
                var fields = new LinkedHashMap<String, Object>(result);
                fields.put("seconds", seconds);
                answer(fields);
            }
            answer(Map.of("peak_rss", peakResidentBytes()));
        }
    }

    /** A training step, or an iteration of MeTA-LoRA. */
    private static final class Training implements Job {
        private final LoraAdapter adapter;
        private final Trainer trainer;

        Training(Work work, CausalLM model) {
            adapter = Workload.adapter(model, work.rank, work.alpha, work.targetModules);
            trainer = trainer(work, model, adapter);
        }

        @Override
        public Map<String, Object> run() {
            IterationReport report = trainer.iterate();
            return Map.of("tokens", report.tokens(), "loss", report.loss());
        }

        @Override
        public void close() {
            trainer.close();
            adapter.close();
        }
    }

    /** Greedy continuation of one prompt by the base model, prompt included in the time. */
    private static final class Decoding implements Job {
        private final Generator generator;
        private final int[] prompt;
        private final GenerationOptions options;

        Decoding(Work work, CausalLM model) {
            generator = new Generator(model, null, work.prompt.length + work.newTokens);
            prompt = work.prompt;
            options = GenerationOptions.greedy(work.newTokens);
        }

        @Override
        public Map<String, Object> run() {
            int[] ids = generator.generate(prompt, options);
            return Map.of("tokens", ids.length, "ids", ids);
        }

        @Override
        public void close() {
            generator.close();
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

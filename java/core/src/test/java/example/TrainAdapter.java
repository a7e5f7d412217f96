package example;

import io.metalora.adapter.LoraAdapter;
import io.metalora.adapter.LoraLayout;
import io.metalora.config.TrainConfig;
import io.metalora.model.CausalLM;
import io.metalora.model.LoadOptions;
import io.metalora.runtime.Device;
import io.metalora.task.EncodedTask;
import io.metalora.task.ExampleEncoder;
import io.metalora.task.TaskFolder;
import io.metalora.text.TextTokenizer;
import io.metalora.train.MetaLora;
import java.nio.file.Path;

public class TrainAdapter {
    public static void train(Path modelFolder, Path taskFolder, Path adapterFolder) {
        var config = TrainConfig.of("adapter.rank=4", "meta.iterations=3", "meta.tasks_per_iteration=3",
                "meta.support_size=4", "meta.query_size=4", "meta.inner_steps=2", "optimizer.lr=5e-3");
        try (var device = Device.cpu();
             var model = CausalLM.load(modelFolder, device, LoadOptions.defaults());
             var tokenizer = TextTokenizer.load(modelFolder);
             var adapter = LoraAdapter.create(device, new LoraLayout(model.config(), config.adapter().lora()), 42)) {
            var encoder = ExampleEncoder.forTraining(tokenizer, model.config());
            var tasks = EncodedTask.encode(TaskFolder.read(taskFolder), encoder, 50, config.seed());
            try (var training = new MetaLora(model, adapter, tasks, config)) {
                while (training.done() < training.total()) {
                    System.out.printf("query loss %.3f%n", training.iterate().loss());
                }
            }
            adapter.save(adapterFolder, modelFolder.toString());
        }
    }
}

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
        var config = TrainConfig.builder().adapter(a -> a.rank(4)).optimizer(o -> o.lr(5e-3))
                .meta(m -> m.iterations(3).tasksPerIteration(3).supportSize(4).querySize(4).innerSteps(2)).build();
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

package example;

import io.metalora.generate.Completion;
import io.metalora.generate.TextGenerator;
import io.metalora.generate.TextRequest;
import io.metalora.model.GenerationOptions;
import io.metalora.model.LoadedModel;
import io.metalora.runtime.DeviceOptions;
import java.nio.file.Path;
import java.util.List;

public class GenerateText {
    /** What the base model and an adapter on it make of a prompt, computed together. */
    public static List<Completion> compare(Path modelFolder, Path adapterFolder, String prompt) {
        try (var loaded = LoadedModel.open(modelFolder, List.of(adapterFolder), DeviceOptions.cpu())) {
            var base = TextRequest.of(prompt, GenerationOptions.greedy(32));
            return new TextGenerator(loaded).generate(List.of(base, base.withSlot(0)));
        }
    }
}

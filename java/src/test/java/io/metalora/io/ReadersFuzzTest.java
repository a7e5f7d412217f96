package io.metalora.io;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.runtime.DType;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Whatever the bytes, the readers either read or throw an InputException. A build runs the seeds beside this class's
 * resources; {@code JAZZER_FUZZ=1 mvn test -Dtest=ReadersFuzzTest#NAME} searches for more.
 */
class ReadersFuzzTest {
    private static final int DATA_BYTES = 64;

    @FuzzTest(maxDuration = "2m")
    void safetensorsHeader(byte[] header) {
        try {
            var parsed = SafetensorsHeader.parse(Path.of("fuzz.safetensors"), header, DATA_BYTES);
            long covered = parsed.tensors().values().stream().mapToLong(e -> e.end() - e.begin()).sum();
            if (covered != DATA_BYTES) {
                throw new AssertionError("accepted tensors of " + covered + " bytes for " + DATA_BYTES + " of data");
            }
        } catch (InputException e) {
            requireMessage(e);
        }
    }

    @FuzzTest(maxDuration = "2m")
    void safetensorsFile(byte[] bytes) throws IOException {
        Path file = Files.createTempFile("fuzz", ".safetensors");
        try {
            Files.write(file, bytes);
            try (var st = Safetensors.open(file)) {
                for (String name : st.names()) {
                    readTensor(st, name);
                }
            } catch (InputException e) {
                requireMessage(e);
            }
        } finally {
            Files.delete(file);
        }
    }

    private static void readTensor(Safetensors st, String name) {
        try {
            var tensor = st.tensor(name);
            if (tensor.dtype() != DType.I32 && tensor.dtype() != DType.F64) {
                tensor.toFloats();
            }
        } catch (InputException e) {
            requireMessage(e); // a type the runtime lacks
        }
    }

    @FuzzTest(maxDuration = "2m")
    void modelConfig(byte[] config) {
        try {
            ModelConfig.of(JsonObject.parse(Path.of("config.json"), config), null);
        } catch (InputException e) {
            requireMessage(e);
        }
    }

    private static void requireMessage(InputException e) {
        if (e.getMessage() == null || e.getMessage().isBlank()) {
            throw new AssertionError("an InputException without a message", e);
        }
    }
}

package io.metalora.io.safetensors;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.runtime.HostTensor;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.TreeMap;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.lifecycle.AfterContainer;
import net.jqwik.api.lifecycle.BeforeContainer;

class SafetensorsPropertiesTest {
    private static Path file;

    @BeforeContainer
    static void createFile() throws IOException {
        file = Files.createTempFile("properties", ".safetensors");
    }

    @AfterContainer
    static void deleteFile() throws IOException {
        Files.delete(file);
    }

    @Property(tries = 150)
    void whatIsWrittenIsRead(
            @ForAll("tensors") Map<String, HostTensor> tensors, @ForAll("metadata") Map<String, String> metadata) {
        Safetensors.write(file, tensors, metadata);
        try (var st = Safetensors.open(file)) {
            assertThat(st.names()).containsExactlyElementsOf(new TreeMap<>(tensors).keySet());
            assertThat(st.metadata()).isEqualTo(metadata);
            tensors.forEach((name, t) -> {
                assertThat(st.tensor(name).shape()).isEqualTo(t.shape());
                assertThat(bytes(st.tensor(name))).isEqualTo(bytes(t)); // NaN payloads and the sign of zero included
            });
        }
    }

    @Provide
    Arbitrary<Map<String, HostTensor>> tensors() {
        Arbitrary<HostTensor> values = Arbitraries.integers().between(0, 5).list().ofMaxSize(3).flatMap(shape -> {
            int elements = shape.stream().reduce(1, (a, b) -> a * b);
            return Arbitraries.integers().array(int[].class).ofSize(elements).map(bits -> {
                var floats = new float[bits.length];
                for (int i = 0; i < bits.length; i++) {
                    floats[i] = Float.intBitsToFloat(bits[i]);
                }
                return HostTensor.of("t", floats, shape.stream().mapToLong(Integer::longValue).toArray());
            });
        });
        return Arbitraries.maps(text().filter(s -> !s.equals("__metadata__")), values).ofMaxSize(6);
    }

    @Provide
    Arbitrary<Map<String, String>> metadata() {
        return Arbitraries.maps(text(), text()).ofMaxSize(4);
    }

    /** Any characters, control characters and quotes included; half a surrogate pair is none. */
    private static Arbitrary<String> text() {
        return Arbitraries.strings().ofMaxLength(30)
                .filter(s -> s.chars().noneMatch(c -> Character.isSurrogate((char) c)));
    }

    private static byte[] bytes(HostTensor t) {
        var bytes = new byte[Math.toIntExact(t.bytes())];
        t.copyBytes(0, bytes, 0, bytes.length);
        return bytes;
    }
}

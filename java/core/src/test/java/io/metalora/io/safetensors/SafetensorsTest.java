package io.metalora.io.safetensors;

import static io.metalora.io.safetensors.SafetensorsFiles.entry;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.DType;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class SafetensorsTest {
    @TempDir
    Path dir;

    @Test
    void readsEveryFloatType() throws IOException {
        String header = "{" + String.join(",",
                entry("a", "F32", "[2,1]", "[0,8]"),
                entry("h", "F16", "[3]", "[8,14]"),
                entry("b", "BF16", "[1,2,1]", "[14,18]"),
                entry("scalar", "F32", "[]", "[18,22]"),
                entry("empty", "F32", "[0,5]", "[22,22]"))
                + ",\"__metadata__\":{\"format\":\"pt\",\"x\":\"\"}}   ";
        var data = ByteBuffer.allocate(22).order(ByteOrder.LITTLE_ENDIAN)
                .putFloat(1.5f).putFloat(-0.0f)
                .putShort(Float.floatToFloat16(0.1f)).putShort((short) 0x7C00).putShort((short) 1)
                .putShort((short) 0x3F80).putShort((short) 0xC049)
                .putFloat(Float.MIN_VALUE);
        byte[] file = SafetensorsFiles.bytes(header, 22);
        System.arraycopy(data.array(), 0, file, file.length - 22, 22);
        Path path = Files.write(dir.resolve("m.safetensors"), file);

        try (var st = Safetensors.open(path)) {
            assertThat(st.names()).containsExactly("a", "b", "empty", "h", "scalar");
            assertThat(st.metadata()).isEqualTo(Map.of("format", "pt", "x", ""));
            assertThat(st.tensor("a").toFloats()).containsExactly(1.5f, -0.0f);
            assertThat(st.tensor("a").shape()).containsExactly(2, 1);
            assertThat(st.tensor("h").dtype()).isEqualTo(DType.F16);
            assertThat(st.tensor("h").toFloats())
                    .containsExactly(0.0999755859375f, Float.POSITIVE_INFINITY, 5.9604644775390625e-8f);
            assertThat(st.tensor("b").toFloats()).containsExactly(1f, -3.140625f);
            assertThat(st.tensor("scalar").toFloats()).containsExactly(Float.MIN_VALUE);
            assertThat(st.tensor("empty").toFloats()).isEmpty();
            assertThatThrownBy(() -> st.tensor("c")).isInstanceOf(InputException.class)
                    .hasMessageContainingAll("m.safetensors", "no tensor c", "5: a, b");
        }
    }

    @Test
    void aTypeTheRuntimeLacksStopsOnlyItsOwnTensor() throws IOException {
        Path path = SafetensorsFiles.write(dir.resolve("m.safetensors"), "{"
                + entry("ids", "I64", "[1]", "[0,8]") + "," + entry("w", "F32", "[1]", "[8,12]") + "}", 12);
        try (var st = Safetensors.open(path)) {
            assertThat(st.tensor("w").toFloats()).containsExactly(0f);
            assertThatThrownBy(() -> st.tensor("ids")).isInstanceOf(InputException.class)
                    .hasMessageContainingAll("tensor ids", "I64", "F32, F16 and BF16");
        }
    }

    static List<Arguments> malformed() {
        String ok = entry("a", "F32", "[2]", "[0,8]");
        return List.of(
                Arguments.of("hole before", "{" + entry("a", "F32", "[1]", "[4,8]") + "}", 8,
                        List.of("tensor a", "begins at data byte 4", "hole")),
                Arguments.of("hole between", "{" + ok + "," + entry("b", "F32", "[1]", "[12,16]") + "}", 16,
                        List.of("tensor b", "12", "hole after tensor a", "8")),
                Arguments.of("overlap", "{" + ok + "," + entry("b", "F32", "[2]", "[4,12]") + "}", 12,
                        List.of("tensor b", "data byte 4", "inside tensor a", "8")),
                Arguments.of("same range twice", "{" + ok + "," + entry("b", "F32", "[2]", "[0,8]") + "}", 8,
                        List.of("tensor b", "inside tensor a")),
                Arguments.of("unused data", "{" + ok + "}", 12, List.of("end at data byte 8", "holds 12")),
                Arguments.of("truncated data", "{" + ok + "}", 7, List.of("tensor a", "0 .. 8", "holds 7", "truncated")),
                Arguments.of("offset far out",
                        "{" + entry("a", "F32", "[2]", "[9223372036854775799,9223372036854775807]") + "}", 8,
                        List.of("tensor a", "9223372036854775807", "holds 8")),
                Arguments.of("negative offset", "{" + entry("a", "F32", "[2]", "[-8,0]") + "}", 8,
                        List.of("tensor a", "-8", "data_offsets")),
                Arguments.of("reversed offsets", "{" + entry("a", "F32", "[2]", "[8,0]") + "}", 8,
                        List.of("tensor a", "begins at data byte 8", "end at 0")),
                Arguments.of("fractional offset", "{" + entry("a", "F32", "[2]", "[0,8.0]") + "}", 8,
                        List.of("tensor a", "8.0", "data_offsets")),
                Arguments.of("offset beyond long", "{" + entry("a", "F32", "[2]", "[0,18446744073709551616]") + "}", 8,
                        List.of("tensor a", "18446744073709551616")),
                Arguments.of("one offset", "{" + entry("a", "F32", "[2]", "[8]") + "}", 8,
                        List.of("tensor a", "1 data_offsets")),
                Arguments.of("three offsets", "{" + entry("a", "F32", "[2]", "[0,8,8]") + "}", 8,
                        List.of("tensor a", "3 data_offsets")),
                Arguments.of("shape against offsets", "{" + entry("a", "F32", "[3]", "[0,8]") + "}", 8,
                        List.of("tensor a", "[3]", "F32", "needs 12 bytes", "[0, 8]")),
                Arguments.of("negative dimension", "{" + entry("a", "F32", "[-2]", "[0,8]") + "}", 8,
                        List.of("tensor a", "-2", "shape")),
                Arguments.of("overflowing shape",
                        "{" + entry("a", "F32", "[4294967296,4294967296,4294967296]", "[0,8]") + "}", 8,
                        List.of("tensor a", "4294967296", "more than any file")),
                Arguments.of("overflow to the right size",
                        "{" + entry("a", "F32", "[4611686018427387906]", "[0,8]") + "}", 8,
                        List.of("tensor a", "more than any file")),
                Arguments.of("half bytes", "{" + entry("a", "F4", "[3]", "[0,1]") + "}", 1,
                        List.of("tensor a", "whole bytes", "F4")),
                Arguments.of("unknown dtype", "{" + entry("a", "F33", "[2]", "[0,8]") + "}", 8,
                        List.of("tensor a", "unknown dtype F33", "BF16")),
                Arguments.of("dtype is a number", "{\"a\":{\"dtype\":1,\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
                        List.of("tensor a", "dtype")),
                Arguments.of("nested shape", "{" + entry("a", "F32", "[[2]]", "[0,8]") + "}", 8,
                        List.of("tensor a", "shape")),
                Arguments.of("shape is a number", "{" + entry("a", "F32", "2", "[0,8]") + "}", 8,
                        List.of("tensor a", "shape")),
                Arguments.of("no dtype", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
                        List.of("tensor a", "lacks dtype")),
                Arguments.of("no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8,
                        List.of("tensor a", "lacks shape")),
                Arguments.of("no offsets", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8,
                        List.of("tensor a", "lacks data_offsets")),
                Arguments.of("unknown key", "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8,
                        List.of("tensor a", "unknown key x")),
                Arguments.of("tensor is a list", "{\"a\":[]}", 0, List.of("tensor a", "object")),
                Arguments.of("same name twice", "{" + ok + "," + entry("a", "F32", "[2]", "[8,16]") + "}", 16,
                        List.of("Duplicate", "'a'")),
                Arguments.of("same key twice",
                        "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
                        List.of("Duplicate", "'dtype'")),
                Arguments.of("metadata of numbers", "{\"__metadata__\":{\"a\":1}}", 0, List.of("__metadata__", "string")),
                Arguments.of("metadata is a list", "{\"__metadata__\":[]}", 0, List.of("__metadata__")),
                Arguments.of("cut off", "{" + ok, 8, List.of("header is not valid JSON", "end-of-input")),
                Arguments.of("no JSON", "{a}", 0, List.of("header is not valid JSON")),
                Arguments.of("text after it", "{}{}", 0, List.of("text follows")),
                Arguments.of("zeros after it", "{}\0\0", 0, List.of("header is not valid JSON")),
                Arguments.of("deep nesting", "{\"a\":" + "[".repeat(5000), 0, List.of("tensor a")),
                Arguments.of("NaN", "{" + entry("a", "F32", "[NaN]", "[0,8]") + "}", 8,
                        List.of("header is not valid JSON")));
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource
    void malformed(String what, String header, int data, List<String> named) throws IOException {
        refused(SafetensorsFiles.write(dir.resolve("m.safetensors"), header, data), named);
    }

    @ParameterizedTest
    @CsvSource({
        "'', 0 bytes",
        "00, 1 bytes",
        "00000000000000, 7 bytes",
        "ffffffffffffffff, 18446744073709551615", // -1, were it signed
        "0000000000000080, 9223372036854775808",
        "01e1f50500000000, 100000001", // one above the format's limit
        "00e1f50500000000, 100000000", // at the limit, beyond the file
        "0a000000000000007b7d, 'header length of 10 bytes goes beyond the file''s 10'",
        "0000000000000000, does not begin",
        "01000000000000007b, does not begin",
        "02000000000000005b5d, does not begin",
        "0300000000000000207b7d, does not begin",
        "04000000000000007b22ff7d, UTF-8",
        "04000000000000007b007d00, JSON", // UTF-16
    })
    void wrongLengths(String hex, String named) throws IOException {
        refused(Files.write(dir.resolve("m.safetensors"), HexFormat.of().parseHex(hex)), List.of(named));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', textBlock = """
            504b030414000000080000000000             | PyTorch
            80027d71002e000000000000                 | pickle
            8004952100000000000000                   | pickle
            4747554603000000000000000000             | GGUF
            894844460d0a1a0a0000000000000000         | HDF5
            1f8b08000000000000036d00000000           | gzip
            """)
    void otherToolsFilesAreRecognised(String hex, String named) throws IOException {
        refused(Files.write(dir.resolve("m.safetensors"), HexFormat.of().parseHex(hex)), List.of(named));
    }

    @Test
    void whatADownloadLeavesInsteadIsRecognised() throws IOException {
        Path path = dir.resolve("m.safetensors");
        Files.writeString(path, "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
        refused(path, List.of("git-lfs pointer", "git lfs pull"));
        Files.writeString(path, "\n<!DOCTYPE html><html>404</html>");
        refused(path, List.of("web page"));
    }

    @Test
    void aMissingFileAndAFolderAreNamed() {
        assertThatThrownBy(() -> Safetensors.open(dir.resolve("no.safetensors"))).isInstanceOf(InputException.class)
                .hasMessageContaining("no.safetensors");
        assertThatThrownBy(() -> Safetensors.open(dir)).isInstanceOf(InputException.class)
                .hasMessageContaining(dir.toString());
    }

    @Test
    void everyTruncationOfAFileIsRefused() throws IOException {
        Path path = dir.resolve("m.safetensors");
        Safetensors.write(path, Map.of("a", HostTensor.of("a", new float[] {1, 2, 3}, 3)), Map.of("format", "pt"));
        byte[] whole = Files.readAllBytes(path);
        for (int n = 0; n < whole.length; n++) {
            Path cut = Files.write(dir.resolve("cut.safetensors"), Arrays.copyOf(whole, n));
            assertThatThrownBy(() -> Safetensors.open(cut)).as(n + " bytes").isInstanceOf(InputException.class);
        }
    }

    @Test
    void theSameTensorsGiveTheSameBytes() throws IOException {
        var a = HostTensor.of("a", new float[] {1, 2}, 2, 1);
        var z = HostTensor.of("z", new float[] {3}, 1);
        Safetensors.write(dir.resolve("1"), Map.of("a", a, "z", z), Map.of("format", "pt"));
        Safetensors.write(dir.resolve("2"), Map.of("z", z, "a", a), Map.of("format", "pt"));
        byte[] bytes = Files.readAllBytes(dir.resolve("1"));
        assertThat(Files.readAllBytes(dir.resolve("2"))).isEqualTo(bytes);
        int header = (int) ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).getLong();
        assertThat(header % 8).isZero();
        assertThat(new String(bytes, 8, header, StandardCharsets.UTF_8).stripTrailing()).isEqualTo("{"
                + "\"__metadata__\":{\"format\":\"pt\"},"
                + entry("a", "F32", "[2,1]", "[0,8]") + "," + entry("z", "F32", "[1]", "[8,12]") + "}");
    }

    @Test
    void widerTypesAreWrittenFirst() throws IOException {
        byte[] source = SafetensorsFiles.bytes("{" + entry("a", "BF16", "[1]", "[0,2]") + ","
                + entry("b", "F32", "[1]", "[2,6]") + "}", 6);
        System.arraycopy(HexFormat.of().parseHex("803f0000c03f"), 0, source, source.length - 6, 6);
        Path from = Files.write(dir.resolve("from"), source);
        try (var st = Safetensors.open(from)) {
            Safetensors.write(dir.resolve("to"), Map.of("a", st.tensor("a"), "b", st.tensor("b")), Map.of());
        }
        try (var st = Safetensors.open(dir.resolve("to"))) {
            assertThat(st.tensor("a").dtype()).isEqualTo(DType.BF16);
            assertThat(st.tensor("a").toFloats()).containsExactly(1f);
            assertThat(st.tensor("b").toFloats()).containsExactly(1.5f);
        }
        assertThat(Files.readString(dir.resolve("to"), StandardCharsets.ISO_8859_1))
                .contains(entry("b", "F32", "[1]", "[0,4]"));
    }

    @Test
    void aFailedWriteLeavesTheOldFileAndNothingElse() throws IOException {
        Path path = dir.resolve("m.safetensors");
        Safetensors.write(path, Map.of("a", HostTensor.of("a", new float[] {1}, 1)), Map.of());
        byte[] old = Files.readAllBytes(path);
        Path other = Files.copy(path, dir.resolve("closed.safetensors"));
        HostTensor closed;
        try (var st = Safetensors.open(other)) {
            closed = st.tensor("a");
        }
        Files.delete(other);
        assertThatThrownBy(() -> Safetensors.write(path, Map.of("a", closed), Map.of()))
                .as("fails when it comes to the data").isInstanceOf(IllegalStateException.class);
        assertThat(Files.readAllBytes(path)).isEqualTo(old);
        try (var files = Files.list(dir)) {
            assertThat(files).containsExactly(path);
        }
    }

    @Test
    void aMissingFolderToWriteToIsNamed() {
        Path path = dir.resolve("no/such/m.safetensors");
        assertThatThrownBy(() -> Safetensors.write(path, Map.of(), Map.of())).isInstanceOf(UncheckedIOException.class)
                .hasMessageContaining(path.toString());
    }

    private static void refused(Path path, List<String> named) throws IOException {
        byte[] before = Files.readAllBytes(path);
        assertThatThrownBy(() -> Safetensors.open(path).close()).isInstanceOf(InputException.class)
                .hasMessageContaining(path.toString())
                .hasMessageContainingAll(named.toArray(CharSequence[]::new));
        assertThat(Files.readAllBytes(path)).isEqualTo(before);
    }
}

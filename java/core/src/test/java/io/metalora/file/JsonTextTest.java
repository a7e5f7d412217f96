package io.metalora.file;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.files.Pipe;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

class JsonTextTest {

    @TempDir
    private Path folder;

    @Test
    void readsNoMoreThanTheLimit() throws IOException {
        Path file = Files.write(folder.resolve("config.json"), new byte[100]);
        assertThat(JsonText.read(file, 100, "a test")).hasSize(100);
        assertThatThrownBy(() -> JsonText.read(file, 99, "a test")).isInstanceOf(InputException.class)
                .hasMessageContaining("more than a test ever has");
        assertThatThrownBy(() -> JsonText.read(folder, 100, "a test")).hasMessageContaining("it is a folder");
        Path endless = Path.of("/dev/zero");
        if (Files.exists(endless)) {
            assertThatThrownBy(() -> JsonText.readAny(endless, 1 << 20, "a test")).hasMessageContaining("more than 1 MiB");
            assertThatThrownBy(() -> JsonText.read(endless, 1 << 20, "a test")).isInstanceOf(InputException.class)
                    .hasMessageContaining("a pipe or a device");
        }
    }

    /** It is waited for without end until something writes to it. */
    @Test
    @Timeout(60)
    void aPipeIsRefused() throws IOException, InterruptedException {
        Path pipe = Pipe.make(folder.resolve("config.json"));
        assertThatThrownBy(() -> JsonText.read(pipe, 100, "a test")).isInstanceOf(InputException.class)
                .hasMessageContaining("a pipe or a device");
        assertThatThrownBy(() -> Sha256.of(pipe)).hasMessageContaining("a pipe or a device");
    }

    @Test
    void aLinkThatLeadsNowhereIsNoFileLeftOut() throws IOException {
        Path link = Files.createSymbolicLink(folder.resolve("config.json"), folder.resolve("nowhere"));
        assertThat(RegularFile.isNamed(link)).isTrue();
        assertThatThrownBy(() -> JsonText.read(link, 100, "a test")).isInstanceOf(InputException.class)
                .hasMessageContaining("leads nowhere");
    }

    @Test
    void stripsAMarkAndSaysWhereTheTextIsNotUtf8() {
        byte[] marked = "\ufeff{}".getBytes(StandardCharsets.UTF_8);
        assertThat(JsonText.utf8("x", marked)).asString(StandardCharsets.UTF_8).isEqualTo("{}");
        assertThatThrownBy(() -> JsonText.utf8("x", "{\"\u00e9\"}".getBytes(StandardCharsets.ISO_8859_1)))
                .hasMessageContaining("x is not UTF-8 (line 1, byte 2: 0xE9 ");
        // A mark of its own shifts the place by its three bytes.
        byte[] bad = {(byte) 0xef, (byte) 0xbb, (byte) 0xbf, '{', (byte) 0xff};
        assertThatThrownBy(() -> JsonText.utf8("x", bad)).hasMessageContaining("x is not UTF-8 (line 1, byte 4: 0xFF ");
    }
}

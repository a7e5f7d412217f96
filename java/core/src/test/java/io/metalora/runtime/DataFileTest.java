package io.metalora.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.runtime.op.LoraLinear;
import io.metalora.runtime.op.Ops;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Files that change while they are read, and matrices that are read in pieces. */
class DataFileTest {
    private static final int ROWS = 512;
    private static final int COLUMNS = 16;

    @TempDir
    private Path folder;

    private Path path;

    @BeforeEach
    void write() throws IOException {
        path = folder.resolve("values");
        Files.write(path, bytes(ROWS * COLUMNS));
    }

    /** The floats 0, 1, 2, ... */
    private static byte[] bytes(int count) {
        var bytes = ByteBuffer.allocate(4 * count).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < count; i++) {
            bytes.putFloat(i);
        }
        return bytes.array();
    }

    private void truncate() throws IOException {
        try (var file = new RandomAccessFile(path.toFile(), "rw")) {
            file.setLength(8192);
        }
    }

    @Test
    void aFileThatShrinksWhileItIsReadIsNamed() throws IOException {
        try (var file = DataFile.open(path); var device = Device.cpu()) {
            var tensor = file.tensor("w", 0, DType.F32, ROWS, COLUMNS);
            long held = device.info().memoryInUse();
            truncate();

            for (Runnable use : new Runnable[] {
                tensor::toFloats, () -> device.freeze(List.of(tensor), DType.F32, 0), () -> file.read(8000, 1000),
                () -> tensor.copyBytes(8192, new byte[8], 0, 8), file::requireUnchanged}) {
                assertThatThrownBy(use::run).isInstanceOf(UncheckedIOException.class)
                        .hasMessageContaining(path + ": the file was changed while it was read");
            }
            assertThatThrownBy(tensor::toFloats).hasMessageContaining("it had 32768 bytes and has 8192");
            assertThat(device.info().memoryInUse()).isEqualTo(held);
            assertThat(file.read(0, 8192)).isEqualTo(Files.readAllBytes(path));
        }
    }

    @Test
    void aFileThatIsWrittenToIsNoticedAndOneThatIsReplacedIsAsItWas() throws IOException {
        try (var file = DataFile.open(path)) {
            file.requireUnchanged();
            Files.write(folder.resolve("other"), new byte[4 * ROWS * COLUMNS]);
            Files.move(folder.resolve("other"), path, StandardCopyOption.REPLACE_EXISTING);
            file.requireUnchanged();
            assertThat(file.tensor("w", 0, DType.F32, ROWS, COLUMNS).toFloats()[5]).isEqualTo(5);
            Files.delete(path);
            file.requireUnchanged();
        }
        write();
        try (var file = DataFile.open(path)) {
            Files.setLastModifiedTime(path, FileTime.fromMillis(Files.getLastModifiedTime(path).toMillis() + 1000));
            assertThatThrownBy(file::requireUnchanged).isInstanceOf(UncheckedIOException.class)
                    .hasMessageContaining("it was written to").hasMessageContaining("start again");
        }
    }

    @Test
    void whatIsNoFileIsRefused() {
        assertThatThrownBy(() -> DataFile.open(Path.of("/dev/null"))).isInstanceOf(InputException.class)
                .hasMessageContaining("/dev/null is a pipe or a device");
        assertThatThrownBy(() -> DataFile.open(folder)).isInstanceOf(InputException.class).hasMessageContaining("is a folder");
        assertThatThrownBy(() -> DataFile.open(folder.resolve("none"))).isInstanceOf(InputException.class)
                .hasMessageContaining("no such file");
    }

    @Test
    void aClosedFileSaysSo() {
        var file = DataFile.open(path);
        var tensor = file.tensor("w", 0, DType.F32, ROWS, COLUMNS);
        file.close();
        file.close();
        assertThatThrownBy(tensor::toFloats).isInstanceOf(IllegalStateException.class).hasMessageContaining("is closed");
    }

    @Test
    void matricesOfAnySizeComeWhole() throws IOException {
        // Pieces of several rows with a rest, and rows that are more than a piece.
        for (int[] shape : new int[][] {{3001, 700}, {3, 1_100_000}}) {
            int rows = shape[0];
            int columns = shape[1];
            Files.write(path, bytes(rows * columns));
            try (var file = DataFile.open(path); var device = Device.cpu();
                    var x = device.zeros(DType.F32, 1, columns); var y = device.zeros(DType.F32, 1, rows);
                    var weight = device.freeze(List.of(file.tensor("w", 0, DType.F32, rows, columns)), DType.F32, 0)) {
                var one = new float[columns];
                one[columns - 1] = 1;
                x.upload(one);
                Ops.of(device).linear(LoraLinear.frozen(weight), x, null, y, 1);
                float[] last = y.toFloats();
                for (int row = 0; row < rows; row++) {
                    assertThat(last[row]).isEqualTo((float) ((row + 1) * columns - 1));
                }
            }
        }
    }
}

package io.metalora.train;

import io.metalora.runtime.FileFailure;
import io.metalora.runtime.InputException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/** The text of a configuration: of a file, or of what can be read only once, such as a pipe. */
final class ConfigFile {

    /** Thousands of task names take less. */
    private static final int LARGEST = 4 << 20;

    private ConfigFile() {
    }

    /**
     * Reads it as UTF-8, without a byte order mark.
     *
     * @throws InputException if it is missing, too large or not UTF-8
     */
    static String read(Path file) {
        if (Files.isDirectory(file)) {
            throw new InputException(file + ": is a folder; give the YAML file of a training run");
        }
        if (Files.notExists(file)) {
            throw new InputException(file + ": no such file; give the YAML file of a training run");
        }
        byte[] bytes;
        try (var in = Files.newInputStream(file)) {
            bytes = in.readNBytes(LARGEST + 1);
        } catch (IOException e) {
            throw new InputException(file + ": can't be read: " + FileFailure.reason(e));
        }
        if (bytes.length > LARGEST) {
            throw new InputException(file + ": has more than " + (LARGEST >> 20) + " MiB, which no configuration needs; give the YAML "
                    + "file of a training run");
        }
        return text(file.toString(), bytes);
    }

    private static String text(String name, byte[] bytes) {
        if (startsWith(bytes, 0xFE, 0xFF) || startsWith(bytes, 0xFF, 0xFE)) {
            throw new InputException(name + ": is UTF-16; save it as UTF-8");
        }
        int begin = startsWith(bytes, 0xEF, 0xBB, 0xBF) ? 3 : 0;
        var in = ByteBuffer.wrap(bytes, begin, bytes.length - begin);
        var decoder = StandardCharsets.UTF_8.newDecoder();
        try {
            return decoder.decode(in).toString();
        } catch (CharacterCodingException e) {
            int at = in.position(); // of the first byte that fits no character
            throw new InputException(name + ":" + line(bytes, at) + ": byte 0x%02X is not UTF-8; save the file as UTF-8"
                    .formatted(bytes[at] & 0xFF));
        }
    }

    private static boolean startsWith(byte[] bytes, int... mark) {
        for (int i = 0; i < mark.length; i++) {
            if (i >= bytes.length || (bytes[i] & 0xFF) != mark[i]) {
                return false;
            }
        }
        return true;
    }

    private static int line(byte[] bytes, int at) {
        int line = 1;
        for (int i = 0; i < at; i++) {
            line += bytes[i] == '\n' ? 1 : 0;
        }
        return line;
    }
}

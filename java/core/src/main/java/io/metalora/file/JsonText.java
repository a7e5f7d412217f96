package io.metalora.file;

import com.fasterxml.jackson.core.JsonProcessingException;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CoderResult;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.regex.Pattern;

/** What reading any text or JSON file takes: its bytes within a limit, its encoding, and the parser's complaints in words. */
public final class JsonText {
    private static final int CHUNK = 1 << 16;

    /** Where something began, as Jackson writes it into its messages. */
    private static final Pattern SOURCE = Pattern.compile("\\[Source:.*?line: (\\d+), column: (\\d+)]");
    /** Advice to a programmer: {@code enable `JsonReadFeature.X` to allow}, {@code from `StreamReadConstraints.getY()`}. */
    private static final Pattern ADVICE = Pattern.compile("[:,;]?( \\(?(enable|from|as per|bound as|use))? `[^`]*`( to allow)?");
    private static final Pattern COMMENT = Pattern.compile("maybe a \\(non-standard\\) comment\\?.*");

    private JsonText() {}

    private interface Opener {
        InputStream open(Path file) throws IOException;
    }

    /**
     * All bytes of {@code file}, as they are.
     *
     * @param limit bytes that no file of this kind exceeds
     * @param what  what the file should be, for messages: "a JSON configuration"
     * @throws InputException if it is missing, unreadable, no file (a pipe or a device) or larger than the limit
     */
    public static byte[] read(Path file, long limit, String what) {
        return read(file, limit, what, RegularFile::open);
    }

    /** As {@link #read}, but of a pipe or a device too, which a user may name. */
    public static byte[] readAny(Path file, long limit, String what) {
        return read(file, limit, what, Files::newInputStream);
    }

    private static byte[] read(Path file, long limit, String what, Opener opener) {
        byte[] bytes;
        try (InputStream in = opener.open(file)) {
            // Not by its size: a device or a pipe has none, and may never end.
            bytes = in.readNBytes(Math.toIntExact(limit) + 1);
        } catch (NoSuchFileException e) {
            throw new InputException(file + ": no such file"
                    + (Files.isSymbolicLink(file) ? " (it is a link that leads nowhere)" : ""), e);
        } catch (IOException e) {
            throw new InputException(file + " cannot be read: " + (Files.isDirectory(file) ? "it is a folder" : FileFailure.reason(e)), e);
        }
        if (bytes.length > limit) {
            throw new InputException(file + " has more than " + (limit >> 20) + " MiB, more than " + what
                    + " ever has; check that it is the file you mean");
        }
        return bytes;
    }

    /**
     * {@code bytes} without a byte order mark.
     *
     * @param name the file, for messages
     * @throws InputException if they are not UTF-8, or are a file of a known other kind
     */
    public static byte[] utf8(String name, byte[] bytes) {
        requireText(name, bytes);
        byte[] text = hasMark(bytes) ? Arrays.copyOfRange(bytes, 3, bytes.length) : bytes;
        int bad = invalidAt(text);
        if (bad >= 0) {
            throw new InputException(name + " is not UTF-8 (line " + line(text, bad) + ", byte " + (bad + bytes.length - text.length)
                    + ": 0x%02X is not part of a character); save it as UTF-8, or fetch it again".formatted(text[bad]));
        }
        return text;
    }

    private static int line(byte[] text, int at) {
        int line = 1;
        for (int i = 0; i < at; i++) {
            line += text[i] == '\n' ? 1 : 0;
        }
        return line;
    }

    /** Whether the bytes begin with the byte order mark that some editors put before UTF-8. */
    public static boolean hasMark(byte[] bytes) {
        return bytes.length >= 3 && bytes[0] == (byte) 0xef && bytes[1] == (byte) 0xbb && bytes[2] == (byte) 0xbf;
    }

    /**
     * Refuses files of another kind, and text in UTF-16 or UTF-32: by its byte order mark or, since JSON begins with ASCII, by
     * its zeros.
     *
     * @param start the first bytes: {@value ForeignFiles#HEAD} or more, or all of a shorter file
     */
    public static void requireText(String name, byte[] start) {
        String foreign = ForeignFiles.recognise(start);
        if (foreign != null) {
            throw new InputException(name + " is " + foreign);
        }
        boolean marked = start.length >= 2 && (start[0] == (byte) 0xff && start[1] == (byte) 0xfe
                || start[0] == (byte) 0xfe && start[1] == (byte) 0xff);
        boolean zeros = start.length >= 2 && (start[0] == 0) != (start[1] == 0);
        if (marked || zeros || start.length >= 4 && start[0] == 0 && start[1] == 0 && (start[2] != 0 || start[3] != 0)) {
            throw new InputException(name + " is UTF-16 or UTF-32, not UTF-8; convert it, as with: iconv -f UTF-16 -t UTF-8");
        }
    }

    private static int invalidAt(byte[] bytes) {
        var decoder = StandardCharsets.UTF_8.newDecoder();
        var in = ByteBuffer.wrap(bytes);
        var out = CharBuffer.allocate(CHUNK);
        while (true) {
            CoderResult result = decoder.decode(in, out, true);
            if (result.isError()) {
                return in.position();
            }
            if (result.isUnderflow()) {
                return -1;
            }
            out.clear();
        }
    }

    /** What the parser found wrong, in words, without its own class names. */
    public static String problem(JsonProcessingException e) {
        String message = e.getOriginalMessage() == null ? "" : e.getOriginalMessage().lines().findFirst().orElse("");
        if (message.startsWith("Trailing token")) {
            return "more text follows the value";
        }
        if (message.startsWith("No content")) {
            return "there is nothing in it";
        }
        message = SOURCE.matcher(message.replace("start marker at", "it begins at")).replaceAll("line $1, column $2");
        message = COMMENT.matcher(message).replaceAll("JSON has no comments");
        return ADVICE.matcher(message).replaceAll("").strip();
    }

    /** {@code ", line 3, column 7"}, or nothing where the parser does not know. */
    public static String place(JsonProcessingException e) {
        var at = e.getLocation();
        return at == null || at.getLineNr() < 1 || at.getColumnNr() < 1 ? "" : ", line " + at.getLineNr() + ", column " + at.getColumnNr();
    }
}

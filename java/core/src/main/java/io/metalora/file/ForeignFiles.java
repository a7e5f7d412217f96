package io.metalora.file;

import java.nio.charset.StandardCharsets;
import java.util.Locale;

/** Recognises by its first bytes what kind of file was given instead of the expected one. */
public final class ForeignFiles {
    private ForeignFiles() {}

    /** The first bytes that {@link #recognise} looks at. */
    public static final int HEAD = 64;

    /** "a GGUF file; ..." with the way out, or null where the bytes say nothing. */
    public static String recognise(byte[] start) {
        String head = new String(start, 0, Math.min(start.length, HEAD), StandardCharsets.ISO_8859_1);
        String text = head.stripLeading().toLowerCase(Locale.ROOT);
        if (head.startsWith("PK\3\4")) {
            return "a zip archive, probably a PyTorch .bin or .pt checkpoint; save it again with"
                    + " save_pretrained(..., safe_serialization=True)";
        }
        if (head.length() >= 2 && head.charAt(0) == 0x80 && head.charAt(1) >= 2 && head.charAt(1) <= 5) {
            return "a Python pickle, probably an old PyTorch checkpoint; save it again with"
                    + " save_pretrained(..., safe_serialization=True)";
        }
        if (head.startsWith("GGUF")) {
            return "a GGUF file; use the model's Hugging Face folder (config.json, model.safetensors, tokenizer.json)";
        }
        if (head.startsWith("version https://git-lfs")) {
            return "a git-lfs pointer, not the data; run `git lfs pull` in the folder it came from";
        }
        if (text.startsWith("<!doctype html") || text.startsWith("<html") || text.startsWith("<?xml")) {
            return "a web page, probably the error page of a failed download; fetch the file again";
        }
        if (head.startsWith("\u0089HDF\r\n")) {
            return "an HDF5 file; convert the model to safetensors";
        }
        if (head.startsWith("\u001f\u008b")) {
            return "gzip-compressed; unpack it first";
        }
        return null;
    }
}

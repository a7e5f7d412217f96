package io.metalora.adapter;

import io.metalora.file.AtomicFile;
import io.metalora.file.Folders;
import io.metalora.io.safetensors.ModelFiles;
import io.metalora.runtime.HostTensor;
import io.metalora.runtime.InputException;
import io.metalora.runtime.host.FileFailure;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;

/** A checkpoint's folder with a LoRA adapter merged into its weights. */
final class MergedCheckpoint {

    /** What belongs to a model beside its weights. Other files, such as weights in other formats, would no longer fit it. */
    private static final Pattern COPIED = Pattern.compile("config\\.json|generation_config\\.json|tokenizer\\.(json|model)"
            + "|(tokenizer|special_tokens_map|added_tokens)(_config)?\\.json|vocab\\.json|merges\\.txt|chat_template\\.(jinja|json)"
            + "|model\\.safetensors\\.index\\.json|(LICEN[CS]E|NOTICE|USE_POLICY|Notice)(\\.(txt|md))?");

    private final Path modelDir;
    private final ModelFiles weights;
    private final Map<String, HostTensor> merged = new HashMap<>();

    /** @param values of the adapter, from an offset of its vector on */
    MergedCheckpoint(Path modelDir, ModelFiles weights, LoraLayout layout, AdapterFormat.Values values) {
        this.modelDir = modelDir;
        this.weights = weights;
        for (var site : layout.sites()) {
            String name = site.path() + ".weight";
            HostTensor base = weights.tensor(name, site.out(), site.in());
            var rows = new Rows(base, weights.file(name), values.at(site.offsetA(), site.rank() * site.in()),
                    values.at(site.offsetB(), site.out() * site.rank()), layout.config().scale());
            merged.put(name, HostTensor.ofRows(name, base.dtype(), site.out(), site.in(), rows::fill));
        }
    }

    void write(Path dir) {
        List<Path> copied = copied();
        long bytes = weights.files().stream().mapToLong(file -> file.size()).sum();
        for (Path file : copied) {
            bytes += file.toFile().length();
        }
        requireRoom(dir, bytes, room(dir));
        AtomicFile.createFolder(dir, folder -> {
            for (Path file : copied) {
                AtomicFile.write(folder.resolve(file.getFileName()), Files.readAllBytes(file));
            }
            for (var file : weights.files()) {
                file.writeWith(merged, folder.resolve(file.path().getFileName()));
            }
            weights.requireUnchanged();
        });
    }

    /** An index beside a single file is a leftover, and would send other loaders to shards that are not there. */
    private boolean isSharded() {
        return weights.files().stream().noneMatch(file -> file.path().endsWith(ModelFiles.SINGLE));
    }

    private List<Path> copied() {
        try (var files = Files.list(modelDir)) {
            return files.filter(file -> COPIED.matcher(file.getFileName().toString()).matches() && Files.isRegularFile(file))
                    .filter(file -> isSharded() || !file.endsWith(ModelFiles.INDEX)).sorted().toList();
        } catch (IOException e) {
            throw new InputException(modelDir + " cannot be listed: " + FileFailure.reason(e), e);
        }
    }

    /** Bytes that the disk of {@code dir}, which is to be made, has left. */
    private static long room(Path dir) {
        Path there = Folders.absolute(dir);
        while (!Files.exists(there)) {
            there = there.getParent();
        }
        try {
            return Files.getFileStore(there).getUsableSpace();
        } catch (IOException e) {
            throw AtomicFile.failed(dir, e);
        }
    }

    static void requireRoom(Path dir, long needed, long room) {
        if (room < needed) {
            throw new InputException(String.format(Locale.ROOT, "%s: the merged model takes %.1f MB, but its disk has %.1f MB left; nothing "
                    + "was written. Make room, or give an --output on another disk", dir, needed / 1e6, room / 1e6));
        }
    }

    /**
     * Rows of W + scale B A.
     *
     * @param base W [out, in], in {@code file}
     * @param a    [rank, in]
     * @param b    [out, rank]
     */
    private record Rows(HostTensor base, Path file, float[] a, float[] b, float scale) {

        void fill(long row, float[] to) {
            int in = to.length;
            int rank = a.length / in;
            var delta = new float[in];
            for (int i = 0; i < rank; i++) {
                float factor = b[Math.toIntExact(row * rank + i)];
                int at = i * in;
                for (int j = 0; j < in; j++) {
                    delta[j] = Math.fma(factor, a[at + j], delta[j]);
                }
            }
            base.copyFloats(row * in, to);
            for (int j = 0; j < in; j++) {
                to[j] += delta[j] * scale;
                if (!fits(to[j])) {
                    throw new InputException(file + ": tensor " + base.name() + " would hold " + to[j] + " at row " + row + ", column "
                            + j + ", which is no number of its type " + base.dtype() + "; check base model and adapter, or save the base"
                            + " model as BF16 or F32 and merge into that");
                }
            }
        }

        private boolean fits(float value) {
            return switch (base.dtype()) {
                case F16 -> Math.abs(value) < 65_520; // from there on rounded to infinity, as from 0x1.FFp127 in BF16
                case BF16 -> Math.abs(value) < 0x1.FFp127f;
                case F32, I32, F64 -> Float.isFinite(value);
            };
        }
    }
}

package io.metalora.fuzz;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.code_intelligence.jazzer.junit.FuzzTest;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.Combinators;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;

/**
 * Fuzz targets: the methods with {@code @FuzzTest} of the class that extends this. Every build runs their seeds, in the
 * resource folder {@code CLASSInputs/METHOD}, and some thousand changed ones; {@link FuzzAll} searches for hours.
 */
public abstract class MutatedSeeds {

    /** What readers stumble over, beside bytes. */
    private static final List<byte[]> TOKENS = List.of("{", "}", "[", "]", "\"", ":", ",", "\n", "\t", "\\u0000", "\\ud800", "null", "true",
            "-1", "0", "1e999", "NaN", "2147483647", "9223372036854775807", "-9223372036854775808", "0.1", "[[[[[[[[", "{\"a\":{\"a\":",
            "&a ", "*a", "<<: *a", "---\n", "# ", "'", "\uFEFF", "\u2028", "\u0085").stream().map(token -> token.getBytes(UTF_8)).toList();

    /** One change, at a place given as a share of the whole so that it fits whatever came before. */
    private record Change(Kind kind, double at, int size, byte value, int token) {

        enum Kind { SET, FLIP, DELETE, REPEAT, INSERT, CUT }

        byte[] apply(byte[] in) {
            int from = (int) (at * in.length);
            int to = Math.min(in.length, from + size);
            byte[] head = Arrays.copyOf(in, from);
            return switch (kind) {
                case SET, FLIP -> {
                    byte[] changed = in.clone();
                    if (from < in.length) {
                        changed[from] = kind == Kind.SET ? value : (byte) (in[from] ^ 1 << (value & 7));
                    }
                    yield changed;
                }
                case DELETE -> join(head, Arrays.copyOfRange(in, to, in.length));
                case REPEAT -> join(Arrays.copyOf(in, to), Arrays.copyOfRange(in, from, in.length));
                case INSERT -> join(join(head, TOKENS.get(token)), Arrays.copyOfRange(in, from, in.length));
                case CUT -> head;
            };
        }

        private static byte[] join(byte[] a, byte[] b) {
            byte[] both = Arrays.copyOf(a, a.length + b.length);
            System.arraycopy(b, 0, both, a.length, b.length);
            return both;
        }
    }

    /** A seed of a target, changed. */
    public record Input(Method target, Path seed, List<Object> changes, byte[] bytes) {

        @Override
        public String toString() {
            return target.getName() + " on " + seed.getFileName() + " with " + changes + ": " + new String(bytes, UTF_8) + " (hex "
                    + HexFormat.of().formatHex(bytes) + ")";
        }
    }

    @Provide
    Arbitrary<Input> inputs() {
        var seeds = new ArrayList<Input>();
        for (Method target : targets(getClass())) {
            for (Path seed : seeds(target)) {
                seeds.add(new Input(target, seed, List.of(), read(seed)));
            }
        }
        Arbitrary<Change> change = Combinators.combine(Arbitraries.of(Change.Kind.values()), Arbitraries.doubles().between(0, 1),
                Arbitraries.integers().between(1, 32), Arbitraries.bytes(), Arbitraries.integers().between(0, TOKENS.size() - 1)).as(Change::new);
        return Combinators.combine(Arbitraries.of(seeds), change.list().ofMinSize(1).ofMaxSize(6)).as((seed, changes) -> {
            byte[] bytes = seed.bytes;
            for (Change one : changes) {
                bytes = one.apply(bytes);
            }
            return new Input(seed.target, seed.seed, List.copyOf(changes), bytes);
        });
    }

    @Property(tries = 2_000, seed = "12") // the same inputs in every build
    void changedSeeds(@ForAll("inputs") Input input) throws Throwable {
        try {
            input.target.invoke(this, (Object) input.bytes);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    /** The targets of a class, by name. */
    static List<Method> targets(Class<?> type) {
        return Arrays.stream(type.getDeclaredMethods()).filter(method -> method.isAnnotationPresent(FuzzTest.class))
                .peek(method -> method.setAccessible(true)).sorted(Comparator.comparing(Method::getName)).toList();
    }

    private static List<Path> seeds(Method target) {
        Class<?> type = target.getDeclaringClass();
        var folder = type.getResource(type.getSimpleName() + "Inputs/" + target.getName());
        if (folder == null) {
            throw new AssertionError(target + " has no seeds");
        }
        try (var files = Files.list(Path.of(folder.toURI()))) {
            return files.sorted().toList();
        } catch (IOException | URISyntaxException e) {
            throw new IllegalStateException(e);
        }
    }

    private static byte[] read(Path file) {
        try {
            return Files.readAllBytes(file);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}

package io.metalora.bindings;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.bindings.generated.Metalora;
import java.io.IOException;
import java.lang.foreign.GroupLayout;
import java.lang.foreign.MemoryLayout;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Header, generated bindings and built library are of one piece. */
class HeaderTest {
    private static final Path HEADER = Path.of("..", "native", "include", "metalora.h");
    private static final Path GENERATED = Path.of("src", "main", "java", "io", "metalora", "bindings", "generated");

    @Test
    void bindingsWereGeneratedFromThisHeader() throws IOException {
        String recorded = new String(getClass().getResourceAsStream("/metalora.h.sha256").readAllBytes()).strip();
        assertThat(NativeCache.sha256(Files.readAllBytes(HEADER)))
                .as("metalora.h changed: run bindings/jextract/regenerate and commit what it writes")
                .isEqualTo(recorded);
    }

    @Test
    void headerBindingsAndLibraryHaveTheSameFunctions() throws Exception {
        Set<String> declared = declared("ML_API[^;(]*?\\b(ml_\\w+)\\(");
        assertThat(declared).hasSizeGreaterThan(30);

        Set<String> bound = Stream.of(Metalora.class.getMethods())
                .map(Method::getName)
                .filter(name -> name.startsWith("ml_") && !name.contains("$"))
                .collect(Collectors.toCollection(TreeSet::new));
        assertThat(bound).isEqualTo(declared);

        var nm = CCompiler.run(List.of("nm", "-D", "--defined-only", NativeLibrary.load().file().toString()));
        assertThat(nm.exit()).as(nm.text()).isZero();
        Set<String> exported = nm.text().lines()
                .map(line -> line.substring(line.lastIndexOf(' ') + 1))
                .collect(Collectors.toCollection(TreeSet::new));
        assertThat(exported).isEqualTo(declared);
    }

    @Test
    void structsLieAsTheCompilerLaysThem(@TempDir Path folder) throws Exception {
        Set<String> structs = declared("typedef struct (ml_\\w+) \\{");
        assertThat(structs).hasSizeGreaterThan(10);
        var probe = new StringBuilder("#include <stddef.h>\n#include \"metalora.h\"\n");
        for (String struct : structs) {
            assertThat(GENERATED.resolve(struct + ".java")).exists();
            var layout = (GroupLayout) Class.forName(Metalora.class.getPackageName() + "." + struct)
                    .getMethod("layout").invoke(null);
            probe.append("_Static_assert(sizeof(%s) == %d, \"%s\");%n".formatted(struct, layout.byteSize(), struct));
            for (MemoryLayout member : layout.memberLayouts()) {
                if (member.name().isPresent()) {
                    String field = member.name().get();
                    long offset = layout.byteOffset(MemoryLayout.PathElement.groupElement(field));
                    probe.append("_Static_assert(offsetof(%s, %s) == %d, \"%s.%s\");%n"
                            .formatted(struct, field, offset, struct, field));
                    probe.append("_Static_assert(sizeof(((%s *) 0)->%s) == %d, \"%s.%s\");%n"
                            .formatted(struct, field, member.byteSize(), struct, field));
                }
            }
        }
        Path source = Files.writeString(folder.resolve("probe.c"), probe);
        var output = CCompiler.compile("-std=c11", "-fsyntax-only", "-I", HEADER.getParent().toString(), source.toString());
        assertThat(output.exit()).as(output.text()).isZero();
    }

    private static Set<String> declared(String pattern) throws IOException {
        Matcher matcher = Pattern.compile(pattern).matcher(Files.readString(HEADER));
        return matcher.results().map(result -> result.group(1)).collect(Collectors.toCollection(TreeSet::new));
    }
}

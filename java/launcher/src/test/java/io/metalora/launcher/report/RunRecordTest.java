package io.metalora.launcher.report;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.launcher.report.Report.BeforeAfter;
import io.metalora.launcher.report.Report.Curves;
import io.metalora.launcher.report.Report.Section;
import io.metalora.launcher.report.Report.Table;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RunRecordTest {

    @TempDir
    private Path folder;

    private List<Section> sections(String metrics, String draws) throws IOException {
        return RunRecord.read(Files.writeString(folder.resolve("metrics.jsonl"), metrics),
                Files.writeString(folder.resolve("draws.jsonl"), draws)).sections("");
    }

    private static <S extends Section> S section(List<Section> sections, Class<S> kind) {
        return sections.stream().filter(kind::isInstance).map(kind::cast).findFirst().orElseThrow();
    }

    private static String iteration(int number, String task, boolean measured) {
        return "{\"iteration\":%d,\"loss\":1,\"tasks\":[{\"task\":\"%s\",\"support_loss\":[3.0],%s\"query_loss\":2.0}]}%n"
                .formatted(number, task, measured ? "\"adapted_loss\":1.5," : "");
    }

    private static String subset(String task) {
        return "{\"task\":\"%s\",\"samples\":[0,1]}%n".formatted(task);
    }

    @Test
    void aSectionThatOmitsTasksSaysSo() throws IOException {
        var sections = sections(iteration(1, "measured", true) + iteration(2, "drawn", false),
                subset("measured") + subset("drawn") + subset("neither"));
        assertThat(section(sections, BeforeAfter.class).items()).extracting(BeforeAfter.Item::name).containsExactly("measured");
        assertThat(section(sections, BeforeAfter.class).caption())
                .contains("1 of 3 tasks: the others took part in none of these (meta.support_after_every).");
        assertThat(section(sections, Table.class).rows()).hasSize(2);
        assertThat(section(sections, Table.class).caption()).contains("2 of 3 tasks: the others were not drawn.");
    }

    @Test
    void whereAllTasksAreThereNothingIsSaid() throws IOException {
        var sections = sections(iteration(1, "one", true), subset("one"));
        assertThat(section(sections, BeforeAfter.class).caption()).doesNotContain("others");
        assertThat(section(sections, Table.class).caption()).doesNotContain("others");
    }

    @Test
    void ofTooManyCurvesThoseDrawnMostOftenComeFirst() throws IOException {
        var metrics = new StringBuilder();
        var draws = new StringBuilder();
        for (int task = 0; task < 100; task++) {
            draws.append(subset("t%03d".formatted(task)));
            metrics.append(iteration(task, "t%03d".formatted(task), false));
        }
        metrics.append(iteration(100, "t077", false));
        Curves curves = section(sections(metrics.toString(), draws.toString()), Curves.class);
        assertThat(curves.series()).hasSize(101);
        assertThat(curves.series().get(1).name()).isEqualTo("t077");
        assertThat(curves.series().get(1).x()).containsExactly(77, 100);
        assertThat(curves.caption()).contains("those drawn most often first");
    }
}

package io.metalora.launcher.report;

import static org.assertj.core.api.Assertions.assertThat;

import io.metalora.launcher.report.Report.BeforeAfter;
import io.metalora.launcher.report.Report.Curves;
import io.metalora.launcher.report.Report.Heatmap;
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

    /** Of two tasks by their names and probabilities. */
    private static String draws(int iteration, String one, double first, String two, double second) {
        return "{\"iteration\":%d,\"draws\":[{\"task\":\"%s\",\"probability\":%s},{\"task\":\"%s\",\"probability\":%s}]}%n"
                .formatted(iteration, one, first, two, second);
    }

    private static List<Heatmap> heatmaps(List<Section> sections) {
        return sections.stream().filter(Heatmap.class::isInstance).map(Heatmap.class::cast).toList();
    }

    @Test
    void thePictureOfDrawsHasWhatWasDrawnAndHowProbably() throws IOException {
        String metrics = iteration(1, "a", false) + iteration(2, "a", false);
        String subsets = subset("a") + subset("b") + subset("c");
        var maps = heatmaps(sections(metrics, subsets + draws(1, "a", 0.5, "c", 0.75) + draws(2, "c", 0.25, "b", 0.5)));
        assertThat(maps).extracting(Heatmap::title).containsExactly("Draws over time", "Probability of the draws");
        assertThat(maps.get(0).width()).isEqualTo(1);
        assertThat(maps.get(0).rows()).extracting(Report.Series::name).containsExactly("a", "b", "c");
        assertThat(maps.get(0).rows().get(0).x()).containsExactly(1, 2);
        assertThat(maps.get(0).rows()).extracting(Report.Series::y)
                .containsExactly(new double[] {1, 0}, new double[] {0, 1}, new double[] {1, 1});
        assertThat(maps.get(1).rows()).extracting(Report.Series::y)
                .containsExactly(new double[] {0.5, Double.NaN}, new double[] {Double.NaN, 0.5},
                new double[] {0.75, 0.25});
        assertThat(maps.get(1).caption()).contains("The darkest: 0.750.");

        // Each of those left as probable as the others.
        assertThat(heatmaps(sections(metrics, subsets + draws(1, "a", 1.0 / 3, "c", 0.5) + draws(2, "c", 1.0 / 3, "b", 0.5))))
                .hasSize(1);
        // More lines than metrics.jsonl has, as a kill may leave.
        assertThat(heatmaps(sections(metrics, subsets + draws(1, "a", 0.5, "c", 0.75) + draws(3, "c", 0.25, "b", 0.5))).getFirst()
                .rows())
                .extracting(Report.Series::y).containsExactly(new double[] {1, 0}, new double[] {0, 0}, new double[] {1, 0});
        // All of them every time.
        assertThat(heatmaps(sections(metrics, subset("a") + subset("b") + draws(1, "a", 0.5, "b", 1)
                + draws(2, "b", 0.5, "a", 1)))).isEmpty();
    }

    @Test
    void ofManyIterationsACellIsSeveral() throws IOException {
        var metrics = new StringBuilder();
        var draws = new StringBuilder(subset("a") + subset("b") + subset("c"));
        for (int i = 1; i <= 1001; i++) {
            metrics.append(iteration(i, "a", false));
            draws.append(draws(i, "a", 1.0 / 3, i <= 500 ? "b" : "c", 0.5));
        }
        Heatmap map = heatmaps(sections(metrics.toString(), draws.toString())).getFirst();
        assertThat(map.width()).isEqualTo(9);
        assertThat(map.rows().get(0).y()).hasSize(112).containsOnly(1);
        assertThat(map.rows().get(1).y()).startsWith(1, 1).endsWith(0, 0);
        assertThat(map.rows().get(1).y()[55]).isEqualTo(5 / 9.0); // 496 to 504
        assertThat(map.rows().get(2).y()[111]).isEqualTo(1); // two iterations, both of them
        assertThat(map.caption()).contains("A cell is 9 iterations", "the darkest: 100 %.");
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

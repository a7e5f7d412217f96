package io.metalora.launcher.report;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.metalora.launcher.report.Report.BeforeAfter;
import io.metalora.launcher.report.Report.Code;
import io.metalora.launcher.report.Report.Curves;
import io.metalora.launcher.report.Report.Facts;
import io.metalora.launcher.report.Report.Heatmap;
import io.metalora.launcher.report.Report.LearningCurves;
import io.metalora.launcher.report.Report.Section;
import io.metalora.launcher.report.Report.Series;
import io.metalora.launcher.report.Report.Table;
import io.metalora.launcher.report.Report.Text;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class HtmlReportTest {

    private static final String EVIL = "<script>alert('x')</script>\"&";

    private static String page(Section... sections) {
        return HtmlReport.render(new Report("title", "subtitle", List.of(sections)));
    }

    @Test
    void escapesAllData() {
        String page = HtmlReport.render(new Report(EVIL, EVIL, List.of(
                new Text(EVIL, List.of(EVIL)),
                new Facts(EVIL, Map.of(EVIL, EVIL)),
                new Table(EVIL, EVIL, List.of(EVIL, EVIL), List.of(List.of(EVIL, EVIL)), List.of(EVIL, EVIL)),
                new Curves(EVIL, EVIL, EVIL, EVIL, List.of(new Series(EVIL, new double[] {1, 2}, new double[] {1, 2}))),
                new LearningCurves(EVIL, EVIL, EVIL, EVIL, List.of(new Series(EVIL, new double[] {1, 2}, new double[] {1, 2}))),
                new BeforeAfter(EVIL, EVIL, EVIL, List.of(new BeforeAfter.Item(EVIL, 1, 2))),
                new Code(EVIL, EVIL))));
        assertThat(page).doesNotContain("<script", "alert('x')<", "\"\"&").contains("&lt;script&gt;");
        // Inside attributes too: a quote would end them.
        assertThat(page.split("\"&amp;\"|\"&\"", -1)).hasSize(1);
    }

    @Test
    void fetchesNothing() {
        String page = page(new Curves("c", "", "x", "y", List.of(new Series("s", new double[] {1, 2}, new double[] {1, 2}))));
        assertThat(page).doesNotContain("http:", "https:", "src=", "<link", "@import", "url(");
        assertThat(page).startsWith("<!DOCTYPE html>").contains("<style>", "prefers-color-scheme: dark");
    }

    @Test
    void learningCurvesHaveAPointForEachValueAndNamesThatCoverNoOther() {
        String page = page(new LearningCurves("Curves", "", "samples", "accuracy", List.of(
                new Series("one", new double[] {0, 4, 40}, new double[] {25, 50, 90}), new Series("two", new double[] {0, 4, 40}, new double[] {25, Double.NaN, 90}),
                new Series("none", new double[] {0, 4, 40}, new double[] {Double.NaN, Double.NaN, Double.NaN}))));
        assertThat(page.split("class=\"dot ", -1)).hasSize(1 + 5);
        var heights = Pattern.compile("<text x=\"[\\d.]+\" y=\"([\\d.]+)\"[^>]*class=\"name series").matcher(page).results()
                .map(m -> Double.parseDouble(m.group(1))).toList();
        assertThat(heights).hasSize(2);
        assertThat(Math.abs(heights.get(0) - heights.get(1))).isGreaterThanOrEqualTo(14);
    }

    @Test
    void everySectionHasItsPlaceInTheContents() {
        String page = page(new Text("First", List.of("one")), new Code("Second", "two"));
        assertThat(page).contains("<a href=\"#s0\">First</a>", "<a href=\"#s1\">Second</a>", "id=\"s0\"", "id=\"s1\"");
    }

    @Test
    void drawsOneChartATaskWithCommonAxes() {
        var series = new ArrayList<Series>();
        for (int task = 0; task < 50; task++) {
            double scale = task;
            double[] x = IntStream.rangeClosed(1, 2000).asDoubleStream().toArray();
            series.add(new Series("task " + task, x, IntStream.range(0, 2000).mapToDouble(i -> scale / (1 + i)).toArray()));
        }
        String page = page(new Curves("Loss", "", "iteration", "loss", series));
        assertThat(page.split("<svg", -1)).hasSize(51);
        assertThat(page).contains(">task 49<");
        assertThat(page.length()).as("thinned").isLessThan(1_000_000);
        Axis[] axes = Charts.commonAxes(new Curves("", "", "", "", series));
        assertThat(axes[1].high()).isGreaterThanOrEqualTo(49);
        assertThat(axes[0].high()).isGreaterThanOrEqualTo(2000);
    }

    @Test
    void valuesThatAreNotFiniteLeaveGaps() {
        var series = new Series("s", new double[] {1, 2, 3, 4, 5}, new double[] {1, Double.NaN, 2, Double.POSITIVE_INFINITY, 3});
        String page = page(new Curves("Loss", "", "x", "y", List.of(series)),
                new BeforeAfter("Stage 1", "", "", List.of(new BeforeAfter.Item("t", Double.NaN, 1))));
        assertThat(page).doesNotContain("NaN", "Infinity");
        String raw = page.substring(page.indexOf("<path d=\"") + 9);
        assertThat(raw.substring(0, raw.indexOf('"'))).matches("M[^M]*M[^M]*M[^M]*");
    }

    @Test
    void noPointsAtAllStillGiveAPage() {
        assertThat(page(new Curves("Loss", "", "x", "y", List.of(new Series("s", new double[0], new double[0]))),
                new BeforeAfter("Stage 1", "", "", List.of()))).contains("</html>").doesNotContain("NaN");
    }

    @Test
    void aHeatmapHasACellWhereThereIsAValue() {
        double[] x = {1, 3};
        String page = page(new Heatmap("Draws", "how often", "iteration", 2, List.of(new Series("a", x, new double[] {0.25, 0.5}),
                new Series("b", x, new double[] {0, Double.NaN}))));
        assertThat(page).contains("how often", ">a</text>", ">b</text>", "fill-opacity=\"0.50\"", "fill-opacity=\"1.00\"")
                .doesNotContain("NaN");
        assertThat(page.split("<rect", -1)).hasSize(3);
        var none = new Heatmap("Draws", "", "iteration", 1, List.of(new Series("a", new double[0], new double[0])));
        assertThat(page(none)).contains("</html>").doesNotContain("NaN", "<rect");
    }

    @Test
    void aTableNeedsRowsOfItsWidth() {
        assertThatThrownBy(() -> new Table("t", "", List.of("a", "b"), List.of(List.of("only one")), List.of()))
                .isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void theRunningMeanStartsAtTheFirstValueAndFollows() {
        double[] smooth = Charts.smoothed(new double[] {4, 4, 4, Double.NaN, 0});
        assertThat(smooth[0]).isEqualTo(4);
        assertThat(smooth[2]).isEqualTo(4);
        assertThat(smooth[3]).isNaN();
        assertThat(smooth[4]).isBetween(0.0, 4.0);
    }

    @Test
    void tenThousandTasksMakeAPageOfBoundedSizeThatSaysSo() {
        var rows = IntStream.range(0, 10_000).mapToObj(i -> List.of("task " + i, "50.0")).toList();
        double[] x = IntStream.range(0, 500).asDoubleStream().toArray();
        var series = IntStream.range(0, 10_000).mapToObj(i -> new Series("task " + i, x, x)).toList();
        var pairs = IntStream.range(0, 10_000).mapToObj(i -> new BeforeAfter.Item("task " + i, 2, 1)).toList();
        String page = page(new Table("Results", "", List.of("task", "base"), rows, List.of("mean", "50.0")),
                new Curves("Loss", "", "iteration", "loss", series), new BeforeAfter("Stage 1", "", "loss", pairs),
                new Code("Configuration", "x: 1\n".repeat(100_000)));
        assertThat(page.length()).isLessThan(2_000_000);
        assertThat(page).contains("Only the first 200 of 10,000 rows are shown", "Only the first 60 of 10,000 curves are shown",
                "Only the first 200 of 10,000 lines are shown", "Only the first 65,536 of 500,000 characters are shown", "<tfoot>");
        assertThat(page(new Table("Results", "", List.of("task", "base"), rows.subList(0, 200), List.of()))).doesNotContain("Only the first");
    }
}

package io.metalora.launcher.report;

import static io.metalora.launcher.report.Picture.PIXELS;
import static io.metalora.launcher.report.Picture.at;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import io.metalora.launcher.report.Report.BeforeAfter;
import io.metalora.launcher.report.Report.Curves;
import io.metalora.launcher.report.Report.Differences;
import io.metalora.launcher.report.Report.Heatmap;
import io.metalora.launcher.report.Report.LearningCurves;
import io.metalora.launcher.report.Report.Points;
import io.metalora.launcher.report.Report.Section;
import io.metalora.launcher.report.Report.Series;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.w3c.dom.Element;

/** That shapes stand where their numbers are on the axes as these are labelled. */
class ChartsTest {

    private static String page(Section section) {
        return HtmlReport.render(new Report("title", "subtitle", List.of(section)));
    }

    private static Picture drawn(Section section) {
        return Picture.of(page(section), section.title());
    }

    private static void isAt(Element element, String attribute, double position) {
        assertThat(at(element, attribute)).as(attribute + " of " + element.getAttribute("class"))
                .isCloseTo(position, within(PIXELS));
    }

    /** Differences on both sides of 0, on one side of it, and so small that the margin is the widest. */
    @ParameterizedTest
    @CsvSource({"-4.5, -8.2, -0.7, 12.3, 4.4, 20.9", "15.5, 5.2, 24.3, 3.25, 1.5, 5", "-18.5, -31.7, -7.3, -29, -38.1, -19.3",
        "0.1, -0.2, 0.3, 0, 0, 0"})
    void aForestPlotHasEachDifferenceAndItsIntervalWhereTheAxisSays(double one, double oneLow, double oneHigh,
            double two, double twoLow, double twoHigh) {
        var items = List.of(new Differences.Item("Is it as good as the first?", one, oneLow, oneHigh, 2),
                new Differences.Item("without a margin", two, twoLow, twoHigh, 0),
                new Differences.Item("a wider margin", one, oneLow, oneHigh, 6.5));
        Picture plot = drawn(new Differences("Differences", "", "points", items));

        List<Element> names = plot.all("text", "name");
        List<Element> intervals = plot.all("line", "interval");
        List<Element> values = plot.all("circle", "after");
        assertThat(names).extracting(Element::getTextContent).containsExactlyElementsOf(
                items.stream().map(Differences.Item::name).toList());
        assertThat(intervals).hasSameSizeAs(items);
        assertThat(values).hasSameSizeAs(items);
        var margins = new ArrayList<>(plot.all("line", "margin"));
        for (int row = 0; row < items.size(); row++) {
            Differences.Item item = items.get(row);
            double height = at(values.get(row), "cy");
            isAt(values.get(row), "cx", plot.x(item.value()));
            isAt(intervals.get(row), "x1", plot.x(item.low()));
            isAt(intervals.get(row), "x2", plot.x(item.high()));
            isAt(intervals.get(row), "y1", height);
            isAt(intervals.get(row), "y2", height);
            assertThat(at(names.get(row), "y")).as("the name is above its line, below the row before").isLessThan(height)
                    .isGreaterThan(row == 0 ? 0 : at(values.get(row - 1), "cy"));
            if (item.margin() > 0) {
                Element margin = margins.removeFirst();
                isAt(margin, "x1", plot.x(-item.margin()));
                isAt(margin, "x2", plot.x(-item.margin()));
                assertThat((at(margin, "y1") + at(margin, "y2")) / 2).isCloseTo(height, within(PIXELS));
            }
        }
        assertThat(margins).isEmpty();
    }

    @Test
    void aForestPlotHasALineAtZeroThroughAllRowsAndGridLinesAtItsLabels() {
        Picture plot = drawn(new Differences("Differences", "", "points", List.of(new Differences.Item("a", 5, 3, 8, 2),
                new Differences.Item("b", -1, -4, 2, 2))));
        Element zero = plot.all("line", "zero").getFirst();
        assertThat(plot.all("line", "zero")).hasSize(1);
        isAt(zero, "x1", plot.x(0));
        isAt(zero, "x2", plot.x(0));
        for (Element value : plot.all("circle", "after")) {
            assertThat(at(value, "cy")).isBetween(at(zero, "y1"), at(zero, "y2"));
        }
        List<Element> grid = plot.all("line", "grid");
        double[] labels = plot.xLabels();
        assertThat(labels).contains(0).hasSameSizeAs(grid);
        for (int i = 0; i < labels.length; i++) {
            isAt(grid.get(i), "x1", plot.x(labels[i]));
            isAt(grid.get(i), "x2", plot.x(labels[i]));
        }
    }

    @Test
    void aForestPlotSaysItsNumbersOnTheDot() {
        Picture plot = drawn(new Differences("Differences", "", "points",
                List.of(new Differences.Item("a < b", 5.04, -3.46, 8, 2))));
        assertThat(plot.all("title", "")).extracting(Element::getTextContent).containsExactly("a < b: +5.0 (-3.5 to +8.0)");
    }

    @Test
    void learningCurvesHaveEachValueAtItsSamplesAndHeight() {
        // The positions are the samples' ranks, and one curve has not all of them.
        var one = new Series("one", new double[] {4, 8, 50}, new double[] {25.5, 61.2, 93.7});
        var two = new Series("two", new double[] {4, 16, 50}, new double[] {31, Double.NaN, 40.4});
        Picture chart = drawn(new LearningCurves("Curves", "", "samples", "accuracy", List.of(one, two)));
        assertThat(chart.xLabels()).containsExactly(4, 8, 16, 50);
        double distance = chart.xOfLabel(8) - chart.xOfLabel(4);
        assertThat(chart.xOfLabel(16) - chart.xOfLabel(8)).isPositive().isCloseTo(distance, within(PIXELS));
        assertThat(chart.xOfLabel(50) - chart.xOfLabel(16)).isCloseTo(distance, within(PIXELS));

        List<Element> dots = chart.all("circle", "series0");
        List<double[]> line = Picture.strokes(chart.all("path", "series0").getFirst()).getFirst();
        assertThat(dots).hasSize(3);
        assertThat(line).hasSize(3);
        for (int i = 0; i < 3; i++) {
            isAt(dots.get(i), "cx", chart.xOfLabel(one.x()[i]));
            isAt(dots.get(i), "cy", chart.y(one.y()[i]));
            assertThat(line.get(i)).containsExactly(new double[] {at(dots.get(i), "cx"), at(dots.get(i), "cy")}, within(1e-9));
        }
        assertThat(dots.getFirst().getTextContent()).isEqualTo("one, 4: 25.5");

        List<Element> ofTwo = chart.all("circle", "series1");
        assertThat(ofTwo).as("a value that is not there has no dot").hasSize(2);
        isAt(ofTwo.get(1), "cx", chart.xOfLabel(50));
        isAt(ofTwo.get(1), "cy", chart.y(40.4));
        assertThat(Picture.strokes(chart.all("path", "series1").getFirst())).as("and no line through it").hasSize(2);

        Element name = chart.all("text", "name").get(1);
        assertThat(name.getTextContent()).isEqualTo("two");
        assertThat(name.getAttribute("class")).as("in its curve's colour").contains("series1");
        assertThat(at(name, "y") - 4).as("at the curve's end").isCloseTo(chart.y(40.4), within(PIXELS));
    }

    @Test
    void smallChartsHaveTheirValuesAndRunningMeansOnCommonAxes() {
        var rising = new Series("rising", new double[] {100, 250, 400}, new double[] {10, 35, 80});
        var low = new Series("low", new double[] {100, 400}, new double[] {2, 4});
        List<Picture> charts = Picture.allOf(page(new Curves("Along", "", "tokens", "accuracy", List.of(rising, low))));
        assertThat(charts).extracting(Picture::label).containsExactly("rising", "low");
        assertThat(charts.get(1).xLabels()).isEqualTo(charts.get(0).xLabels());
        assertThat(charts.get(1).y(50)).isEqualTo(charts.get(0).y(50));
        // By hand: weights 0.1 of the newest and 0.9 of what was before, over their sum.
        passesThrough(charts.get(0), "raw", rising.x(), 10, 35, 80);
        passesThrough(charts.get(0), "curve", rising.x(), 10, (0.09 * 10 + 0.1 * 35) / 0.19,
                (0.081 * 10 + 0.09 * 35 + 0.1 * 80) / 0.271);
        passesThrough(charts.get(1), "raw", low.x(), 2, 4);
    }

    private static void passesThrough(Picture chart, String cssClass, double[] x, double... y) {
        List<double[]> points = Picture.strokes(chart.all("path", cssClass).getFirst()).getFirst();
        assertThat(points).hasSize(y.length);
        for (int i = 0; i < y.length; i++) {
            assertThat(points.get(i)[0]).isCloseTo(chart.x(x[i]), within(PIXELS));
            assertThat(points.get(i)[1]).isCloseTo(chart.y(y[i]), within(PIXELS));
        }
    }

    @Test
    void pointsStandByTheLogarithmAndThoseAtZeroAtTheLeftEnd() {
        var items = List.of(new Points.Item("base", 0, 25), new Points.Item("few", 8_816, 26.3),
                new Points.Item("many", 466_062, 64.6));
        Picture chart = drawn(new Points("Tokens", "", "tokens", "accuracy", items));
        List<Element> dots = chart.all("circle", "dot");
        List<Element> leaders = chart.all("line", "leader");
        List<Element> names = chart.all("text", "name");
        assertThat(names).extracting(Element::getTextContent).containsExactly("base", "few", "many");
        isAt(dots.get(0), "cx", chart.xOfLabel(1e3));
        isAt(dots.get(1), "cx", chart.xOfLogarithm(8_816));
        isAt(dots.get(2), "cx", chart.xOfLogarithm(466_062));
        for (int i = 0; i < 3; i++) {
            isAt(dots.get(i), "cy", chart.y(items.get(i).y()));
            isAt(leaders.get(i), "x1", at(dots.get(i), "cx"));
            isAt(leaders.get(i), "y1", at(dots.get(i), "cy"));
            isAt(leaders.get(i), "y2", at(names.get(i), "y") - 4);
        }
    }

    @Test
    void beforeAndAfterStandOnOneLineWhichSaysTheDirection() {
        Picture chart = drawn(new BeforeAfter("Stage 1", "", "loss", List.of(new BeforeAfter.Item("falls", 2.25, 0.5),
                new BeforeAfter.Item("rises", 1, 1.75))));
        List<Element> before = chart.all("circle", "before");
        List<Element> after = chart.all("circle", "after");
        isAt(before.get(0), "cx", chart.x(2.25));
        isAt(after.get(0), "cx", chart.x(0.5));
        isAt(before.get(1), "cx", chart.x(1));
        isAt(after.get(1), "cx", chart.x(1.75));
        Element falling = chart.all("line", "down").getFirst();
        isAt(falling, "x1", chart.x(2.25));
        isAt(falling, "x2", chart.x(0.5));
        isAt(falling, "y1", at(before.get(0), "cy"));
        Element rising = chart.all("line", "up").getFirst();
        isAt(rising, "x2", chart.x(1.75));
        isAt(rising, "y2", at(after.get(1), "cy"));
    }

    @Test
    void aHeatmapHasItsCellsInTheirRowsFromTheirPositionOnAndAsStrongAsTheyAreLarge() {
        double[] x = {0, 20, 40};
        var rows = List.of(new Series("first", x, new double[] {0.5, 0, 0.25}),
                new Series("second", x, new double[] {Double.NaN, 1, 0}));
        Picture map = drawn(new Heatmap("Draws", "", "iteration", 20, rows));
        List<Element> names = map.all("text", "name");
        List<Element> cells = map.all("rect", "cell");
        assertThat(names).extracting(Element::getTextContent).containsExactly("first", "second");
        assertThat(cells).as("none for 0 or where there is no value").hasSize(3);
        assertThat(cells).extracting(cell -> at(cell, "fill-opacity")).containsExactly(0.5, 0.25, 1.0);
        int[] positions = {0, 40, 20};
        for (int i = 0; i < 3; i++) {
            Element cell = cells.get(i);
            isAt(cell, "x", map.x(positions[i]));
            isAt(cell, "width", map.x(20) - map.x(0));
            assertThat(at(names.get(i == 2 ? 1 : 0), "y")).isBetween(at(cell, "y"), at(cell, "y") + at(cell, "height"));
        }
    }
}

package io.metalora.launcher.report;

import static j2html.TagCreator.tag;

import io.metalora.launcher.report.Report.BeforeAfter;
import io.metalora.launcher.report.Report.Curves;
import io.metalora.launcher.report.Report.Differences;
import io.metalora.launcher.report.Report.Heatmap;
import io.metalora.launcher.report.Report.LearningCurves;
import io.metalora.launcher.report.Report.Points;
import io.metalora.launcher.report.Report.Series;
import j2html.tags.ContainerTag;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.DoubleStream;

/**
 * The report's charts as inline SVG. Colours come from the page's style sheet by class, so that they follow the reader's
 * light or dark setting.
 */
final class Charts {

    /** The most points of a curve: more can't be seen in a small chart, but make the page large. */
    private static final int MAX_POINTS = 240;
    /** Weight of the newest value in the smoothed curve. */
    private static final double SMOOTHING = 0.1;

    private Charts() {
    }

    /** The axes that fit all series of the section: x from the first to the last position, y from 0 or lower. */
    static Axis[] commonAxes(Curves curves) {
        double[] xs = curves.series().stream().flatMapToDouble(s -> Arrays.stream(s.x())).toArray();
        double[] ys = curves.series().stream().flatMapToDouble(s -> Arrays.stream(s.y())).filter(Double::isFinite).sorted().toArray();
        if (ys.length == 0) {
            return new Axis[] {new Axis(0, 1, 1), new Axis(0, 1, 1)};
        }
        double xLow = DoubleStream.of(xs).min().orElse(0);
        double xHigh = DoubleStream.of(xs).max().orElse(1);
        return new Axis[] {Axis.covering(xLow, xHigh, 3), Axis.covering(Math.min(0, ys[0]), ys[ys.length - 1], 3)};
    }

    /** One small chart: the values as a faint line, their running mean as a strong one. */
    static ContainerTag<?> curve(Series series, Axis xAxis, Axis yAxis) {
        double width = 240;
        double height = 132;
        double left = 34;
        double right = width - 8;
        double top = 8;
        double bottom = height - 20;
        var svg = svg(width, height, series.name());
        for (double tick : yAxis.ticks()) {
            double y = bottom - yAxis.fraction(tick) * (bottom - top);
            svg.with(line(left, y, right, y, "grid"), text(left - 5, y + 3.5, "end", yAxis.label(tick)));
        }
        for (double tick : xAxis.ticks()) {
            double x = left + xAxis.fraction(tick) * (right - left);
            svg.with(text(x, height - 5, x > right - 12 ? "end" : "middle", xAxis.label(tick)));
        }
        double[] smooth = smoothed(series.y());
        svg.with(path(series.x(), series.y(), xAxis, yAxis, left, right, top, bottom, "raw"));
        svg.with(path(series.x(), smooth, xAxis, yAxis, left, right, top, bottom, "curve"));
        return svg;
    }

    /** All curves in one chart, each named at its end; their colours repeat after four. Positions are evenly spaced. */
    static ContainerTag<?> learningCurves(LearningCurves curves) {
        double width = 760;
        double height = 320;
        double left = 40;
        double right = width - 200;
        double top = 12;
        double bottom = height - 26;
        double[] xs = curves.series().stream().flatMapToDouble(s -> Arrays.stream(s.x())).distinct().sorted().toArray();
        double most = curves.series().stream().flatMapToDouble(s -> Arrays.stream(s.y())).filter(Double::isFinite).max().orElse(1);
        Axis xAxis = new Axis(0, Math.max(1, xs.length - 1), 1);
        Axis yAxis = Axis.covering(0, Math.max(most, 1e-9), 5);
        var svg = svg(width, height, curves.title());
        horizontalGrid(svg, yAxis, left, right, top, bottom);
        for (int i = 0; i < xs.length; i++) {
            svg.with(text(left + xAxis.fraction(i) * (right - left), height - 8, "middle", String.format(Locale.ROOT, "%.0f", xs[i])));
        }
        var ends = new ArrayList<Double>();
        for (int number = 0; number < curves.series().size(); number++) {
            Series series = curves.series().get(number);
            String kind = "series" + number % 4;
            double[] places = Arrays.stream(series.x()).map(x -> Arrays.binarySearch(xs, x)).toArray();
            svg.with(path(places, series.y(), xAxis, yAxis, left, right, top, bottom, "curve " + kind));
            double end = Double.NaN;
            for (int i = 0; i < places.length; i++) {
                if (Double.isFinite(series.y()[i])) {
                    end = bottom - yAxis.fraction(series.y()[i]) * (bottom - top);
                    svg.with(dot(left + xAxis.fraction(places[i]) * (right - left), end, "dot " + kind)
                            .with(tag("title").withText(String.format(Locale.ROOT, "%s, %.0f: %.1f", series.name(), series.x()[i], series.y()[i]))));
                }
            }
            if (Double.isFinite(end)) {
                double at = end;
                while (!isFree(ends, at)) {
                    at += 1;
                }
                ends.add(at);
                svg.with(text(right + 12, at + 4, "start", shortened(series.name(), 30)).withClass("name " + kind));
            }
        }
        return svg;
    }

    /** Whether a name at this height covers none of those that are there. */
    private static boolean isFree(List<Double> taken, double at) {
        return taken.stream().allMatch(other -> Math.abs(other - at) >= 14);
    }

    /** One row an item: an open dot before, a filled one after, joined by a line. */
    static ContainerTag<?> beforeAfter(BeforeAfter section) {
        double width = 760;
        double left = 190;
        double right = width - 20;
        double rowHeight = 20;
        double top = 24;
        double bottom = top + rowHeight * section.items().size();
        double[] values = section.items().stream().flatMapToDouble(i -> DoubleStream.of(i.before(), i.after()))
                .filter(Double::isFinite).toArray();
        Axis axis = Axis.covering(0, DoubleStream.of(values).max().orElse(1), 6);
        var svg = svg(width, bottom + 6, section.title());
        verticalGrid(svg, axis, left, right, top, bottom);
        double y = top + rowHeight / 2;
        for (BeforeAfter.Item item : section.items()) {
            svg.with(text(left - 10, y + 4, "end", shortened(item.name(), 28)).withClass("name"));
            if (Double.isFinite(item.before()) && Double.isFinite(item.after())) {
                double before = left + axis.fraction(item.before()) * (right - left);
                double after = left + axis.fraction(item.after()) * (right - left);
                svg.with(
                        line(before, y, after, y, item.after() <= item.before() ? "down" : "up"),
                        dot(before, y, "before"),
                        dot(after, y, "after")
                                .with(tag("title").withText(String.format(Locale.ROOT, "%s: %.4f before, %.4f after", item.name(),
                                        item.before(), item.after()))));
            }
            y += rowHeight;
        }
        return svg;
    }

    /** One row an item: a dot with its interval, a line at 0, and a mark at minus the margin. */
    static ContainerTag<?> differences(Differences section) {
        double width = 760;
        double left = 20;
        double right = width - 20;
        double rowHeight = 40;
        double top = 24;
        double bottom = top + rowHeight * section.items().size();
        double low = section.items().stream().mapToDouble(item -> Math.min(item.low(), -item.margin())).min().orElse(-1);
        double high = section.items().stream().mapToDouble(Differences.Item::high).max().orElse(1);
        Axis axis = Axis.covering(Math.min(0, low), Math.max(0, high), 8);
        var svg = svg(width, bottom + 6, section.title());
        verticalGrid(svg, axis, left, right, top, bottom);
        double zero = left + axis.fraction(0) * (right - left);
        svg.with(line(zero, top - 4, zero, bottom, "zero"));
        double y = top;
        for (Differences.Item item : section.items()) {
            double at = y + 28;
            double value = left + axis.fraction(item.value()) * (right - left);
            svg.with(text(left, y + 13, "start", shortened(item.name(), 110)).withClass("name"),
                    line(left + axis.fraction(item.low()) * (right - left), at, left + axis.fraction(item.high()) * (right - left), at, "interval"));
            if (item.margin() > 0) {
                double margin = left + axis.fraction(-item.margin()) * (right - left);
                svg.with(line(margin, at - 7, margin, at + 7, "margin"));
            }
            svg.with(dot(value, at, "after").with(tag("title").withText(String.format(Locale.ROOT, "%s: %+.1f (%+.1f to %+.1f)", item.name(),
                    item.value(), item.low(), item.high()))));
            y += rowHeight;
        }
        return svg;
    }

    /** Each point with its name; positions by the logarithm, those at 0 at the left end. */
    static ContainerTag<?> points(Points points) {
        double width = 760;
        double height = 360;
        double left = 40;
        double right = width - 220;
        double top = 12;
        double bottom = height - 26;
        double[] positive = points.items().stream().mapToDouble(Points.Item::x).filter(x -> x > 0).toArray();
        double least = Math.floor(Math.log10(DoubleStream.of(positive).min().orElse(1)));
        double most = Math.max(least + 1, Math.ceil(Math.log10(DoubleStream.of(positive).max().orElse(10))));
        Axis yAxis = Axis.covering(0, Math.max(1e-9, points.items().stream().mapToDouble(Points.Item::y).max().orElse(1)), 5);
        var svg = svg(width, height, points.title());
        horizontalGrid(svg, yAxis, left, right, top, bottom);
        for (double power = least; power <= most; power++) {
            svg.with(text(left + (power - least) / (most - least) * (right - left), height - 8, "middle", String.format(Locale.ROOT, "1e%.0f", power)));
        }
        var heights = new ArrayList<Double>();
        for (int i = 0; i < points.items().size(); i++) {
            Points.Item item = points.items().get(i);
            double x = item.x() > 0 ? left + (Math.log10(item.x()) - least) / (most - least) * (right - left) : left;
            double y = bottom - yAxis.fraction(item.y()) * (bottom - top);
            double at = y;
            while (!isFree(heights, at)) {
                at += 1;
            }
            heights.add(at);
            svg.with(line(x, y, right + 8, at, "leader"),
                    dot(x, y, "dot series" + i % 4).with(tag("title").withText(String.format(Locale.ROOT, "%s: %,.0f, %.1f", item.name(), item.x(), item.y()))),
                    text(right + 12, at + 4, "start", shortened(item.name(), 32)).withClass("name"));
        }
        return svg;
    }

    /** A row a series: cells as strong as their value is large, by the largest of all; none where it is 0 or not finite. */
    static ContainerTag<?> heatmap(Heatmap map) {
        double width = 760;
        double left = 190;
        double right = width - 20;
        double rowHeight = map.rows().size() > 40 ? 12 : 18;
        double bottom = rowHeight * map.rows().size();
        double[] xs = map.rows().stream().flatMapToDouble(row -> Arrays.stream(row.x())).toArray();
        double most = map.rows().stream().flatMapToDouble(row -> Arrays.stream(row.y())).filter(Double::isFinite).max().orElse(1);
        Axis axis = Axis.covering(DoubleStream.of(xs).min().orElse(0), DoubleStream.of(xs).max().orElse(0) + map.width(), 6);
        var svg = svg(width, bottom + 22, map.title());
        for (double tick : axis.ticks()) {
            double x = left + axis.fraction(tick) * (right - left);
            svg.with(line(x, 0, x, bottom + 4, "grid"), text(x, bottom + 16, "middle", axis.label(tick)));
        }
        double cell = map.width() / (axis.high() - axis.low()) * (right - left);
        for (int row = 0; row < map.rows().size(); row++) {
            Series series = map.rows().get(row);
            double y = row * rowHeight;
            svg.with(text(left - 10, y + rowHeight / 2 + 4, "end", shortened(series.name(), 28)).withClass("name"));
            for (int i = 0; i < series.x().length; i++) {
                double value = series.y()[i];
                if (Double.isFinite(value) && value > 0) {
                    svg.with(tag("rect").attr("x", number(left + axis.fraction(series.x()[i]) * (right - left)))
                            .attr("y", number(y + 1))
                            .attr("width", number(Math.max(cell, 0.5))).attr("height", number(rowHeight - 2)).withClass("cell")
                            .attr("fill-opacity", String.format(Locale.ROOT, "%.2f", value / most)));
                }
            }
        }
        return svg;
    }

    /** Exponential running mean, corrected for its start; a value that is not finite stays a gap. */
    static double[] smoothed(double[] values) {
        double[] smooth = new double[values.length];
        double mean = 0;
        double weight = 0;
        for (int i = 0; i < values.length; i++) {
            if (Double.isFinite(values[i])) {
                mean += SMOOTHING * (values[i] - mean);
                weight += SMOOTHING * (1 - weight);
                smooth[i] = mean / weight;
            } else {
                smooth[i] = Double.NaN;
            }
        }
        return smooth;
    }

    private static ContainerTag<?> path(double[] xs, double[] ys, Axis xAxis, Axis yAxis, double left, double right, double top,
            double bottom, String cssClass) {
        var data = new StringBuilder();
        boolean pen = false;
        int stride = Math.max(1, Math.ceilDiv(xs.length, MAX_POINTS));
        for (int i = 0; i < xs.length; i++) {
            if (!Double.isFinite(ys[i])) {
                pen = false;
                continue;
            }
            // The last point is always drawn: readers look there first.
            if (i % stride != 0 && i != xs.length - 1) {
                continue;
            }
            data.append(pen ? 'L' : 'M')
                    .append(number(left + xAxis.fraction(xs[i]) * (right - left))).append(' ')
                    .append(number(bottom - yAxis.fraction(ys[i]) * (bottom - top)));
            pen = true;
        }
        return tag("path").attr("d", data.toString()).withClass(cssClass);
    }

    /** Lines across, with the axis' labels on their left. */
    private static void horizontalGrid(ContainerTag<?> svg, Axis axis, double left, double right, double top, double bottom) {
        for (double tick : axis.ticks()) {
            double y = bottom - axis.fraction(tick) * (bottom - top);
            svg.with(line(left, y, right, y, "grid"), text(left - 6, y + 3.5, "end", axis.label(tick)));
        }
    }

    /** Lines down, with the axis' labels above them. */
    private static void verticalGrid(ContainerTag<?> svg, Axis axis, double left, double right, double top, double bottom) {
        for (double tick : axis.ticks()) {
            double x = left + axis.fraction(tick) * (right - left);
            svg.with(line(x, top - 4, x, bottom, "grid"), text(x, top - 9, "middle", axis.label(tick)));
        }
    }

    private static ContainerTag<?> svg(double width, double height, String label) {
        return tag("svg").attr("viewBox", "0 0 " + number(width) + " " + number(height)).attr("role", "img").attr("aria-label", label);
    }

    private static ContainerTag<?> line(double x1, double y1, double x2, double y2, String cssClass) {
        return tag("line").attr("x1", number(x1)).attr("y1", number(y1)).attr("x2", number(x2)).attr("y2", number(y2))
                .withClass(cssClass);
    }

    private static ContainerTag<?> dot(double x, double y, String cssClass) {
        return tag("circle").attr("cx", number(x)).attr("cy", number(y)).attr("r", "4").withClass(cssClass);
    }

    private static ContainerTag<?> text(double x, double y, String anchor, String text) {
        return tag("text").attr("x", number(x)).attr("y", number(y)).attr("text-anchor", anchor).withText(text);
    }

    private static String shortened(String text, int length) {
        return text.length() <= length ? text : text.substring(0, length - 1) + "…";
    }

    private static String number(double value) {
        String text = String.format(Locale.ROOT, "%.1f", value);
        return text.endsWith(".0") ? text.substring(0, text.length() - 2) : text;
    }
}

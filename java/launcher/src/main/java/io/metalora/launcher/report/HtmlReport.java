package io.metalora.launcher.report;

import static j2html.TagCreator.a;
import static j2html.TagCreator.body;
import static j2html.TagCreator.div;
import static j2html.TagCreator.each;
import static j2html.TagCreator.figcaption;
import static j2html.TagCreator.figure;
import static j2html.TagCreator.h1;
import static j2html.TagCreator.h2;
import static j2html.TagCreator.head;
import static j2html.TagCreator.header;
import static j2html.TagCreator.html;
import static j2html.TagCreator.mark;
import static j2html.TagCreator.meta;
import static j2html.TagCreator.nav;
import static j2html.TagCreator.p;
import static j2html.TagCreator.pre;
import static j2html.TagCreator.rawHtml;
import static j2html.TagCreator.section;
import static j2html.TagCreator.span;
import static j2html.TagCreator.style;
import static j2html.TagCreator.table;
import static j2html.TagCreator.tbody;
import static j2html.TagCreator.td;
import static j2html.TagCreator.text;
import static j2html.TagCreator.tfoot;
import static j2html.TagCreator.th;
import static j2html.TagCreator.thead;
import static j2html.TagCreator.title;
import static j2html.TagCreator.tr;

import io.metalora.file.AtomicFile;
import io.metalora.launcher.report.Report.BeforeAfter;
import io.metalora.launcher.report.Report.Code;
import io.metalora.launcher.report.Report.Curves;
import io.metalora.launcher.report.Report.Differences;
import io.metalora.launcher.report.Report.Facts;
import io.metalora.launcher.report.Report.Heatmap;
import io.metalora.launcher.report.Report.LearningCurves;
import io.metalora.launcher.report.Report.Points;
import io.metalora.launcher.report.Report.Section;
import io.metalora.launcher.report.Report.Table;
import io.metalora.launcher.report.Report.Text;
import io.metalora.launcher.report.Report.Tokens;
import j2html.tags.DomContent;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/**
 * Lays a {@link Report} out as one self-contained HTML page: style and charts are in it, nothing is fetched, no script runs. All
 * data is escaped. Readable in light and dark, on paper, and with any number of tasks: what is too much for a page is cut, and
 * the page says so.
 */
public final class HtmlReport {

    /** Rows of a table, lines of a chart. */
    static final int MOST_ROWS = 200;
    /** Charts of a section. */
    static final int MOST_CHARTS = 60;
    /** Characters of text shown as it stands. */
    static final int MOST_CODE = 1 << 16;

    private HtmlReport() {
    }

    /** Writes the page to a file, replacing an earlier one in one step. */
    public static void write(Report report, Path file) {
        AtomicFile.write(file, render(report).getBytes(StandardCharsets.UTF_8));
    }

    /** The page as text. */
    public static String render(Report report) {
        List<Section> sections = report.sections();
        return "<!DOCTYPE html>\n" + html().attr("lang", "en").with(
                head(
                        meta().attr("charset", "utf-8"),
                        meta().withName("viewport").withContent("width=device-width, initial-scale=1"),
                        meta().withName("color-scheme").withContent("light dark"),
                        title(report.title()),
                        style().with(rawHtml(styleSheet()))),
                body(
                        header(
                                h1(report.title()),
                                p(report.subtitle()).withClass("subtitle"),
                                nav(each(IntStream.range(0, sections.size()).boxed().toList(),
                                        i -> a(sections.get(i).title()).withHref("#s" + i)))),
                        each(IntStream.range(0, sections.size()).boxed().toList(),
                                i -> section(h2(sections.get(i).title()), content(sections.get(i))).withId("s" + i))))
                .render() + "\n";
    }

    private static DomContent content(Section section) {
        return switch (section) {
            case Text text -> div(each(text.paragraphs(), paragraph -> p(paragraph)));
            case Facts facts -> table(tbody(each(facts.facts().entrySet(), fact -> tr(th(fact.getKey()).attr("scope", "row"),
                    td(fact.getValue()))))).withClass("facts");
            case Table table -> figure(figcaption(table.caption()), div(layout(table)).withClass("scroll"),
                    notShown(table.rows().size(), MOST_ROWS, "rows"));
            case Curves curves -> curves(curves);
            case LearningCurves curves -> figure(figcaption(curves.caption()),
                    p(curves.yLabel() + " over " + curves.xLabel()).withClass("axis"), Charts.learningCurves(curves).withClass("wide"));
            case Heatmap map -> figure(figcaption(map.caption()), p("over " + map.xLabel()).withClass("axis"),
                    Charts.heatmap(new Heatmap(map.title(), map.caption(), map.xLabel(), map.width(),
                            first(map.rows(), MOST_ROWS))).withClass("wide"),
                    notShown(map.rows().size(), MOST_ROWS, "rows"));
            case BeforeAfter pairs -> figure(figcaption(pairs.caption()), legend("before", "○ before"), legend("after", "● after"),
                    span(pairs.label()).withClass("axis"),
                    Charts.beforeAfter(new BeforeAfter(pairs.title(), pairs.caption(), pairs.label(), first(pairs.items(), MOST_ROWS)))
                            .withClass("wide"),
                    notShown(pairs.items().size(), MOST_ROWS, "lines"));
            case Differences all -> figure(figcaption(all.caption()), span(all.label()).withClass("axis"),
                    Charts.differences(new Differences(all.title(), all.caption(), all.label(), first(all.items(), MOST_ROWS))).withClass("wide"),
                    notShown(all.items().size(), MOST_ROWS, "lines"));
            case Points points -> figure(figcaption(points.caption()),
                    p(points.yLabel() + " over " + points.xLabel() + ", logarithmic").withClass("axis"), Charts.points(points).withClass("wide"));
            case Tokens tokens -> div(p(tokens.caption()), each(tokens.items(), item -> figure(figcaption(item.name()),
                    pre(each(item.spans(), span -> span.marked() ? mark(span.text()) : text(span.text()))).withClass("tokens"),
                    p(each(item.spans(), span -> span.marked() ? each(text(" "), mark(span.ids()), text(" ")) : text(span.ids()))).withClass("ids"))));
            case Code code -> div(pre(code.text().substring(0, Math.min(code.text().length(), MOST_CODE))),
                    notShown(code.text().length(), MOST_CODE, "characters"));
        };
    }

    private static <T> List<T> first(List<T> all, int most) {
        return all.subList(0, Math.min(all.size(), most));
    }

    /** Says what a bounded part leaves out; nothing where it shows all. */
    private static DomContent notShown(int count, int most, String what) {
        return count <= most ? text("") : p(String.format(Locale.ROOT, "Only the first %,d of %,d %s are shown; the run's folder has all.",
                most, count, what)).withClass("left-out");
    }

    private static DomContent legend(String cssClass, String text) {
        return span(text).withClass("legend " + cssClass);
    }

    private static DomContent layout(Table table) {
        var body = tbody(each(first(table.rows(), MOST_ROWS), row -> cells(row)));
        var rows = table(thead(tr(each(table.columns(), column -> th(column).attr("scope", "col")))), body).withClass("numbers");
        return table.footer().isEmpty() ? rows : rows.with(tfoot(cells(table.footer())));
    }

    private static DomContent cells(List<String> row) {
        return tr(th(row.getFirst()).attr("scope", "row"), each(row.subList(1, row.size()), cell -> td(cell)));
    }

    private static DomContent curves(Curves all) {
        var curves = new Curves(all.title(), all.caption(), all.xLabel(), all.yLabel(), first(all.series(), MOST_CHARTS));
        Axis[] axes = Charts.commonAxes(curves);
        return div(
                p(curves.caption()),
                p(curves.yLabel() + " over " + curves.xLabel()).withClass("axis"),
                div(each(curves.series(), series -> figure(figcaption(series.name()).withTitle(series.name()),
                        Charts.curve(series, axes[0], axes[1])))).withClass("multiples"),
                notShown(all.series().size(), MOST_CHARTS, "curves"));
    }

    private static String styleSheet() {
        try (InputStream css = HtmlReport.class.getResourceAsStream("report.css")) {
            return new String(css.readAllBytes(), StandardCharsets.UTF_8);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}

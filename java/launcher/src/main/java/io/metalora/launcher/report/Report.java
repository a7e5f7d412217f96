package io.metalora.launcher.report;

import io.metalora.eval.Comparison;
import java.util.List;
import java.util.Map;
import java.util.Objects;

/**
 * What a report page says, before it is laid out by {@link HtmlReport}: a title and sections in reading order.
 *
 * @param title    heading of the page
 * @param subtitle one line below it
 * @param sections the parts, each with a heading of its own
 */
public record Report(String title, String subtitle, List<Section> sections) {

    public Report {
        Objects.requireNonNull(title, "title");
        Objects.requireNonNull(subtitle, "subtitle");
        sections = List.copyOf(sections);
    }

    /** One part of the page. */
    public sealed interface Section {
        /** Its heading. */
        String title();
    }

    /** Paragraphs of text. */
    public record Text(String title, List<String> paragraphs) implements Section {
        public Text {
            paragraphs = List.copyOf(paragraphs);
        }
    }

    /** Names and values, in the map's order. */
    public record Facts(String title, Map<String, String> facts) implements Section {
    }

    /**
     * A table with a name at the head of each row.
     *
     * @param columns headings, that of the names first
     * @param rows    as many cells as columns, the name first
     * @param footer  a closing row such as the mean; empty when there is none
     */
    public record Table(String title, String caption, List<String> columns, List<List<String>> rows, List<String> footer)
            implements Section {
        public Table {
            columns = List.copyOf(columns);
            rows = rows.stream().map(List::copyOf).toList();
            footer = List.copyOf(footer);
            for (List<String> row : rows) {
                requireWidth(columns, row);
            }
            if (!footer.isEmpty()) {
                requireWidth(columns, footer);
            }
        }

        /** Of the arms of an experiment. */
        public static Table of(String title, String caption, Comparison comparison) {
            return new Table(title, caption, comparison.headings(), comparison.rows(), comparison.meanRow());
        }

        private static void requireWidth(List<String> columns, List<String> row) {
            if (row.size() != columns.size()) {
                throw new IllegalArgumentException("a row of " + row.size() + " cells in a table of " + columns.size() + " columns");
            }
        }
    }

    /** One small chart a series, all with the same axes so that they can be compared. */
    public record Curves(String title, String caption, String xLabel, String yLabel, List<Series> series) implements Section {
        public Curves {
            series = List.copyOf(series);
        }
    }

    /**
     * Points of one curve, in the order they are joined.
     *
     * @param x positions, ascending
     * @param y values; one that is not finite leaves a gap
     */
    public record Series(String name, double[] x, double[] y) {
        public Series {
            if (x.length != y.length) {
                throw new IllegalArgumentException(x.length + " positions but " + y.length + " values");
            }
        }
    }

    /** Several curves through few points in one chart, the positions evenly spaced. */
    public record LearningCurves(String title, String caption, String xLabel, String yLabel, List<Series> series) implements Section {
        public LearningCurves {
            series = List.copyOf(series);
        }
    }

    /**
     * A row a series, in it a cell a value, the darker the larger.
     *
     * @param width of a cell, from its position on
     */
    public record Heatmap(String title, String caption, String xLabel, double width, List<Series> rows) implements Section {
        public Heatmap {
            rows = List.copyOf(rows);
        }
    }

    /** One line an item, from its value before to its value after, on a common axis. */
    public record BeforeAfter(String title, String caption, String label, List<Item> items) implements Section {
        public BeforeAfter {
            items = List.copyOf(items);
        }

        /** A named pair of values. */
        public record Item(String name, double before, double after) {
        }
    }

    /**
     * Differences with their intervals on a common axis, one line each: a forest plot.
     *
     * @param label what the axis counts
     */
    public record Differences(String title, String caption, String label, List<Item> items) implements Section {
        public Differences {
            items = List.copyOf(items);
        }

        /**
         * A difference.
         *
         * @param low    lower end of its interval
         * @param high   its upper end
         * @param margin below 0 by how much it may lie and still not count as inferior; 0: not asked
         */
        public record Item(String name, double value, double low, double high, double margin) {
        }
    }

    /** Named points in one chart; the x axis is logarithmic. */
    public record Points(String title, String caption, String xLabel, String yLabel, List<Item> items) implements Section {
        public Points {
            items = List.copyOf(items);
        }

        /** @param x 0 stands at the left end */
        public record Item(String name, double x, double y) {
        }
    }

    /** Examples as token sequences, with the spans that carry loss marked. */
    public record Tokens(String title, String caption, List<Item> items) implements Section {
        public Tokens {
            items = List.copyOf(items);
        }

        /** One sequence, below a heading of its own. */
        public record Item(String name, List<Span> spans) {
            public Item {
                spans = List.copyOf(spans);
            }
        }

        /**
         * @param text   what the tokens decode to
         * @param ids    the tokens' ids
         * @param marked whether they carry loss
         */
        public record Span(String text, String ids, boolean marked) {
        }
    }

    /** Text shown as it stands, such as a configuration. */
    public record Code(String title, String text) implements Section {
    }
}

package io.metalora.launcher;

import io.metalora.file.Shown;
import java.util.ArrayList;
import java.util.List;

/** A table for the terminal: the first column to the left, the others to the right. */
final class TextTable {

    private final List<List<String>> rows = new ArrayList<>();
    private final int[] widths;

    TextTable(List<String> headings) {
        widths = new int[headings.size()];
        row(headings);
    }

    final TextTable row(List<String> cells) {
        rows.add(List.copyOf(cells));
        for (int i = 0; i < widths.length; i++) {
            widths[i] = Math.max(widths[i], length(shown(cells.get(i))));
        }
        return this;
    }

    @Override
    public String toString() {
        var text = new StringBuilder();
        rows.forEach(row -> text.append(line(row)).append(System.lineSeparator()));
        return text.toString();
    }

    /** One row, laid out as in the table. */
    String line(List<String> row) {
        var line = new StringBuilder();
        for (int i = 0; i < row.size(); i++) {
            String cell = shown(row.get(i));
            String padding = " ".repeat(Math.max(0, widths[i] - length(cell)));
            line.append(i == 0 ? cell + padding : "  " + padding + cell);
        }
        return line.toString().stripTrailing();
    }

    /** The name of a task is that of a folder: a line break in it would break the table, and an escape reach the terminal. */
    private static String shown(String cell) {
        return Shown.plain(cell);
    }

    private static int length(String cell) {
        return cell.codePointCount(0, cell.length());
    }
}

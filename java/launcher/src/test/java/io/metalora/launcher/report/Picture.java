package io.metalora.launcher.report;

import java.io.IOException;
import java.io.StringReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import javax.xml.parsers.DocumentBuilderFactory;
import javax.xml.parsers.ParserConfigurationException;
import org.w3c.dom.Element;
import org.xml.sax.InputSource;
import org.xml.sax.SAXException;

/** An SVG of a report as its reader sees it: shapes at positions, and what a position means by the labels of the axes alone. */
public final class Picture {

    /** Positions are written with one decimal, those of the ticks too. */
    public static final double PIXELS = 0.16;

    private static final Pattern SVG = Pattern.compile("<svg .*?</svg>", Pattern.DOTALL);
    private static final Pattern POINT = Pattern.compile("([ML])(-?[\\d.]+) (-?[\\d.]+)");

    /** A label of an axis: its number, and where it stands. */
    private record Tick(double value, double at) {
    }

    private final Element svg;
    private final List<Tick> xTicks = new ArrayList<>();
    private final List<Tick> yTicks = new ArrayList<>();

    private Picture(Element svg) {
        this.svg = svg;
        List<Element> grid = all("line", "grid");
        for (Element text : all("text", "")) {
            double x = at(text, "x");
            double y = at(text, "y") - 3.5;
            boolean beside = grid.stream().anyMatch(line -> at(line, "y1") == at(line, "y2")
                    && Math.abs(at(line, "y1") - y) < PIXELS && x < at(line, "x1"));
            double value = Double.parseDouble(text.getTextContent());
            if (beside) {
                yTicks.add(new Tick(value, y));
            } else {
                xTicks.add(new Tick(value, x));
            }
        }
    }

    /** The only picture of a page with this label. */
    public static Picture of(String page, String label) {
        List<Picture> found = allOf(page).stream().filter(picture -> picture.label().equals(label)).toList();
        if (found.size() != 1) {
            throw new AssertionError(found.size() + " pictures are labelled " + label);
        }
        return found.getFirst();
    }

    /** All of a page, in its order. */
    public static List<Picture> allOf(String page) {
        return SVG.matcher(page).results().map(svg -> new Picture(parsed(svg.group()))).toList();
    }

    private static Element parsed(String svg) {
        try {
            return DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(new InputSource(new StringReader(svg)))
                    .getDocumentElement();
        } catch (ParserConfigurationException | SAXException | IOException e) {
            throw new AssertionError(svg, e);
        }
    }

    /** What it is called for those who can't see it. */
    public String label() {
        return svg.getAttribute("aria-label");
    }

    /** Elements with this class among theirs, or without any if it is empty, in the document's order. */
    public List<Element> all(String tag, String cssClass) {
        var nodes = svg.getElementsByTagName(tag);
        return IntStream.range(0, nodes.getLength()).mapToObj(i -> (Element) nodes.item(i)).filter(element -> {
            String classes = element.getAttribute("class");
            return cssClass.isEmpty() ? classes.isEmpty() : Arrays.asList(classes.split(" ")).contains(cssClass);
        }).toList();
    }

    public static double at(Element element, String attribute) {
        return Double.parseDouble(element.getAttribute(attribute));
    }

    /** The numbers at the x axis, in the document's order. */
    public double[] xLabels() {
        return xTicks.stream().mapToDouble(Tick::value).toArray();
    }

    /** Where a value stands on the x axis, which is linear. */
    public double x(double value) {
        return place(xTicks, value);
    }

    /** Where a value stands on the x axis, which is logarithmic. */
    public double xOfLogarithm(double value) {
        return place(xTicks.stream().map(tick -> new Tick(Math.log10(tick.value), tick.at)).toList(), Math.log10(value));
    }

    /** Where a label of the x axis stands. */
    public double xOfLabel(double value) {
        return xTicks.stream().filter(tick -> tick.value == value).findFirst().orElseThrow().at;
    }

    /** Where a value stands on the y axis. */
    public double y(double value) {
        return place(yTicks, value);
    }

    private static double place(List<Tick> ticks, double value) {
        Tick first = ticks.getFirst();
        Tick last = ticks.getLast();
        for (Tick tick : ticks) { // all of one axis
            double on = first.at + (tick.value - first.value) / (last.value - first.value) * (last.at - first.at);
            if (Math.abs(on - tick.at) > PIXELS) {
                throw new AssertionError("the label " + tick.value + " stands at " + tick.at + ", not at " + on);
            }
        }
        return first.at + (value - first.value) / (last.value - first.value) * (last.at - first.at);
    }

    /** The strokes of a path, each a list of points x, y. */
    public static List<List<double[]>> strokes(Element path) {
        var strokes = new ArrayList<List<double[]>>();
        POINT.matcher(path.getAttribute("d")).results().forEach(point -> {
            if (point.group(1).equals("M")) {
                strokes.add(new ArrayList<>());
            }
            strokes.getLast().add(new double[] {Double.parseDouble(point.group(2)), Double.parseDouble(point.group(3))});
        });
        return strokes;
    }
}

package io.metalora.launcher;

import io.metalora.launcher.CompareCell.Point;
import io.metalora.launcher.report.Report.Series;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.ToDoubleFunction;

/**
 * What was measured along the trainings of a comparison, and how soon each came to where another ended.
 *
 * @param tracks one an arm that has one, in the protocol's order
 */
record CompareTracks(List<Track> tracks) {

    static final String CAPTION = "Accuracy of the shared adapter along its training, mean over the trained tasks, on up to "
            + CompareTrack.MOST_ITEMS + " dev items of each. Tokens and seconds are of the training until then, without what measuring took.";
    static final String UNTIL = "The first point of an arm that is not below where the other arm of the same seed ended; means "
            + "over the seeds that came to one, and as shares of what the other's whole training took with these seeds.";
    static final List<String> HEADINGS = List.of("arm", "until where this ended", "accuracy there, %", "seeds", "tokens",
            "of its", "seconds", "of its");

    /** @param seeds the points of each seed that has them, none without any */
    record Track(String arm, String label, Map<Long, List<Point>> seeds) {

        /** Mean over the seeds, over tokens. */
        Series series() {
            int points = seeds.values().stream().mapToInt(List::size).min().orElse(0);
            double[] x = new double[points];
            double[] y = new double[points];
            for (int i = 0; i < points; i++) {
                int at = i;
                x[i] = seeds.values().stream().mapToDouble(of -> of.get(at).tokens()).average().orElseThrow();
                y[i] = 100 * seeds.values().stream().mapToDouble(of -> of.get(at).accuracy()).average().orElseThrow();
            }
            return new Series(label, x, y);
        }
    }

    /**
     * @param arm   that trains
     * @param goal  the arm whose end it is to come to
     * @param ends  of the goal's training, one for each seed that both have
     * @param first the arm's first point that is not below it, of each of these seeds; empty where there is none
     */
    record Reach(Track arm, Track goal, List<Point> ends, List<Optional<Point>> first) {

        static Reach of(Track arm, Track goal) {
            var ends = new ArrayList<Point>();
            var first = new ArrayList<Optional<Point>>();
            goal.seeds().forEach((seed, points) -> {
                if (arm.seeds().containsKey(seed)) {
                    Point end = points.getLast();
                    ends.add(end);
                    first.add(arm.seeds().get(seed).stream().filter(point -> point.accuracy() >= end.accuracy()).findFirst());
                }
            });
            return new Reach(arm, goal, List.copyOf(ends), List.copyOf(first));
        }

        long reached() {
            return first.stream().filter(Optional::isPresent).count();
        }

        double accuracy() {
            return ends.stream().mapToDouble(Point::accuracy).average().orElse(Double.NaN);
        }

        /** Mean over the seeds that came to one; empty where none did. */
        OptionalDouble mean(ToDoubleFunction<Point> what) {
            return first.stream().flatMap(Optional::stream).mapToDouble(what).average();
        }

        /** As a share of what the goal took with the same seeds. */
        OptionalDouble share(ToDoubleFunction<Point> what) {
            double own = 0;
            double other = 0;
            for (int i = 0; i < first.size(); i++) {
                if (first.get(i).isPresent()) {
                    own += what.applyAsDouble(first.get(i).get());
                    other += what.applyAsDouble(ends.get(i));
                }
            }
            return reached() == 0 ? OptionalDouble.empty() : OptionalDouble.of(own / other);
        }
    }

    static CompareTracks of(CompareRun run, List<CompareRun.Cell> reported) {
        var byArm = new LinkedHashMap<String, Track>();
        for (CompareRun.Cell cell : reported) {
            List<Point> points = run.done().get(cell).training().track();
            if (cell.arm().track() > 0 && !points.isEmpty() && run.done().get(cell).diverged().isEmpty()) {
                byArm.computeIfAbsent(cell.arm().name(), name -> new Track(name, cell.arm().label(), new LinkedHashMap<>()))
                        .seeds().put(cell.seed(), points);
            }
        }
        return new CompareTracks(List.copyOf(byArm.values()));
    }

    boolean isEmpty() {
        return tracks.isEmpty();
    }

    /** An arm against the end of every other. */
    List<Reach> reaches(Track arm) {
        return tracks.stream().filter(goal -> goal != arm).map(goal -> Reach.of(arm, goal)).toList();
    }

    List<List<String>> table() {
        return tracks.stream().flatMap(arm -> reaches(arm).stream()).map(of -> List.of(of.arm().label(), of.goal().label(), CompareResults.percent(of.accuracy()),
                of.reached() + " of " + of.ends().size(), shown("%,.0f", of.mean(Point::tokens)),
                shown("%.2f", of.share(Point::tokens)), shown("%.1f", of.mean(Point::seconds)), shown("%.2f", of.share(Point::seconds)))).toList();
    }

    private static String shown(String format, OptionalDouble value) {
        return value.isPresent() ? String.format(Locale.ROOT, format, value.getAsDouble()) : "-";
    }

    List<Map<String, Object>> json() {
        return tracks.stream().map(track -> {
            var json = new LinkedHashMap<String, Object>();
            json.put("arm", track.arm());
            json.put("seeds", track.seeds());
            json.put("until", reaches(track).stream().map(CompareTracks::json).toList());
            return (Map<String, Object>) json;
        }).toList();
    }

    private static Map<String, Object> json(Reach reach) {
        var json = new LinkedHashMap<String, Object>();
        json.put("end_of", reach.goal().arm());
        json.put("accuracy", CompareResults.orNull(reach.accuracy()));
        json.put("seeds", reach.ends().size());
        json.put("reached", reach.reached());
        json.put("tokens", orNull(reach.mean(Point::tokens)));
        json.put("tokens_share", orNull(reach.share(Point::tokens)));
        json.put("seconds", orNull(reach.mean(Point::seconds)));
        json.put("seconds_share", orNull(reach.share(Point::seconds)));
        return json;
    }

    private static Double orNull(OptionalDouble value) {
        return CompareResults.orNull(value.orElse(Double.NaN));
    }
}

package io.metalora.adapter;

import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import java.util.stream.Collectors;

/**
 * Which Linears an adapter sits on, with PEFT's meaning of {@code target_modules}: a list of module paths or of their
 * last parts ({@code q_proj}, {@code mlp.up_proj}), one regular expression that a whole path must match, or
 * {@code all-linear}, which is every Linear but the output head.
 */
public sealed interface TargetModules {

    String ALL_LINEAR = "all-linear";

    /** Paths, or ends of paths that begin after a dot. */
    record Names(List<String> names) implements TargetModules {
        public Names {
            names = List.copyOf(names);
            if (names.isEmpty()) {
                throw new InputException("target_modules is empty; name at least one of " + leaves()
                        + ", or \"" + ALL_LINEAR + "\"");
            }
            for (String name : names) {
                if (name.isBlank()) {
                    throw new InputException("target_modules holds an empty name; the Linears are " + leaves());
                }
            }
        }

        @Override
        public boolean matches(String path) {
            return names.stream().anyMatch(name -> matches(name, path));
        }

        private static boolean matches(String name, String path) {
            return path.equals(name) || path.endsWith("." + name);
        }

        @Override
        public String toString() {
            return names.toString();
        }
    }

    /** A regular expression in Python's or Java's notation, which largely agree. */
    record Regex(String expression, Pattern pattern) implements TargetModules {
        public Regex {
            Objects.requireNonNull(expression, "expression");
            Objects.requireNonNull(pattern, "pattern");
        }

        @Override
        public boolean matches(String path) {
            try {
                return pattern.matcher(new BoundedText(path)).matches();
            } catch (BoundedText.Exceeded | StackOverflowError e) {
                throw new InputException("target_modules " + this + " takes too long: it has more ways to match " + path
                        + " than can be tried; repeat nothing that is itself repeated, as in (a+)+, or name the modules in a list:"
                        + " [q_proj, v_proj]");
            }
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Regex r && r.expression.equals(expression);
        }

        @Override
        public int hashCode() {
            return expression.hashCode();
        }

        @Override
        public String toString() {
            return abbreviated(expression);
        }
    }

    /** Every Linear of every layer. */
    record AllLinear() implements TargetModules {
        @Override
        public boolean matches(String path) {
            return Arrays.stream(Projection.values()).anyMatch(p -> path.endsWith("." + p.module()));
        }

        @Override
        public String toString() {
            return "\"" + ALL_LINEAR + "\"";
        }
    }

    static TargetModules of(List<String> names) {
        return names.equals(List.of(ALL_LINEAR)) ? new AllLinear() : new Names(names);
    }

    static TargetModules of(String... names) {
        return of(List.of(names));
    }

    static TargetModules allLinear() {
        return new AllLinear();
    }

    /** {@code all-linear}, or a regular expression; as PEFT reads a target_modules that is one string. */
    static TargetModules ofString(String text) {
        if (text.equalsIgnoreCase(ALL_LINEAR)) {
            return new AllLinear();
        }
        if (text.isBlank()) {
            throw new InputException("target_modules is empty; name at least one of " + leaves() + ", or \""
                    + ALL_LINEAR + "\"");
        }
        if (!BoundedText.mayBeMatched(text)) {
            throw new InputException("target_modules " + abbreviated(text) + " is too large: an expression may have "
                    + BoundedText.MAX_EXPRESSION + " characters and counts, as in {3}, that multiply to " + BoundedText.MAX_REPETITIONS
                    + "; name the modules in a list: [q_proj, v_proj]");
        }
        try {
            String java = text.replace("(?P<", "(?<").replaceAll("\\(\\?P=(\\w+)\\)", "\\\\k<$1>");
            var regex = new Regex(text, Pattern.compile(java));
            for (Projection p : Projection.values()) {
                regex.matches(p.path(0)); // so that one that takes too long is reported where it is read
            }
            return regex;
        } catch (PatternSyntaxException e) {
            throw new InputException("target_modules " + abbreviated(text) + " is not a regular expression: "
                    + e.getDescription() + " at index " + e.getIndex()
                    + "; to name several modules, use a list: [q_proj, v_proj]", e);
        }
    }

    private static String abbreviated(String text) {
        return "\"" + (text.length() <= 200 ? text : text.substring(0, 197) + "...") + "\"";
    }

    /** Whether the Linear at {@code path} ({@code model.layers.0.self_attn.q_proj}) gets an adapter. */
    boolean matches(String path);

    /** Refuses targets that match no Linear of {@code model}, or one that takes no adapter here. */
    default void check(ModelConfig model) {
        for (String path : List.of("lm_head", "model.embed_tokens")) {
            if (matches(path)) {
                String tied = model.tiedEmbeddings()
                        ? " (lm_head and embed_tokens are one tied matrix in this model, so an adapter on one would"
                                + " change the other)"
                        : "";
                throw new InputException("target_modules " + this + " matches " + path + ", which takes no adapter"
                        + tied + "; adapters go on " + leaves());
            }
        }
        var unmatched = this instanceof Names n
                ? n.names().stream().filter(name -> !matchesSome(new Names(List.of(name)), model)).toList()
                : matchesSome(this, model) ? List.<String>of() : List.of(toString());
        if (!unmatched.isEmpty()) {
            throw new InputException("target_modules " + String.join(", ", unmatched) + " matches no Linear of the model;"
                    + (this instanceof Regex ? " one text is a regular expression for whole paths (names stand in a list, as [q_proj, v_proj]);" : "")
                    + " the Linears there are " + paths(model));
        }
    }

    /** The projections that have an adapter in at least one layer. */
    default Set<Projection> projections(ModelConfig model) {
        return Arrays.stream(Projection.values())
                .filter(p -> {
                    for (int layer = 0; layer < model.layers(); layer++) {
                        if (matches(p.path(layer))) {
                            return true;
                        }
                    }
                    return false;
                })
                .collect(Collectors.toCollection(() -> EnumSet.noneOf(Projection.class)));
    }

    private static boolean matchesSome(TargetModules t, ModelConfig model) {
        return !t.projections(model).isEmpty();
    }

    private static String leaves() {
        return Arrays.stream(Projection.values()).map(Projection::leaf).collect(Collectors.joining(", "));
    }

    private static String paths(ModelConfig model) {
        var all = new ArrayList<String>();
        for (var p : Projection.values()) {
            all.add("model.layers.{0.." + (model.layers() - 1) + "}." + p.module());
        }
        return String.join(", ", all);
    }
}

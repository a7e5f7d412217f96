package io.metalora.launcher.chat;

import com.hubspot.jinjava.interpret.InterpretException;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Rewrites the few expressions of chat templates that the template library reads differently from Jinja into others of
 * the meaning they have in Jinja. Text outside tags and string literals stay as they are.
 */
final class JinjaDialect {
    private static final Pattern CODE = Pattern.compile("\\{%.*?%\\}|\\{\\{.*?\\}\\}", Pattern.DOTALL);
    static final Pattern STRING = Pattern.compile("'[^'\\\\]*+(?:\\\\.[^'\\\\]*+)*'|\"[^\"\\\\]*+(?:\\\\.[^\"\\\\]*+)*\"", Pattern.DOTALL);

    /** Stands for the n-th string literal while the code around it is rewritten. */
    private static final Pattern PLACEHOLDER = Pattern.compile("__literal(\\d+)__");

    /** x[::-1]: the only slice with a step that chat templates use. */
    private static final Pattern REVERSED = Pattern.compile("\\[\\s*::\\s*-1\\s*\\]");

    // Jinja reads "not x in y" as "not (x in y)", the library as "(not x) in y"; likewise with "is".
    private static final String OPERAND = "(\\w+(?:\\.\\w+|\\[[^\\]]*\\])*)";
    private static final Pattern NOT_IS = Pattern.compile("\\bnot\\s+" + OPERAND + "\\s+is\\s+(?!not\\b)");
    private static final Pattern NOT_IN = Pattern.compile("\\bnot\\s+" + OPERAND + "\\s+in\\s");

    // In "f(k=x + 1)" the library binds "k=" tighter than "+".
    private static final Pattern NAMESPACE = Pattern.compile("\\bnamespace\\(((?:[^()]|\\([^()]*\\))*)\\)");
    private static final Pattern ARGUMENT = Pattern.compile("(\\w+)\\s*=\\s*((?:[^(),]|\\([^()]*\\))+)");

    private JinjaDialect() {}

    static String translate(String template) {
        if (PLACEHOLDER.matcher(template).find()) {
            throw new InterpretException("it has a name of the form __literal0__, which is taken here");
        }
        return CODE.matcher(template).replaceAll(m -> Matcher.quoteReplacement(translateCode(m.group())));
    }

    private static String translateCode(String code) {
        List<String> literals = new ArrayList<>();
        String bare = STRING.matcher(code).replaceAll(m -> {
            literals.add(m.group());
            return "__literal" + (literals.size() - 1) + "__";
        });
        bare = REVERSED.matcher(bare).replaceAll("|reverse|list");
        bare = NOT_IS.matcher(bare).replaceAll("$1 is not ");
        bare = NOT_IN.matcher(bare).replaceAll("$1 not in ");
        bare = NAMESPACE.matcher(bare).replaceAll(m -> Matcher.quoteReplacement(
                "namespace(" + ARGUMENT.matcher(m.group(1)).replaceAll("$1=($2)") + ")"));
        return PLACEHOLDER.matcher(bare)
                .replaceAll(m -> Matcher.quoteReplacement(literals.get(Integer.parseInt(m.group(1)))));
    }
}

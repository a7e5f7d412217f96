package io.metalora.launcher.chat;

import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.interpret.Context;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.tree.ExpressionNode;
import com.hubspot.jinjava.tree.Node;
import com.hubspot.jinjava.tree.TagNode;
import io.metalora.runtime.InputException;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Finds in a template what the library would pass over in silence, or read differently from Jinja. */
final class TemplateCheck {
    private static final Pattern FILTER = Pattern.compile("\\|\\s*(\\w+)");
    private static final Pattern LOOP_VARIABLE = Pattern.compile("\\bloop\\.(previtem|nextitem|changed|cycle|depth0?)\\b");
    // JinjaDialect rewrites these where x is a plain name, index or attribute.
    private static final Pattern NOT_IN = Pattern.compile(
            "\\bnot\\s+(?!in\\b)(?:(?!\\b(?:and|or|not|if|else)\\b)(?:[^()]|\\([^()]*\\)))*\\s(?:in|is)\\s");
    private static final Pattern LOOP_CONDITION = Pattern.compile("\\sif\\s(?!.*\\selse\\s)", Pattern.DOTALL);
    private static final Pattern RECURSIVE = Pattern.compile("\\srecursive\\s*$");

    /** The library parses an expression in the cube of its depth, on the stack. */
    private static final int DEEPEST = 50;

    private final Jinjava jinja;
    private final String source;

    /** @param source names the template in messages */
    TemplateCheck(Jinjava jinja, String source) {
        this.jinja = jinja;
        this.source = source;
    }

    void check(String template) {
        // Not newInterpreter: it registers every filter, tag and function anew, and to parse changes nothing of them.
        var interpreter = new JinjavaInterpreter(jinja, new Context(jinja.getGlobalContext()), jinja.getGlobalConfig());
        check(interpreter.parse(template));
    }

    private void check(Node node) {
        if (node instanceof TagNode tag) {
            if (SharedRegistry.LOADING.contains(tag.getName())) {
                throw unsupported(tag, "the tag " + tag.getName() + ", which loads another template");
            }
            String helpers = withoutStrings(tag.getHelpers());
            checkExpression(node, helpers);
            if (tag.getName().equals("for")) {
                checkLoop(tag, helpers);
            }
        } else if (node instanceof ExpressionNode) {
            checkExpression(node, withoutStrings(node.getMaster().getImage()));
        }
        node.getChildren().forEach(this::check);
    }

    private void checkLoop(TagNode loop, String helpers) {
        if (LOOP_CONDITION.matcher(helpers).find()) {
            throw unsupported(loop, "a condition in a for loop (for ... in ... if ...)");
        }
        if (RECURSIVE.matcher(helpers).find()) {
            throw unsupported(loop, "a recursive for loop");
        }
        for (Node child : loop.getChildren()) {
            if (child instanceof TagNode tag && tag.getName().equals("else")) {
                throw unsupported(loop, "an else of a for loop");
            }
        }
    }

    private void checkExpression(Node node, String expression) {
        if (depth(expression) > DEEPEST) {
            throw unsupported(node, "an expression nested more than " + DEEPEST + " deep");
        }
        if (NOT_IN.matcher(expression).find()) {
            throw unsupported(node, "\"not x in y\" or \"not x is y\" (\"x not in y\" and \"x is not y\" are supported)");
        }
        Matcher loop = LOOP_VARIABLE.matcher(expression);
        if (loop.find()) {
            throw unsupported(node, loop.group());
        }
        for (Matcher m = FILTER.matcher(expression); m.find(); ) {
            if (jinja.getGlobalContext().getFilter(m.group(1)) == null) {
                throw unsupported(node, "the filter " + m.group(1));
            }
        }
    }

    private InputException unsupported(Node node, String what) {
        return new InputException(source + ", line " + node.getLineNumber() + ": the template uses " + what
                + ", which is not supported; give the prompt as plain text instead");
    }

    private static int depth(String expression) {
        int depth = 0;
        int deepest = 0;
        for (char c : expression.toCharArray()) {
            depth += "([{".indexOf(c) >= 0 ? 1 : ")]}".indexOf(c) >= 0 ? -1 : 0;
            deepest = Math.max(deepest, depth);
        }
        return deepest;
    }

    /** Every string literal becomes ''. */
    private static String withoutStrings(String expression) {
        return JinjaDialect.STRING.matcher(expression).replaceAll("''");
    }
}

package io.metalora.launcher.chat;

import com.hubspot.jinjava.Jinjava;
import com.hubspot.jinjava.JinjavaConfig;
import com.hubspot.jinjava.LegacyOverrides;
import com.hubspot.jinjava.interpret.Context;
import com.hubspot.jinjava.interpret.InterpretException;
import com.hubspot.jinjava.interpret.JinjavaInterpreter;
import com.hubspot.jinjava.interpret.RenderResult;
import com.hubspot.jinjava.interpret.TemplateError;
import com.hubspot.jinjava.lib.filter.Filter;
import io.metalora.file.JsonObject;
import io.metalora.file.JsonText;
import io.metalora.file.RegularFile;
import io.metalora.io.ModelConfig;
import io.metalora.runtime.InputException;
import io.metalora.text.ChatTemplate;
import io.metalora.text.Message;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.CancellationException;
import java.util.function.Supplier;
import java.util.regex.Pattern;

/**
 * How a model's conversations are written as text: the Jinja template in its folder, rendered with the settings of transformers'
 * apply_chat_template. The template library knows most of Jinja but not all: what it would render wrongly is an InputException
 * that says so.
 */
public final class JinjaTemplate implements ChatTemplate {
    private static final long MAX_OUTPUT = 64L << 20;
    private static final int MAX_LIST = 1 << 20;
    private static final long MAX_TEMPLATE = 1L << 20; // bytes; the longest known have some 30,000
    private static final String DAMAGED =
            "; the template is damaged or uses more of Jinja than is supported: give the prompt as plain text instead";

    /** {@code ArithmeticException when resolving ...}, {@code TemplateSyntaxException: ...} */
    private static final Pattern EXCEPTION = Pattern.compile("\\b[A-Z]\\w*Exception(?:: | when )");
    private static final Pattern CLASS_NAME = Pattern.compile("\\b(?:[a-z]\\w*\\.){2,}[A-Z][\\w$]*");

    /** One for all templates: creating it is expensive, and each rendering has a context of its own. */
    private static final Jinjava JINJA = jinja();
    private static final SharedRegistry REGISTRY = new SharedRegistry(JINJA.getGlobalContext());

    private final String source; // of the template, for messages
    private final String template;
    private final Map<String, Object> variables; // bos_token -> "<s>", enable_thinking -> false

    private JinjaTemplate(String source, String template, Map<String, Object> variables) {
        this.source = source;
        this.variables = variables;
        this.template = run(() -> {
            String known = JinjaDialect.translate(template);
            // Jinja drops one line end at the end of a template; the library would drop it from the output.
            String text = known.endsWith("\n") ? known.substring(0, known.length() - 1) : known;
            new TemplateCheck(JINJA, source).check(text);
            return text;
        });
    }

    /** Within a time, and with one kind of failure: the library has many for what is no template. */
    private <T> T run(Supplier<T> work) {
        try {
            return TemplateThread.run(source, TemplateThread.SECONDS, work);
        } catch (InputException | CancellationException e) {
            throw e;
        } catch (RuntimeException e) {
            throw new InputException(source + ": can't be read" + (e instanceof InterpretException ? ": " + brief(e.getMessage()) : "") + DAMAGED, e);
        }
    }

    private static Jinjava jinja() {
        var jinja = new Jinjava(JinjavaConfig.newBuilder()
                .withTrimBlocks(true)
                .withLstripBlocks(true)
                .withKeepTrailingNewline(true)
                .withNestedInterpretationEnabled(false) // braces in a message are text
                .withMaxOutputSize(MAX_OUTPUT)
                .withMaxStringLength(MAX_OUTPUT)
                .withMaxListSize(MAX_LIST)
                .withMaxMapSize(MAX_LIST)
                .withRangeLimit(MAX_LIST) // longer ranges are cut silently, by default at 1000
                .withElResolver(new PythonStrings())
                .withLegacyOverrides(LegacyOverrides.newBuilder()
                        .withEvaluateMapKeys(true)
                        .withIterateOverMapKeys(true)
                        .withUsePyishObjectMapper(true)
                        .withUseNaturalOperatorPrecedence(true)
                        .withParseWhitespaceControlStrictly(true)
                        .withAllowAdjacentTextNodes(true)
                        .withUseTrimmingForNotesAndExpressions(true)
                        .withKeepNullableLoopValues(true)
                        .withHandleBackslashInQuotesOnly(true)
                        .build())
                .build());
        TemplateFunctions.all().forEach(jinja::registerFunction);
        jinja.registerFilter(new NoJson());
        return jinja;
    }

    /**
     * The template of the model in {@code modelDir}: chat_template.jinja, or chat_template in tokenizer_config.json
     * (a string, or a list of which "default" counts). Empty for a model without one: a base model.
     */
    public static Optional<JinjaTemplate> load(Path modelDir) {
        return load(modelDir, Map.of());
    }

    /** As above; {@code variables} are what the template sees beside the messages and the special tokens. */
    public static Optional<JinjaTemplate> load(Path modelDir, Map<String, Object> variables) {
        ModelConfig.requireFolder(modelDir);
        Path file = modelDir.resolve("chat_template.jinja");
        Path configFile = modelDir.resolve("tokenizer_config.json");
        Optional<JsonObject> config = RegularFile.isNamed(configFile)
                ? Optional.of(JsonObject.read(configFile)) : Optional.empty();
        var seen = new HashMap<String, Object>(config.map(JinjaTemplate::specialTokens).orElse(Map.of()));
        seen.putAll(variables);
        if (RegularFile.isNamed(file)) {
            byte[] text = JsonText.utf8(file.toString(), JsonText.read(file, MAX_TEMPLATE, "a chat template"));
            return Optional.of(new JinjaTemplate(file.toString(), new String(text, StandardCharsets.UTF_8), seen));
        }
        return config.flatMap(JinjaTemplate::template)
                .map(text -> new JinjaTemplate(configFile + ": chat_template", text, seen));
    }

    private static Optional<String> template(JsonObject config) {
        if (!config.has("chat_template")) {
            return Optional.empty();
        }
        if (!config.isList("chat_template")) {
            return Optional.of(config.string("chat_template"));
        }
        var templates = config.objects("chat_template");
        for (JsonObject named : templates) {
            if (named.string("name").equals("default")) {
                return Optional.of(named.string("template"));
            }
        }
        throw config.fail("chat_template", "has no entry \"default\"; it has "
                + templates.stream().map(t -> t.string("name")).toList());
    }

    /** A token is a string, or an object with its text under "content". */
    private static Map<String, String> specialTokens(JsonObject config) {
        var tokens = new HashMap<String, String>();
        for (String key : List.of("bos_token", "eos_token", "pad_token", "unk_token")) {
            if (config.isString(key)) {
                tokens.put(key, config.string(key));
            } else if (config.isObject(key)) {
                config.object(key).ifPresent(token -> tokens.put(key, token.string("content")));
            }
        }
        return tokens;
    }

    @Override
    public String render(List<Message> messages, boolean addGenerationPrompt) {
        var bindings = new HashMap<>(variables);
        bindings.put("messages", messages.stream().map(JinjaTemplate::asMap).toList());
        bindings.put("add_generation_prompt", addGenerationPrompt);
        RenderResult result = run(() -> render(bindings));
        for (var error : result.getErrors()) {
            Throwable root = error.getException();
            while (root != null && root.getCause() != null) {
                root = root.getCause();
            }
            if (root instanceof TemplateFunctions.Refusal) {
                throw new InputException(source + " refuses the messages: " + brief(root.getMessage()), root);
            }
            throw new InputException(source + (error.getLineno() > 0 ? ", line " + error.getLineno() : "") + ": can't be rendered: "
                    + brief(root == null || root.getMessage() == null ? error.getMessage() : root.getMessage())
                    + DAMAGED, root);
        }
        return result.getOutput();
    }

    /** As Jinjava.renderForResult does it, but for the registry, which that copies. */
    private RenderResult render(Map<String, Object> bindings) {
        var interpreter = new JinjavaInterpreter(JINJA, new Context(REGISTRY, bindings), JINJA.getGlobalConfig());
        try {
            return new RenderResult(interpreter.render(template), interpreter.getContext(), interpreter.getErrorsCopy());
        } catch (RuntimeException e) {
            return new RenderResult(TemplateError.fromException(e), interpreter.getContext(), interpreter.getErrorsCopy());
        }
    }

    /** The library quotes what it stumbles over, however long, and names its own classes, which mean nothing to a user. */
    private static String brief(String message) {
        String told = message == null ? null : CLASS_NAME.matcher(EXCEPTION.matcher(message).replaceAll("")
                .replaceAll(" (in|of) class [\\w.$]+", "")
                .replaceAll(" to class [\\w.$]+", " to another kind of value")).replaceAll("a value");
        return told == null || told.length() <= 500 ? told : told.substring(0, 497) + "...";
    }

    private static Map<String, Object> asMap(Message m) {
        var map = new LinkedHashMap<String, Object>();
        map.put("role", m.role());
        map.put("content", m.content());
        return map;
    }

    /** transformers' tojson writes other whitespace and escapes than the library's; only tools need it. */
    private record NoJson() implements Filter {
        @Override
        public String getName() {
            return "tojson";
        }

        @Override
        public Object filter(Object value, JinjavaInterpreter interpreter, String... arguments) {
            throw new UnsupportedOperationException("the filter tojson is not supported");
        }
    }
}

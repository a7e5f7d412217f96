package io.metalora.launcher.chat;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.metalora.files.BrokenFiles;
import io.metalora.runtime.InputException;
import io.metalora.text.Message;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ChatTemplateTest {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final List<Message> CONVERSATION =
            List.of(Message.user("Hi"), Message.assistant(" Hello\n"), Message.user("Bye"));

    @TempDir
    Path dir;

    /** chat_goldens.json was written by transformers' apply_chat_template: see make_chat_goldens.py. */
    @TestFactory
    List<DynamicTest> rendersAsTransformersDoes() throws IOException {
        JsonNode goldens = JSON.readTree(ChatTemplateTest.class.getResourceAsStream("chat_goldens.json"));
        var tests = new ArrayList<DynamicTest>();
        for (JsonNode c : goldens.get("cases")) {
            String family = c.get("family").textValue();
            boolean generation = c.get("add_generation_prompt").booleanValue();
            var messages = new ArrayList<Message>();
            c.get("messages").forEach(m -> messages.add(
                    new Message(m.get("role").textValue(), m.get("content").textValue())));
            tests.add(DynamicTest.dynamicTest(
                    family + ", " + messages.size() + " messages" + (generation ? ", generation prompt" : ""), () -> {
                        writeConfig(Map.of(
                                "chat_template", goldens.get("templates").get(family).textValue(),
                                "bos_token", goldens.get("bos_token").textValue(),
                                "eos_token", Map.of("content", goldens.get("eos_token").textValue())));
                        assertThat(load().render(messages, generation)).isEqualTo(c.get("text").textValue());
                    }));
        }
        assertThat(tests).hasSizeGreaterThan(40);
        return tests;
    }

    @Test
    void theFileOfItsOwnComesBeforeTheConfiguration() throws IOException {
        writeConfig(Map.of("chat_template", "from config", "bos_token", "<s>"));
        Files.writeString(dir.resolve("chat_template.jinja"), "from file {{ bos_token }}\n");
        assertThat(load().render(CONVERSATION, true)).isEqualTo("from file <s>");
    }

    @Test
    void aListHoldsTheDefaultTemplate() throws IOException {
        writeConfig(Map.of("chat_template", List.of(
                Map.of("name", "tool_use", "template", "tools"), Map.of("name", "default", "template", "plain"))));
        assertThat(load().render(CONVERSATION, false)).isEqualTo("plain");
    }

    @Test
    void aListWithoutDefaultIsRefused() throws IOException {
        writeConfig(Map.of("chat_template", List.of(Map.of("name", "tool_use", "template", "tools"))));
        assertThatThrownBy(this::load).isInstanceOf(InputException.class)
                .hasMessageContainingAll("tokenizer_config.json", "default", "tool_use");
    }

    @Test
    void aBaseModelHasNone() throws IOException {
        assertThat(JinjaTemplate.load(dir)).isEmpty();
        writeConfig(Map.of("bos_token", "<s>"));
        assertThat(JinjaTemplate.load(dir)).isEmpty();
    }

    @Test
    void theTemplatesOwnRefusalIsToldApart() {
        template("{% if messages|length > 2 %}{{ raise_exception('at most two turns') }}{% endif %}");
        assertThatThrownBy(() -> load().render(CONVERSATION, true)).isInstanceOf(InputException.class)
                .hasMessageContainingAll("chat_template.jinja", "refuses the messages", "at most two turns");
    }

    @ParameterizedTest
    @CsvSource(delimiter = '~', textBlock = """
            {% for m in messages if m.role == 'user' %}{{ m.role }}{% endfor %} ~ condition in a for loop
            {% for m in messages %}a{% else %}b{% endfor %}                     ~ else of a for loop
            {% for m in messages recursive %}a{% endfor %}                      ~ recursive for loop
            {{ messages | no_such_filter }}                                     ~ the filter no_such_filter
            {% for m in messages %}{{ loop.previtem }}{% endfor %}              ~ loop.previtem
            {% if not (messages) is string %}a{% endif %}                       ~ not x is y
            {{ messages | tojson }}                                             ~ tojson
            {{ messages[0].content.zfill(8) }}                                  ~ zfill
            {{ 'x' * 3 }}                                                       ~ Cannot coerce 'x' to another kind of value
            {{ strftime_now('%U') }}                                            ~ %U
            {% generation %}a{% endgeneration %}                                ~ generation
            {% include 'chat_goldens.json' %}                                   ~ include
            {% import 'chat_goldens.json' as x %}                               ~ import
            {% from 'chat_goldens.json' import x %}                             ~ from
            {% extends 'chat_goldens.json' %}                                   ~ extends
            {% for m in messages %}a                                            ~ endfor
            {{ 'a' + }}                                                         ~ syntax error
            """)
    void whatTheLibraryCantRenderIsRefusedByName(String template, String named) {
        template(template);
        assertThatThrownBy(() -> load().render(CONVERSATION, true)).isInstanceOf(InputException.class)
                .hasMessageContaining("chat_template.jinja, line 1").hasMessageContaining(named);
    }

    /** The library cuts a range at 1000 by itself, without a word. */
    @Test
    void aLongRangeIsWhole() {
        template("{% for i in range(3000) %}x{% endfor %}");
        assertThat(load().render(CONVERSATION, true)).isEqualTo("x".repeat(3000));
    }

    @Test
    void aFailureOfNoLineNamesNone() {
        template("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
        assertThatThrownBy(() -> load().render(CONVERSATION, true)).isInstanceOf(InputException.class)
                .hasMessageContaining("chat_template.jinja: can't be rendered").hasMessageNotContaining("line -1");
    }

    /** The expected text of each is what Jinja2 3.1 gives. */
    @ParameterizedTest
    @CsvSource(delimiter = '~', textBlock = """
            {% if not tools is defined %}a{% endif %}{% if not messages is defined %}b{% endif %}            ~ a
            {% if not 'z' in 'abc' and 'z' not in 'abc' %}a{% endif %}                                       ~ a
            {% if not messages[0]['role'] in ['user'] %}a{% else %}b{% endif %}                              ~ b
            {{ 'say: not x is y, not a in b [::-1]' }}                                                       ~ say: not x is y, not a in b [::-1]
            {% for m in messages[::-1] %}{{ m.content | trim }}{{ loop.index0 }}{% endfor %}                 ~ Bye0Hello1Hi2
            {{ 'a.b.c'.split('.')[-1] }}{{ 'a.b.c'.split('.', 1)[1] }}{{ 'abc'.replace('b', 'x') }}          ~ cb.caxc
            {{ 'xxaxx'.strip('x') }}{{ ' a '.lstrip() }}|{{ 'Ab'.upper() }}{{ 'Ab'.lower() }}                ~ aa |ABab
            {{ ' a  b '.split() | join(',') }}{{ 'abc'.find('c') }}{{ 'abc'.find('z') }}                     ~ a,b2-1
            {% set x = 1 %}{% for m in messages %}{% set x = x + 1 %}{% endfor %}{{ x }}                     ~ 1
            {% set ns = namespace(n=messages|length - 1) %}{{ ns.n }}                                        ~ 2
            {% for m in (messages if messages else []) %}{{ loop.revindex0 }}{% endfor %}                    ~ 210
            {{ 'b' | upper + 'c' }}{{ 7 // 2 }}{{ 7 % 4 }}                                                   ~ Bc33
            """)
    void expressionsMeanWhatTheyMeanInJinja(String template, String expected) {
        template(template);
        assertThat(load().render(CONVERSATION, true)).isEqualTo(expected);
    }

    @Test
    void strftimeWritesEnglishDates() {
        var time = ZonedDateTime.parse("2024-07-06T15:04:05Z");
        assertThat(TemplateFunctions.strftime("%d %b %Y|%A %B %y|%H:%M:%S|%I %p|%j %m %a 100%%", time))
                .isEqualTo("06 Jul 2024|Saturday July 24|15:04:05|03 PM|188 07 Sat 100%");
    }

    @Test
    void damagedFilesAreRefused() throws IOException {
        Files.writeString(dir.resolve("tokenizer_config.json"), "{\"chat_template\": 1}");
        assertThatThrownBy(this::load).isInstanceOf(InputException.class).hasMessageContaining("chat_template");
        Files.write(dir.resolve("chat_template.jinja"), new byte[] {(byte) 0xFF, (byte) 0xFE});
        Files.delete(dir.resolve("tokenizer_config.json"));
        assertThatThrownBy(this::load).isInstanceOf(InputException.class).hasMessageContaining("UTF-8");
    }

    /** Neither macros nor variables; and what all renderings share is the same after them. */
    @Test
    void nothingOfOneTemplateReachesTheNext() {
        template("{% set x = 'left' %}{% macro f() %}left{% endmacro %}{{ x ~ f() }}");
        assertThat(load().render(CONVERSATION, true)).isEqualTo("leftleft");
        template("{{ x is defined }}{{ f is defined }}{{ messages[0].content }}");
        JinjaTemplate second = load();
        assertThat(second.render(CONVERSATION, true)).isEqualTo("falsefalseHi");
        assertThat(second.render(List.of(Message.user("Yo")), true)).isEqualTo("falsefalseYo");
    }

    /** 39 kB; the library's own way, which copies its registry each time, takes 96 kB and more. */
    @Test
    void aRenderingAllocatesLittle() {
        template("{% for m in messages %}{{ m.role }}: {{ m.content | trim }}{% endfor %}");
        JinjaTemplate template = load();
        var threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
        long least = Long.MAX_VALUE; // other threads may allocate meanwhile
        for (int round = 0; round < 10; round++) {
            long before = threads.getTotalThreadAllocatedBytes();
            for (int i = 0; i < 20; i++) {
                template.render(CONVERSATION, true);
            }
            least = Math.min(least, (threads.getTotalThreadAllocatedBytes() - before) / 20);
        }
        assertThat(least).isLessThan(70_000);
    }

    private JinjaTemplate load() {
        return JinjaTemplate.load(dir).orElseThrow();
    }

    private void template(String text) {
        try {
            Files.writeString(dir.resolve("chat_template.jinja"), text);
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    private void writeConfig(Map<String, ?> config) throws IOException {
        Files.writeString(dir.resolve("tokenizer_config.json"), JSON.writeValueAsString(config));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '~', textBlock = """
            {% set x = [1] %}{% for i in range(60) %}{% set x = x + x %}{% endfor %}{{ x|length }} ~ can't be rendered
            NESTED ~ the template is nested too deep
            """)
    void aTemplateThatWouldTakeAllMemoryIsRefused(String template, String reason) throws IOException {
        Files.writeString(dir.resolve("chat_template.jinja"),
                template.replace("NESTED", "{% if true %}".repeat(40_000) + "{% endif %}".repeat(40_000)));
        assertThatThrownBy(() -> load().render(CONVERSATION, true)).isInstanceOf(InputException.class)
                .hasMessageContaining("chat_template.jinja").hasMessageContaining(reason);
    }

    @Test
    void aTemplateThatDoesNotEndIsLeftBehind() {
        assertThatThrownBy(() -> TemplateThread.run("chat_template.jinja", 1, () -> {
            while (true) {
                Thread.onSpinWait();
                if (Thread.interrupted()) {
                    return "interrupted";
                }
            }
        })).isInstanceOf(InputException.class).hasMessageStartingWith("chat_template.jinja: the template does not end within 1 seconds");
        assertThatThrownBy(() -> TemplateThread.run("chat_template.jinja", 10, () -> {
            throw new InputException("as it is");
        })).isInstanceOf(InputException.class).hasMessage("as it is");
    }

    @Test
    void brokenFilesAreRefusedInTheWordsOfTheFormat(@TempDir Path folder) throws IOException {
        BrokenFiles.check(folder, "tokenizer_config.json", 60, JinjaTemplate::load);
        BrokenFiles.check(folder, "chat_template.jinja", 5, JinjaTemplate::load);
    }
}

package io.metalora.launcher.chat;

import com.code_intelligence.jazzer.junit.FuzzTest;
import io.metalora.fuzz.MutatedSeeds;
import io.metalora.fuzz.Reading;
import io.metalora.text.Message;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;

/** Chat templates as they come with models: programs in Jinja. */
class ChatTemplateFuzzTest extends MutatedSeeds {

    /** A template is a program: it is stopped after TemplateThread.SECONDS, when it is read and when it is used. */
    private static final int SECONDS = 3 * (int) TemplateThread.SECONDS;

    private static final Path TEMPLATES = Reading.folder();
    private static final Path CONFIGS = Reading.folder();
    private static final List<Message> TALK =
            List.of(Message.system("Be brief."), Message.user("Hi {{ 1 }}"), Message.assistant("Hello."), Message.user("Bye"));

    static {
        Reading.write(TEMPLATES.resolve("tokenizer_config.json"),
                "{\"bos_token\": \"<s>\", \"eos_token\": {\"content\": \"</s>\"}}".getBytes(StandardCharsets.UTF_8));
    }

    @FuzzTest
    void template(byte[] jinja) {
        Reading.write(TEMPLATES.resolve("chat_template.jinja"), jinja);
        Reading.check("chat_template.jinja", jinja, SECONDS, () -> JinjaTemplate.load(TEMPLATES).orElseThrow().render(TALK, true));
    }

    @FuzzTest
    void tokenizerConfig(byte[] config) {
        Reading.write(CONFIGS.resolve("tokenizer_config.json"), config);
        Reading.check("tokenizer_config.json", config, SECONDS, () -> JinjaTemplate.load(CONFIGS).ifPresent(template -> template.render(TALK, true)));
    }
}

/** The command line of metalora, its reports, chat templates, and the embedded model with its tasks. */
module io.metalora.launcher {
    requires io.metalora;
    requires io.metalora.bindings;
    requires com.fasterxml.jackson.databind;
    requires com.j2html;
    requires dev.hardwood.core;
    requires info.picocli;
    requires java.logging;
    requires java.management;
    requires jdk.management;
    requires jinjava;
    requires me.tongfei.progressbar;
    requires org.jline.terminal;

    exports io.metalora.launcher;
    exports io.metalora.launcher.chat;

    provides io.metalora.task.TableReader with io.metalora.launcher.data.ParquetReader;
    provides io.metalora.text.ChatTemplateReader with io.metalora.launcher.chat.JinjaTemplateReader;

    opens io.metalora.launcher to
            info.picocli,
            com.fasterxml.jackson.databind;
}

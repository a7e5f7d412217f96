/** Multi-task LoRA fine-tuning: transformer runtime, MeTA-LoRA optimizer, evaluation and launcher. */
module io.metalora {
    requires io.metalora.bindings;
    requires ai.djl.api;
    requires ai.djl.tokenizers;
    requires com.fasterxml.jackson.databind;
    requires com.j2html;
    requires info.picocli;
    requires java.logging;
    requires java.management;
    requires jdk.management;
    requires jinjava;
    requires me.tongfei.progressbar;
    requires org.jline.terminal;
    requires org.snakeyaml.engine;

    // Called by ai.djl.api alone, an automatic module, which draws in no module that is a full one.
    requires com.google.gson;
    requires org.slf4j;

    exports io.metalora.io;
    exports io.metalora.model;
    exports io.metalora.adapter;
    exports io.metalora.runtime;
    exports io.metalora.text;
    exports io.metalora.task;
    exports io.metalora.task.synthetic;
    exports io.metalora.train;
    exports io.metalora.eval;
    exports io.metalora.launcher;

    opens io.metalora.launcher to
            info.picocli,
            com.fasterxml.jackson.databind;
}

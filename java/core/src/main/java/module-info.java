/** Multi-task LoRA fine-tuning: transformer runtime, adapters, tasks, MeTA-LoRA training, runs and evaluation. */
module io.metalora {
    requires transitive io.metalora.bindings; // its exceptions come out of what is exported
    requires ai.djl.api;
    requires ai.djl.tokenizers;
    requires com.fasterxml.jackson.databind;
    requires com.fasterxml.jackson.dataformat.csv;
    requires java.logging;
    requires java.management;
    requires jdk.management;
    requires org.snakeyaml.engine;

    // Called by ai.djl.api alone, an automatic module, which draws in no module that is a full one.
    requires com.google.gson;
    requires org.slf4j;

    uses io.metalora.task.TableReader;
    uses io.metalora.text.ChatTemplateReader;

    exports io.metalora.adapter;
    exports io.metalora.config;
    exports io.metalora.eval;
    exports io.metalora.generate;
    exports io.metalora.io;
    exports io.metalora.model;
    exports io.metalora.run;
    exports io.metalora.runtime;
    exports io.metalora.task;
    exports io.metalora.text;
    exports io.metalora.train;

    exports io.metalora.file to io.metalora.launcher;
    exports io.metalora.random to io.metalora.launcher;
    exports io.metalora.runtime.host to io.metalora.launcher;
}

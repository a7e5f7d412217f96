package io.metalora.launcher;

import io.metalora.adapter.AdapterExport;
import io.metalora.adapter.AdapterLayout;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code export}: an adapter in the form that another program runs it in. */
@Command(
        name = "export",
        description = {
                "Writes a LoRA adapter in the form that another program runs it in.",
                "",
                "gguf: one file for llama.cpp, Ollama and what else is built on llama.cpp, beside the base model as GGUF.",
                "merged: a folder with the base model, in Hugging Face form, whose weights have the adapter in them. Needs as much room "
                        + "on the disk as the base model takes.",
                ""},
        footer = {
                "",
                "Examples:",
                "  metalora export --model models/tiny --adapter run/adapter --format gguf --output adapter.gguf",
                "  metalora export --model models/tiny --adapter run/adapter --format merged --output merged-model"})
final class ExportCommand implements Callable<Integer> {

    /** In which form. */
    enum Format {
        GGUF, MERGED
    }

    @Option(names = "--model", paramLabel = "DIR", required = true, description = "Folder of the base model, in Hugging Face form.")
    private Path model;

    @Option(names = "--adapter", paramLabel = "DIR", required = true,
            description = "Folder of the adapter, in PEFT's form, such as RUN/adapter.")
    private Path adapter;

    @Option(names = "--format", paramLabel = "gguf|merged", required = true, description = "The form.")
    private Format format;

    @Option(names = "--output", paramLabel = "PATH", required = true, description = "What to write. Must not exist.")
    private Path output;

    @Spec
    private CommandSpec spec;

    @Override
    public Integer call() {
        ModelChoice.requireAdapter(adapter);
        AdapterLayout written = switch (format) {
            case GGUF -> AdapterExport.gguf(adapter, model, output);
            case MERGED -> AdapterExport.merged(adapter, model, output);
        };
        spec.commandLine().getOut().println(output + ": " + written);
        return ExitCode.OK;
    }
}

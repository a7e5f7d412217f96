package io.metalora.launcher;

import com.fasterxml.jackson.annotation.JsonInclude;
import io.metalora.bindings.NativeException;
import io.metalora.bindings.NativeLibrary;
import io.metalora.bindings.UserCache;
import io.metalora.runtime.Device;
import io.metalora.runtime.DeviceInfo;
import io.metalora.runtime.DeviceOptions;
import io.metalora.runtime.InputException;
import io.metalora.text.TokenizerSupport;
import java.io.PrintWriter;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** {@code doctor}: what the machine has, and whether the native library runs on it. */
@Command(
        name = "doctor",
        description = {"Shows what this machine offers and whether all is ready. Ends with 1, and the reason, if it is not.", ""},
        footer = {"", "Example:", "  metalora doctor --json"})
final class DoctorCommand implements Callable<Integer> {

    @Mixin
    private DeviceChoice device;

    @Option(names = "--json", description = "Print JSON.")
    private boolean json;

    @Spec
    private CommandSpec spec;

    private record Jdk(String version, String home) {
    }

    /** The native library; without one, {@code error} says why. */
    @JsonInclude(JsonInclude.Include.NON_NULL)
    private record Library(boolean loaded, String file, String version, Integer abi, String error) {
    }

    /** Where ops run; without one, {@code error} says why. */
    @JsonInclude(JsonInclude.Include.NON_NULL)
    private record Backend(boolean ready, String name, String reason, String device, String isa, String isaReason, String blas, String bf16,
            Integer threads, String error) {
        Backend(Device opened, DeviceInfo info) {
            this(true, info.backend().name().toLowerCase(Locale.ROOT), info.reason(), info.deviceName(), info.isa(), info.isaReason(),
                    info.blas(), bf16Products(opened, info), info.threads(), null);
        }

        static Backend missing(String error) {
            return new Backend(false, null, null, null, null, null, null, null, null, error);
        }

        /** What compute.arithmetic bf16 would run on; null on a GPU, where bf16 is a matter of activations. */
        private static String bf16Products(Device opened, DeviceInfo info) {
            if (info.backend() != io.metalora.runtime.Backend.CPU) {
                return null;
            }
            return opened.gainsByBf16() ? "by AVX512_BF16" : "rounded, no faster: that takes AVX512_BF16, and isa avx512";
        }
    }

    /** The tokenizers library; without one, {@code error} says why. {@code untried}: why new files aren't tried in a process of their own. */
    @JsonInclude(JsonInclude.Include.NON_NULL)
    private record Tokenizers(boolean loaded, String version, String file, String untried, String error) {
    }

    /** Where libraries are unpacked; {@code problem}: why they lie in a temporary folder instead, anew in every run. */
    @JsonInclude(JsonInclude.Include.NON_NULL)
    private record Cache(String folder, String problem) {
    }

    private record Cpu(String model, int cores, List<String> features) {
    }

    private record Memory(long total, long free, long heapLimit) {
    }

    private record Findings(String metalora, Jdk jdk, String system, Library library, Backend backend, Tokenizers tokenizers, Cache cache,
                            Cpu cpu, Memory memory) {
        boolean ready() {
            return library.loaded() && backend.ready() && tokenizers.loaded();
        }
    }

    @Override
    public Integer call() {
        DeviceOptions options = device.options();
        Library library = library();
        var findings = new Findings(Version.text(), new Jdk(Environment.jdk(), System.getProperty("java.home")), Environment.os(), library,
                library.loaded() ? backend(options) : Backend.missing("the native library isn't loaded"),
                tokenizers(), new Cache(UserCache.folder().toString(), UserCache.problem()),
                new Cpu(Environment.cpuModel(), Environment.cores(), Environment.cpuFeatures()),
                new Memory(Environment.memoryTotal(), Environment.memoryFree(), Runtime.getRuntime().maxMemory()));
        PrintWriter out = spec.commandLine().getOut();
        if (json) {
            out.println(Json.pretty(findings));
        } else {
            print(findings, out);
        }
        return findings.ready() ? ExitCode.OK : ExitCode.FAILURE;
    }

    private static Library library() {
        try {
            NativeLibrary library = NativeLibrary.load();
            return new Library(true, library.file().toString(), library.version(), library.abiVersion(), null);
        } catch (NativeException | LinkageError e) {
            return new Library(false, null, null, null, e.getMessage());
        }
    }

    private static Backend backend(DeviceOptions options) {
        try (Device opened = Device.open(options)) {
            return new Backend(opened, opened.info());
        } catch (NativeException | InputException e) {
            return Backend.missing(e.getMessage());
        }
    }

    private static Tokenizers tokenizers() {
        try {
            TokenizerSupport support = TokenizerSupport.check();
            return new Tokenizers(true, support.version(), support.file() == null ? null : support.file().toString(), support.untried(), null);
        } catch (IllegalStateException e) {
            return new Tokenizers(false, null, null, null, e.getMessage());
        }
    }

    private static void print(Findings findings, PrintWriter out) {
        line(out, "metalora", findings.metalora());
        line(out, "JDK", findings.jdk().version() + " at " + findings.jdk().home());
        line(out, "system", findings.system());
        Library library = findings.library();
        line(out, "library", library.loaded()
                ? library.file() + ", version " + library.version() + ", ABI " + library.abi()
                : "NOT LOADED: " + library.error());
        Backend backend = findings.backend();
        if (backend.ready()) {
            line(out, "backend", backend.name() + ": " + backend.reason());
            line(out, "device", backend.device());
            line(out, "instructions", backend.isa() + ": " + backend.isaReason());
            line(out, "BLAS", backend.blas());
            if (backend.bf16() != null) {
                line(out, "bf16 products", backend.bf16());
            }
            line(out, "threads", backend.threads().toString());
        } else {
            line(out, "backend", "NOT READY: " + backend.error());
        }
        Tokenizers tokenizers = findings.tokenizers();
        line(out, "tokenizers", tokenizers.loaded()
                ? (tokenizers.file() == null ? "" : tokenizers.file() + ", ") + "version " + tokenizers.version()
                : "NOT LOADED: " + tokenizers.error());
        if (tokenizers.untried() != null) {
            line(out, "", "new tokenizer.json files are checked, but not tried in a process of their own: " + tokenizers.untried());
        }
        if (findings.cache().problem() != null) {
            line(out, "cache", "not used: " + findings.cache().problem() + "; libraries are unpacked anew in every run. Set "
                    + "XDG_CACHE_HOME to a folder that can be written and is not mounted noexec");
        }
        line(out, "CPU", findings.cpu().model() + ", " + findings.cpu().cores() + " cores");
        line(out, "CPU features", String.join(" ", findings.cpu().features()));
        Memory memory = findings.memory();
        line(out, "memory", Environment.gibibytes(memory.total()) + ", " + Environment.gibibytes(memory.free()) + " free, Java heap up to "
                + Environment.gibibytes(memory.heapLimit()));
        out.println(findings.ready() ? "All is ready." : "Not ready: see above.");
    }

    private static void line(PrintWriter out, String name, String value) {
        out.printf("%-13s %s%n", name, value);
    }
}

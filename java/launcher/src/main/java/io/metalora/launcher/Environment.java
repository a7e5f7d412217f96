package io.metalora.launcher;

import com.sun.management.OperatingSystemMXBean;
import io.metalora.runtime.DeviceInfo;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/** What this process runs on. */
final class Environment {

    /** What the kernels of this and of other engines ask a processor for. */
    private static final Set<String> FEATURES = Set.of("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw",
            "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8", "asimd", "sve",
            "bf16");

    private static final Path CPU_INFO = Path.of("/proc/cpuinfo");

    private Environment() {
    }

    static String jdk() {
        return System.getProperty("java.version") + " (" + System.getProperty("java.vendor") + ")";
    }

    static String os() {
        return System.getProperty("os.name") + " " + System.getProperty("os.version") + " " + System.getProperty("os.arch");
    }

    /** Cores that this process may use. */
    static int cores() {
        return Runtime.getRuntime().availableProcessors();
    }

    /** Bytes of the machine, or of the container's limit. */
    static long memoryTotal() {
        return operatingSystem().getTotalMemorySize();
    }

    static long memoryFree() {
        return operatingSystem().getFreeMemorySize();
    }

    private static OperatingSystemMXBean operatingSystem() {
        return ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
    }

    /** The processor's vector features, as the kernel names them; empty where the system doesn't say. */
    static List<String> cpuFeatures() {
        String flags = cpuInfo("flags");
        return Arrays.stream((flags.isEmpty() ? cpuInfo("Features") : flags).split("\\s+")).filter(FEATURES::contains).toList();
    }

    static String cpuModel() {
        return cpuInfo("model name");
    }

    private static String cpuInfo(String key) {
        if (!Files.isReadable(CPU_INFO)) {
            return "";
        }
        try (var lines = Files.lines(CPU_INFO)) {
            return lines.filter(line -> line.startsWith(key)).findFirst().map(line -> line.substring(line.indexOf(':') + 1).strip())
                    .orElse("");
        } catch (IOException e) {
            return "";
        }
    }

    /** For a report; {@code device} may be null where none was opened. */
    static Map<String, String> facts(DeviceInfo device) {
        var facts = new LinkedHashMap<String, String>();
        facts.put("metalora", Version.text());
        facts.put("JDK", jdk());
        facts.put("System", os());
        facts.put("Processor", cpuModel() + ", " + cores() + " cores");
        facts.put("Memory", gibibytes(memoryTotal()));
        if (device != null) {
            facts.put("Backend", device.backend() + " (" + device.reason() + ")");
            facts.put("Device", device.deviceName());
            facts.put("Instruction set", device.isa() + " (" + device.isaReason() + ")");
            facts.put("BLAS", device.blas());
            facts.put("Threads", Integer.toString(device.threads()));
        }
        return facts;
    }

    static String gibibytes(long bytes) {
        return String.format(Locale.ROOT, "%.1f GiB", bytes / (double) (1L << 30));
    }
}

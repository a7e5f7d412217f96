package io.metalora.runtime;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;

/**
 * The CUDA backend for tests: a GPU, or the kernels compiled for the CPU where METALORA_CUDA_LIBRARY names them. Skips
 * where there is neither.
 */
public final class CudaDevice {
    private CudaDevice() {
    }

    public static Device open(DType activations) {
        try {
            return Device.open(new DeviceOptions(Backend.CUDA, 0, InstructionSet.AUTO, activations));
        } catch (InputException unavailable) {
            var asked = System.getenv("METALORA_CUDA_LIBRARY");
            if (asked != null && !asked.isEmpty()) {
                throw unavailable; // what was asked for has to be there
            }
            return Assumptions.abort(unavailable.getMessage());
        }
    }

    /** How often the host has waited for the device, all of its contexts together. Skips on a GPU. */
    public static long waits() {
        return standIn("hostcuda_waits", FunctionDescriptor.of(ValueLayout.JAVA_LONG), waits -> (long) waits.invokeExact());
    }

    /** As if another program held all memory but so many bytes; 0 frees it. Skips on a GPU. */
    public static void leave(Device device, long bytes) {
        standIn("hostcuda_hold", FunctionDescriptor.ofVoid(ValueLayout.JAVA_LONG), hold -> {
            hold.invokeExact(0L);
            if (bytes > 0) {
                hold.invokeExact(device.info().memoryFree() - bytes);
            }
            return 0L;
        });
    }

    @FunctionalInterface
    private interface Call {
        long with(MethodHandle function) throws Throwable;
    }

    /** Calls a function that the kernels compiled for the CPU have beside the backend, and a GPU's library has not. */
    private static long standIn(String name, FunctionDescriptor descriptor, Call call) {
        var file = System.getenv("METALORA_CUDA_LIBRARY");
        Assumptions.assumeTrue(file != null && !file.isEmpty(), "needs the kernels compiled for the CPU");
        try (var arena = Arena.ofConfined()) {
            var function = SymbolLookup.libraryLookup(Path.of(file), arena).find(name);
            Assumptions.assumeTrue(function.isPresent(), "needs the kernels compiled for the CPU");
            return call.with(Linker.nativeLinker().downcallHandle(function.orElseThrow(), descriptor));
        } catch (RuntimeException | Error e) {
            throw e;
        } catch (Throwable e) {
            throw new AssertionError("a native call throws nothing", e);
        }
    }
}

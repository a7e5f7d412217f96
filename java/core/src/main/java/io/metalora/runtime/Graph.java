package io.metalora.runtime;

import io.metalora.bindings.NativeException;
import io.metalora.bindings.NativeLibrary;
import io.metalora.bindings.Status;
import io.metalora.bindings.generated.Metalora;
import io.metalora.runtime.op.Ops;
import java.lang.foreign.MemorySegment;

/**
 * Ops recorded by {@link Device#record}, launched together. Their arguments are recorded (tensors, sizes, scalars); the contents
 * of tensors are read when the graph runs.
 */
public final class Graph extends NativeHandle {
    Graph(Device device, MemorySegment handle) {
        super(device, handle);
    }

    /**
     * Queues all ops of the graph.
     *
     * @return false, and nothing happens, where memory that the graph may use was freed since it was recorded: a tensor
     *         or a weight of the device was closed, or an op needed more scratch memory than before
     * @throws NativeException of {@link Status#INVALID_ARGUMENT} within {@link Device#record} or {@link Device#plan}
     */
    public boolean launch() {
        try (var _ = device().turn()) {
            int status = Metalora.ml_graph_launch(device().context(), handle());
            if (status == Status.INVALID_ARGUMENT.code() && !device().isRecording()) {
                return false;
            }
            NativeLibrary.check(status);
            return true;
        }
    }

    @Override
    void destroy(MemorySegment handle) {
        NativeLibrary.check(Metalora.ml_graph_destroy(device().context(), handle));
    }

    @Override
    String what() {
        return "the graph";
    }
}

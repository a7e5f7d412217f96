package io.metalora.runtime.op;

import io.metalora.runtime.DType;
import io.metalora.runtime.Device;
import io.metalora.runtime.FrozenWeight;
import io.metalora.runtime.Tensor;
import java.lang.foreign.MemorySegment;

/**
 * Fills the descriptor of an op. Every size is checked before it goes there, and a failed check names the tensor: native code
 * cannot be asked to read beyond one.
 */
abstract class Descriptor {
    private static final DeviceAccess ACCESS = DeviceAccess.get();

    final Device device;
    /** The type of activations. */
    final DType act;

    Descriptor(Device device) {
        this.device = device;
        this.act = device.activationType();
    }

    final MemorySegment weight(String name, FrozenWeight weight) {
        if (weight.device() != device) {
            throw new IllegalArgumentException(name + " is a weight of another device");
        }
        return ACCESS.handle(weight);
    }

    final MemorySegment nullable(String name, Tensor tensor, DType dtype, long elements) {
        return tensor == null ? MemorySegment.NULL : need(name, tensor, dtype, elements);
    }

    /** A matrix of activations, dense or columns. */
    final MemorySegment needRows(String name, Tensor tensor, long rows, long width) {
        if (tensor == null || tensor.stride() == 0) {
            return need(name, tensor, act, rows * width);
        }
        if (tensor.width() != width || tensor.rows() < rows) {
            throw new IllegalArgumentException(name + " is " + tensor + ", not [" + rows + ", " + width + "]");
        }
        return check(name, tensor, act);
    }

    static void alike(String names, Tensor a, Tensor b) {
        if (a != null && b != null && a.stride() != b.stride()) {
            throw new IllegalArgumentException(names + " lie differently: rows of " + a.stride() + " and " + b.stride()
                    + " elements");
        }
    }

    final MemorySegment need(String name, Tensor tensor, DType dtype, long elements) {
        var pointer = check(name, tensor, dtype);
        if (elements < 0 || tensor.elements() < elements) {
            throw new IllegalArgumentException(name + " is " + tensor + "; " + elements + " elements are needed");
        }
        if (tensor.stride() != 0 && elements > 0) {
            throw new IllegalArgumentException(name + " is columns " + tensor + " of a matrix; a dense tensor is needed");
        }
        return pointer;
    }

    private MemorySegment check(String name, Tensor tensor, DType dtype) {
        if (tensor == null) {
            throw new IllegalArgumentException(name + " is missing");
        }
        if (tensor.device() != device) {
            throw new IllegalArgumentException(name + " is a tensor of another device");
        }
        if (tensor.dtype() != dtype) {
            throw new IllegalArgumentException(name + " is " + tensor + ", not of " + dtype);
        }
        return ACCESS.pointer(tensor);
    }
}

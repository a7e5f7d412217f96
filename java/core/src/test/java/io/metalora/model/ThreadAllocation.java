package io.metalora.model;

import java.lang.reflect.Method;

/**
 * Java bytes that the current thread has allocated. Through reflection, because module io.metalora, whose tests run
 * inside it, does not read java.management.
 */
final class ThreadAllocation {
    private final Object bean;
    private final Method bytes;

    ThreadAllocation() {
        try {
            bean = Class.forName("java.lang.management.ManagementFactory").getMethod("getThreadMXBean").invoke(null);
            bytes = Class.forName("com.sun.management.ThreadMXBean").getMethod("getCurrentThreadAllocatedBytes");
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(e);
        }
    }

    long bytes() {
        try {
            return (long) bytes.invoke(bean);
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(e);
        }
    }
}

package io.metalora.runtime;

import io.metalora.bindings.NativeException;
import io.metalora.bindings.NativeLibrary;
import io.metalora.bindings.Status;
import io.metalora.bindings.generated.Metalora;
import io.metalora.bindings.generated.ml_context_info;
import io.metalora.bindings.generated.ml_context_options;
import io.metalora.bindings.generated.ml_weight_desc;
import io.metalora.runtime.host.Held;
import io.metalora.runtime.op.DeviceAccess;
import io.metalora.runtime.op.Ops;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicReference;
import java.util.function.ToIntBiFunction;
import java.util.function.ToIntFunction;

/**
 * A place where ops run, with the memory held there. It serves one thread at a time: a call made while a call of another thread
 * is running is refused with {@link Status#BUSY} and changes nothing, or waits ({@link WhenBusy}). Closing a device frees every
 * tensor, weight and graph that is still open; closing those afterwards does nothing, and using them throws an
 * IllegalStateException.
 */
public final class Device implements AutoCloseable {
    /** Small enough for a processor's cache, large enough to give all cores rows of a matrix. */
    private static final long STAGING_BYTES = 4 << 20;

    /** A multiple of the rows of a weight that kernels hold together. */
    private static final long PANEL = 64;

    static {
        DeviceAccess.give(new Access());
    }

    private final Arena arena = Arena.ofShared();
    private final Backend backend;
    private final String reason;
    private final MemorySegment context;
    private final MemorySegment staging;
    private final DType activationType;
    private final Arithmetic arithmetic;
    private final int capabilities; // bits of ml_capability
    private final Ops ops;
    private final Set<AutoCloseable> open = Collections.newSetFromMap(new IdentityHashMap<>());
    private final AtomicReference<Thread> holder = new AtomicReference<>();
    private final Semaphore free; // null: a second thread is refused
    private final DeviceAccess.Turn turn = this::endTurn; // made once, so that taking it allocates nothing
    private final DeviceAccess.Turn turnWithin = () -> { };
    private boolean recording; // read and written by the thread that holds the device, as is the next
    private boolean planning;
    private volatile boolean closed;

    private Device(Backend backend, String reason, DeviceOptions options) {
        this.backend = backend;
        this.reason = reason;
        this.arithmetic = options.arithmetic();
        this.free = options.whenBusy() == WhenBusy.WAIT ? new Semaphore(1) : null;
        MemorySegment created = null;
        try {
            created = create(options);
            this.context = created;
            var info = readInfo();
            this.activationType = nativeType(ml_context_info.activation_dtype(info));
            this.capabilities = ml_context_info.capabilities(info);
            this.staging = arena.allocate(STAGING_BYTES, 64);
            this.ops = new Ops(this, arena);
        } catch (RuntimeException | Error e) {
            if (created != null) {
                Metalora.ml_context_destroy(created);
            }
            arena.close();
            throw e;
        }
    }

    /**
     * Opens a device. AUTO falls back to the CPU, and {@link DeviceInfo#reason} says why.
     *
     * @throws InputException if CUDA is asked for and cannot run here, with the reason
     */
    public static Device open(DeviceOptions options) {
        NativeLibrary.load();
        if (options.backend() == Backend.CPU) {
            return new Device(Backend.CPU, "CPU was asked for", options);
        }
        try {
            NativeLibrary.check(Metalora.ml_backend_probe(Metalora.ML_BACKEND_CUDA()));
        } catch (NativeException e) {
            if (options.backend() == Backend.AUTO) {
                return new Device(Backend.CPU, "CUDA cannot run here: " + e.getMessage(), options);
            }
            throw new InputException("CUDA cannot run here: " + e.getMessage() + "; ask for cpu or auto instead", e);
        }
        var reason = options.backend() == Backend.AUTO ? "CUDA can run here" : "CUDA was asked for";
        return new Device(Backend.CUDA, reason, options);
    }

    /** The CPU with all cores and its best instruction set. */
    public static Device cpu() {
        return open(DeviceOptions.cpu());
    }

    private MemorySegment create(DeviceOptions options) {
        try (var call = Arena.ofConfined()) {
            var desc = ml_context_options.allocate(call);
            ml_context_options.backend(
                    desc, backend == Backend.CUDA ? Metalora.ML_BACKEND_CUDA() : Metalora.ML_BACKEND_CPU());
            ml_context_options.threads(desc, options.threads());
            ml_context_options.activation_dtype(
                    desc, options.activations() == null ? Metalora.ML_ACTIVATIONS_DEFAULT() : nativeType(options.activations()));
            ml_context_options.arithmetic(
                    desc, options.arithmetic() == Arithmetic.BF16 ? Metalora.ML_BF16() : Metalora.ML_F32());
            boolean forced = backend == Backend.CPU && options.isa() != InstructionSet.AUTO;
            ml_context_options.isa(desc, forced ? call.allocateFrom(options.isa().name().toLowerCase(Locale.ROOT)) : MemorySegment.NULL);
            var out = call.allocate(ValueLayout.ADDRESS);
            try {
                NativeLibrary.check(Metalora.ml_context_create(desc, out));
            } catch (NativeException e) {
                if (forced && (e.status() == Status.BACKEND_UNAVAILABLE || e.status() == Status.INVALID_ARGUMENT)) {
                    throw new InputException(e.getMessage(), e);
                }
                throw e;
            }
            return out.get(ValueLayout.ADDRESS, 0);
        }
    }

    public DeviceInfo info() {
        MemorySegment info;
        try (var _ = turn()) {
            info = readInfo();
        }
        return new DeviceInfo(
                backend,
                reason,
                ml_context_info.threads(info),
                ml_context_info.isa(info).getString(0),
                ml_context_info.isa_reason(info).getString(0),
                ml_context_info.blas(info).getString(0),
                ml_context_info.device_name(info).getString(0),
                ml_context_info.memory_total(info),
                ml_context_info.memory_in_use(info),
                ml_context_info.memory_peak(info),
                ml_context_info.memory_free(info));
    }

    /** The ops' scratch memory (workspace): part of {@link DeviceInfo#memoryInUse}, kept and used again by later ops. */
    long scratchBytes() {
        try (var _ = turn()) {
            long bytes = ml_context_info.memory_in_use(readInfo());
            for (var resource : open) {
                switch (resource) {
                    case Tensor t -> bytes -= t.elements() * t.dtype().bytes();
                    case FrozenWeight w -> bytes -= w.bytes();
                    default -> { }
                }
            }
            return bytes;
        }
    }

    private MemorySegment readInfo() {
        var info = ml_context_info.allocate(Arena.ofAuto());
        NativeLibrary.check(Metalora.ml_context_get_info(context(), info));
        return info;
    }

    /** The element type of activations on this device. */
    public DType activationType() {
        return activationType;
    }

    /** Whether products with frozen weights take operands in BF16, so that these are best held in it. */
    public boolean multipliesInBf16() {
        return activationType == DType.BF16 || backend == Backend.CPU && arithmetic == Arithmetic.BF16;
    }

    /** Whether the hardware multiplies operands in BF16, so that products of such are faster, not only rounded. */
    public boolean gainsByBf16() {
        return can(Metalora.ML_GAINS_BY_BF16());
    }

    /** A tensor of zeros, 64-byte aligned. */
    public Tensor zeros(DType dtype, long... shape) {
        var tensor = planned(dtype, shape);
        tensor.allocate();
        return tensor;
    }

    /**
     * A tensor that has no memory until {@link Tensor#allocate}: before that, its size can be asked for and views of it can be
     * made, but ops cannot use it.
     */
    Tensor planned(DType dtype, long... shape) {
        return new Tensor(this, dtype, shape, null);
    }

    MemorySegment allocate(Tensor tensor) {
        long bytes = Math.multiplyExact(tensor.elements(), tensor.dtype().bytes());
        try (var _ = turn(); var call = Arena.ofConfined()) {
            var out = call.allocate(ValueLayout.ADDRESS);
            NativeLibrary.check(Metalora.ml_alloc(context(), bytes, out));
            open.add(tensor);
            return out.get(ValueLayout.ADDRESS, 0);
        }
    }

    /**
     * Stacks matrices [out, in] that read the same input into one weight, each below the one before.
     *
     * @param adapterColumns columns to reserve beside the weight for the adapters of one product (the K-tail), where {@link
     *                       #gainsByAdapterRoom}; 0: the default
     */
    FrozenWeight freeze(List<HostTensor> sources, DType storage, long adapterColumns) {
        long out = 0;
        for (var source : sources) {
            var shape = source.shape();
            if (shape.length != 2 || shape[1] != sources.getFirst().shape()[1]) {
                throw new IllegalArgumentException(source + " is not a matrix [out, in] of " + sources);
            }
            out += shape[0];
        }
        long in = sources.getFirst().shape()[1];
        try (var _ = turn(); var call = Arena.ofConfined()) {
            var desc = describe(call, storage, out, in, adapterColumns);
            long bytes = bytesOf(desc);
            var created = call.allocate(ValueLayout.ADDRESS);
            NativeLibrary.check(Metalora.ml_weight_create(context(), desc, created));
            var weight = new FrozenWeight(this, storage, out, in, bytes, created.get(ValueLayout.ADDRESS, 0));
            open.add(weight);
            try {
                long first = 0;
                for (var source : sources) {
                    write(weight, first, source, desc);
                    first += source.shape()[0];
                }
            } catch (RuntimeException | Error e) {
                weight.free();
                throw e;
            }
            return weight;
        }
    }

    /**
     * Copies some rows at a time through host memory: if native code read the file itself, its shrinking would end the process.
     */
    private void write(FrozenWeight weight, long first, HostTensor source, MemorySegment desc) {
        try (var call = Arena.ofConfined()) {
            long rowBytes = source.shape()[1] * source.dtype().bytes();
            var piece = rowBytes <= STAGING_BYTES ? staging : call.allocate(rowBytes, 64);
            long most = piece.byteSize() / rowBytes;
            if (most > PANEL) {
                most = most / PANEL * PANEL;
            }
            ml_weight_desc.data(desc, piece);
            ml_weight_desc.source_dtype(desc, nativeType(source.dtype()));
            for (long row = 0; row < source.shape()[0]; row += most) {
                long rows = Math.min(most, source.shape()[0] - row);
                source.read(row * rowBytes, piece.asSlice(0, rows * rowBytes));
                ml_weight_desc.out_features(desc, rows);
                NativeLibrary.check(Metalora.ml_weight_write(context(), weight.handle(), first + row, desc));
            }
        }
    }

    /** Bytes that {@link #freeze} will take for matrices that together have this shape. */
    long frozenBytes(DType storage, long outFeatures, long inFeatures, long adapterColumns) {
        try (var _ = turn(); var call = Arena.ofConfined()) {
            return bytesOf(describe(call, storage, outFeatures, inFeatures, adapterColumns));
        }
    }

    private long bytesOf(MemorySegment weight) {
        long bytes = Metalora.ml_weight_bytes(context(), weight);
        if (bytes < 0) {
            throw new NativeException(Status.INVALID_ARGUMENT, Metalora.ml_last_error().getString(0));
        }
        return bytes;
    }

    private static MemorySegment describe(Arena arena, DType storage, long out, long in, long adapterColumns) {
        var desc = ml_weight_desc.allocate(arena);
        ml_weight_desc.storage_dtype(desc, nativeType(storage));
        ml_weight_desc.out_features(desc, out);
        ml_weight_desc.in_features(desc, in);
        ml_weight_desc.adapter_columns(desc, adapterColumns);
        return desc;
    }

    /** Whether Linears that read the same input are faster when stacked into one weight. */
    boolean gainsByStacking() {
        return can(Metalora.ML_GAINS_BY_STACKING());
    }

    /**
     * Whether LoRA linears are faster with room for a K-tail: for their adapters beside the weight, and behind the rows of the
     * input.
     */
    boolean gainsByAdapterRoom() {
        return can(Metalora.ML_GAINS_BY_ADAPTER_ROOM());
    }

    /** Whether the device has memory of its own: {@link DeviceInfo#memoryFree} says how much of it is left. */
    boolean hasOwnMemory() {
        return can(Metalora.ML_HAS_OWN_MEMORY());
    }

    private boolean can(int capability) {
        return (capabilities & capability) != 0;
    }

    /** Whether ops can be recorded here, by {@link #record}, and planned, by {@link #plan}. */
    boolean canRecord() {
        return can(Metalora.ML_CAN_RECORD());
    }

    /**
     * Records the ops that {@code ops} calls, without running them. They must have run once before. While they are recorded, no
     * tensor of the device can be created, closed, uploaded or downloaded, and other threads are refused.
     *
     * @throws NativeException with {@link Status#UNSUPPORTED} unless {@link #canRecord}, with {@link Status#INVALID_ARGUMENT} if
     *                         an op cannot be recorded
     */
    Graph record(Runnable ops) {
        try (var _ = turn(); var call = Arena.ofConfined()) {
            var out = call.allocate(ValueLayout.ADDRESS);
            recordBetween(Metalora::ml_graph_begin, ops, Metalora::ml_graph_end, out);
            var graph = new Graph(this, out.get(ValueLayout.ADDRESS, 0));
            open.add(graph);
            return graph;
        }
    }

    /**
     * Reserves scratch memory for the ops that {@code ops} calls: they are checked and the memory they need is counted, but they
     * do not run; when they do, they need no more. Meanwhile no tensor of the device can be created or closed, uploads and
     * downloads do nothing, and other threads are refused.
     *
     * @return bytes that the largest op needs; 0, without calling {@code ops}, unless {@link #canRecord}: ops then allocate as
     *         they run
     * @throws NativeException with {@link Status#OUT_OF_MEMORY} if the device has too little left
     */
    long plan(Runnable ops) {
        if (!canRecord()) {
            return 0;
        }
        try (var _ = turn(); var call = Arena.ofConfined()) {
            var bytes = call.allocate(ValueLayout.JAVA_LONG);
            planning = true;
            try {
                recordBetween(Metalora::ml_plan_begin, ops, Metalora::ml_plan_end, bytes);
            } finally {
                planning = false;
            }
            return bytes.get(ValueLayout.JAVA_LONG, 0);
        }
    }

    /**
     * The ops between begin and end are recorded, not run; the device is held throughout, since another thread's ops would be
     * recorded too.
     */
    private void recordBetween(
            ToIntFunction<MemorySegment> begin, Runnable ops, ToIntBiFunction<MemorySegment, MemorySegment> end,
            MemorySegment out) {
        NativeLibrary.check(begin.applyAsInt(context()));
        recording = true;
        try {
            ops.run();
        } catch (Throwable e) {
            end.applyAsInt(context, MemorySegment.NULL); // its own failure would hide that of the ops
            throw e;
        } finally {
            recording = false;
        }
        NativeLibrary.check(end.applyAsInt(context, out));
    }

    /** Whether {@link #record} or {@link #plan} runs; the caller holds the device. */
    boolean isRecording() {
        return recording;
    }

    /** Whether {@link #plan} runs; the caller holds the device. */
    boolean isPlanning() {
        return planning;
    }

    /** Waits until all ops have run. */
    public void synchronize() {
        try (var _ = turn()) {
            NativeLibrary.check(Metalora.ml_synchronize(context()));
        }
    }

    /**
     * If two threads close a device, one of them does and the other waits.
     *
     * @throws NativeException of {@link Status#BUSY} while another thread's call runs; the device is then as it was
     */
    @Override
    public void close() {
        synchronized (open) {
            if (closed) {
                return;
            }
            try (var _ = turn()) {
                Held.closeAll(List.copyOf(open), resource -> {
                    switch (resource) {
                        case Tensor t -> t.free();
                        case NativeHandle h -> h.free();
                        default -> throw new AssertionError(resource);
                    }
                });
                NativeLibrary.check(Metalora.ml_context_destroy(context));
                closed = true;
                arena.close();
            }
        }
    }

    boolean isClosed() {
        return closed;
    }

    /**
     * Takes the device for a call. Descriptors and the staging memory are shared by all calls, so that a second thread
     * must be refused, or wait, before it writes to them.
     */
    DeviceAccess.Turn turn() {
        if (holder.getPlain() == Thread.currentThread() && recording) {
            return turnWithin;
        }
        if (free != null && holder.getPlain() != Thread.currentThread()) {
            free.acquireUninterruptibly();
        }
        if (!holder.compareAndSet(null, Thread.currentThread())) {
            throw new NativeException(Status.BUSY, "the device is in use by " + holder.get() + "; it serves one thread"
                    + " at a time: let the threads take turns, open it to wait (WhenBusy), or open a device for each");
        }
        return turn;
    }

    private void endTurn() {
        holder.setRelease(null);
        if (free != null) {
            free.release();
        }
    }

    MemorySegment context() {
        if (closed) {
            throw new IllegalStateException("the device is closed");
        }
        return context;
    }

    /** Host memory that values pass through on their way to and from the device. */
    MemorySegment staging() {
        return staging;
    }

    void free(Tensor tensor, MemorySegment pointer) {
        NativeLibrary.check(Metalora.ml_free(context(), pointer));
        open.remove(tensor);
    }

    /** Called once the handle was freed. */
    void forget(NativeHandle handle) {
        open.remove(handle);
    }

    private static int nativeType(DType dtype) {
        return switch (dtype) {
            case F32 -> Metalora.ML_F32();
            case BF16 -> Metalora.ML_BF16();
            case F16 -> Metalora.ML_F16();
            case I32, F64 -> throw new NativeException(Status.UNSUPPORTED, dtype + " is not a type of weights or activations");
        };
    }

    private static DType nativeType(int dtype) {
        return dtype == Metalora.ML_BF16() ? DType.BF16 : dtype == Metalora.ML_F16() ? DType.F16 : DType.F32;
    }

    private static final class Access extends DeviceAccess {
        @Override
        protected Turn turn(Device device) {
            return device.turn();
        }

        @Override
        protected MemorySegment context(Device device) {
            return device.context();
        }

        @Override
        protected Ops ops(Device device) {
            return device.ops;
        }

        @Override
        protected MemorySegment pointer(Tensor tensor) {
            return tensor.pointer();
        }

        @Override
        protected MemorySegment handle(FrozenWeight weight) {
            return weight.handle();
        }

        @Override
        public long scratchBytes(Device device) {
            return device.scratchBytes();
        }

        @Override
        public Tensor planned(Device device, DType dtype, long... shape) {
            return device.planned(dtype, shape);
        }

        @Override
        public void allocate(Tensor planned) {
            planned.allocate();
        }

        @Override
        public FrozenWeight freeze(Device device, List<HostTensor> sources, DType storage, long adapterColumns) {
            return device.freeze(sources, storage, adapterColumns);
        }

        @Override
        public long frozenBytes(Device device, DType storage, long outFeatures, long inFeatures, long adapterColumns) {
            return device.frozenBytes(storage, outFeatures, inFeatures, adapterColumns);
        }

        @Override
        public boolean gainsByStacking(Device device) {
            return device.gainsByStacking();
        }

        @Override
        public boolean gainsByAdapterRoom(Device device) {
            return device.gainsByAdapterRoom();
        }

        @Override
        public boolean hasOwnMemory(Device device) {
            return device.hasOwnMemory();
        }

        @Override
        public boolean canRecord(Device device) {
            return device.canRecord();
        }

        @Override
        public Graph record(Device device, Runnable ops) {
            return device.record(ops);
        }

        @Override
        public long plan(Device device, Runnable ops) {
            return device.plan(ops);
        }
    }
}

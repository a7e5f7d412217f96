package io.metalora.files;

import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.ReadableByteChannel;
import java.nio.channels.WritableByteChannel;

/** A channel that does all through another one; every write goes through one method. */
abstract class DelegatingFileChannel extends FileChannel {

    private final FileChannel channel;

    DelegatingFileChannel(FileChannel channel) {
        this.channel = channel;
    }

    /** @param moving at the channel's own position instead of {@code position}, moving that */
    protected void write(ByteBuffer bytes, long position, boolean moving) throws IOException {
        if (moving) {
            channel.write(bytes);
        } else {
            channel.write(bytes, position);
        }
    }

    @Override
    public int write(ByteBuffer bytes) throws IOException {
        int before = bytes.remaining();
        write(bytes, 0, true);
        return before - bytes.remaining();
    }

    @Override
    public int write(ByteBuffer bytes, long position) throws IOException {
        int before = bytes.remaining();
        write(bytes, position, false);
        return before - bytes.remaining();
    }

    @Override
    public long write(ByteBuffer[] buffers, int offset, int length) throws IOException {
        long written = 0;
        for (int i = offset; i < offset + length; i++) {
            written += write(buffers[i]);
        }
        return written;
    }

    @Override
    public long transferFrom(ReadableByteChannel from, long position, long count) {
        throw new UnsupportedOperationException();
    }

    @Override
    public int read(ByteBuffer bytes) throws IOException {
        return channel.read(bytes);
    }

    @Override
    public int read(ByteBuffer bytes, long position) throws IOException {
        return channel.read(bytes, position);
    }

    @Override
    public long read(ByteBuffer[] buffers, int offset, int length) throws IOException {
        return channel.read(buffers, offset, length);
    }

    @Override
    public long transferTo(long position, long count, WritableByteChannel to) throws IOException {
        return channel.transferTo(position, count, to);
    }

    @Override
    public long position() throws IOException {
        return channel.position();
    }

    @Override
    public FileChannel position(long position) throws IOException {
        channel.position(position);
        return this;
    }

    @Override
    public long size() throws IOException {
        return channel.size();
    }

    @Override
    public FileChannel truncate(long size) throws IOException {
        channel.truncate(size);
        return this;
    }

    @Override
    public void force(boolean metaData) throws IOException {
        channel.force(metaData);
    }

    @Override
    public MappedByteBuffer map(MapMode mode, long position, long size) throws IOException {
        return channel.map(mode, position, size);
    }

    @Override
    public MemorySegment map(MapMode mode, long position, long size, Arena arena) throws IOException {
        return channel.map(mode, position, size, arena);
    }

    @Override
    public FileLock lock(long position, long size, boolean shared) throws IOException {
        return channel.lock(position, size, shared);
    }

    @Override
    public FileLock tryLock(long position, long size, boolean shared) throws IOException {
        return channel.tryLock(position, size, shared);
    }

    @Override
    protected void implCloseChannel() throws IOException {
        channel.close();
    }
}

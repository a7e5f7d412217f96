package io.metalora.files;

import java.io.IOException;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.SeekableByteChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.AccessMode;
import java.nio.file.CopyOption;
import java.nio.file.DirectoryStream;
import java.nio.file.FileStore;
import java.nio.file.FileSystem;
import java.nio.file.FileSystemException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.OpenOption;
import java.nio.file.Path;
import java.nio.file.PathMatcher;
import java.nio.file.StandardOpenOption;
import java.nio.file.WatchService;
import java.nio.file.attribute.BasicFileAttributes;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.FileAttributeView;
import java.nio.file.attribute.UserPrincipalLookupService;
import java.nio.file.spi.FileSystemProvider;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The system's files, on which an operation that changes something fails: creating, writing, truncating, forcing to the disk,
 * renaming, removing. A write that fails has written the first half of its bytes.
 */
public final class FaultyFileSystem extends FileSystem {

    /** Why an operation fails, in the system's words. */
    public enum Fault {
        NO_SPACE("No space left on device"), IO("Input/output error"), READ_ONLY("Read-only file system"), DENIED("Permission denied");

        private final String words;

        Fault(String words) {
            this.words = words;
        }

        private IOException exception(Path path) {
            return path == null ? new IOException(words) : this == DENIED ? new AccessDeniedException(path.toString())
                    : new FileSystemException(path.toString(), null, words);
        }
    }

    private final FileSystem system = FileSystems.getDefault();
    private final Provider provider = new Provider();
    private final List<String> operations = new ArrayList<>();
    private Fault fault;
    private int first;
    private boolean lasting;

    /** The file at a path of the system. */
    public Path path(Path real) {
        return new FaultyPath(this, real);
    }

    /**
     * Counts anew; the {@code number}-th operation, from 1, will fail.
     *
     * @param lasting and so will all after it
     */
    public void failAt(int number, Fault fault, boolean lasting) {
        this.operations.clear();
        this.first = number;
        this.fault = fault;
        this.lasting = lasting;
    }

    /** What fails; null where nothing does. */
    public Fault fault() {
        return fault;
    }

    /** From now on nothing fails. */
    public void mend() {
        fault = null;
    }

    /** Whether an operation has failed since. */
    public boolean failed() {
        return operations.size() >= first;
    }

    /** The operation that failed first, as "force metrics.jsonl". */
    public String firstFailed() {
        return operations.get(first - 1);
    }

    /** Counts an operation. */
    private void operation(String what, Path path) throws IOException {
        if (fails(what, path)) {
            throw fault.exception(path);
        }
    }

    private boolean fails(String what, Path path) {
        operations.add(what + " " + path.getFileName());
        return fault != null && inForce();
    }

    /** Whether the last operation failed, and what is asked about it now is to agree. */
    private boolean inForce() {
        return lasting ? operations.size() >= first : operations.size() == first;
    }

    private static Path real(Path path) {
        return ((FaultyPath) path).real();
    }

    private Path wrapped(Path real) {
        return real == null ? null : new FaultyPath(this, real);
    }

    // ---- channels

    private final class Channel extends DelegatingFileChannel {
        private final Path path;

        Channel(FileChannel channel, Path path) {
            super(channel);
            this.path = path;
        }

        @Override
        protected void write(ByteBuffer bytes, long position, boolean moving) throws IOException {
            if (fails("write", path)) {
                int end = bytes.limit();
                bytes.limit(bytes.position() + bytes.remaining() / 2);
                super.write(bytes, position, moving);
                bytes.limit(end);
                throw fault.exception(null); // as a channel's: it knows no path
            }
            super.write(bytes, position, moving);
        }

        @Override
        public FileChannel truncate(long size) throws IOException {
            if (size < size()) {
                operation("truncate");
            }
            return super.truncate(size);
        }

        @Override
        public void force(boolean metaData) throws IOException {
            operation("force");
            super.force(metaData);
        }

        private void operation(String what) throws IOException {
            if (fails(what, path)) {
                throw fault.exception(null);
            }
        }
    }

    private final class Provider extends FileSystemProvider {
        private final FileSystemProvider system = FaultyFileSystem.this.system.provider();

        @Override
        public String getScheme() {
            return "faulty";
        }

        @Override
        public FileSystem newFileSystem(URI uri, Map<String, ?> env) {
            throw new UnsupportedOperationException();
        }

        @Override
        public FileSystem getFileSystem(URI uri) {
            throw new UnsupportedOperationException();
        }

        @Override
        public Path getPath(URI uri) {
            throw new UnsupportedOperationException();
        }

        @Override
        public SeekableByteChannel newByteChannel(Path path, Set<? extends OpenOption> options, FileAttribute<?>... attributes)
                throws IOException {
            return newFileChannel(path, options, attributes);
        }

        @Override
        public FileChannel newFileChannel(Path path, Set<? extends OpenOption> options, FileAttribute<?>... attributes) throws IOException {
            if (options.contains(StandardOpenOption.WRITE) || options.contains(StandardOpenOption.APPEND)) {
                operation(Files.exists(real(path)) ? "open" : "create", path);
            }
            return new Channel(system.newFileChannel(real(path), options, attributes), path);
        }

        @Override
        public DirectoryStream<Path> newDirectoryStream(Path folder, DirectoryStream.Filter<? super Path> filter) throws IOException {
            DirectoryStream<Path> entries = system.newDirectoryStream(real(folder), entry -> filter.accept(wrapped(entry)));
            return new DirectoryStream<>() {
                @Override
                public Iterator<Path> iterator() {
                    var real = entries.iterator();
                    return new Iterator<>() {
                        @Override
                        public boolean hasNext() {
                            return real.hasNext();
                        }

                        @Override
                        public Path next() {
                            return wrapped(real.next());
                        }
                    };
                }

                @Override
                public void close() throws IOException {
                    entries.close();
                }
            };
        }

        @Override
        public void createDirectory(Path folder, FileAttribute<?>... attributes) throws IOException {
            if (!Files.exists(real(folder))) {
                operation("create", folder);
            }
            system.createDirectory(real(folder), attributes);
        }

        @Override
        public void delete(Path path) throws IOException {
            if (Files.exists(real(path), LinkOption.NOFOLLOW_LINKS)) {
                operation("delete", path);
            }
            system.delete(real(path));
        }

        @Override
        public void copy(Path from, Path to, CopyOption... options) {
            throw new UnsupportedOperationException();
        }

        @Override
        public void move(Path from, Path to, CopyOption... options) throws IOException {
            operation("rename to", to);
            system.move(real(from), real(to), options);
        }

        @Override
        public void createLink(Path link, Path existing) throws IOException {
            operation("link", link);
            system.createLink(real(link), real(existing));
        }

        @Override
        public boolean isSameFile(Path a, Path b) throws IOException {
            return system.isSameFile(real(a), real(b));
        }

        @Override
        public boolean isHidden(Path path) throws IOException {
            return system.isHidden(real(path));
        }

        @Override
        public FileStore getFileStore(Path path) throws IOException {
            return system.getFileStore(real(path));
        }

        @Override
        public void checkAccess(Path path, AccessMode... modes) throws IOException {
            if (fault == Fault.READ_ONLY && inForce() && List.of(modes).contains(AccessMode.WRITE)) {
                throw fault.exception(path);
            }
            system.checkAccess(real(path), modes);
        }

        @Override
        public <V extends FileAttributeView> V getFileAttributeView(Path path, Class<V> type, LinkOption... options) {
            return system.getFileAttributeView(real(path), type, options);
        }

        @Override
        public <A extends BasicFileAttributes> A readAttributes(Path path, Class<A> type, LinkOption... options) throws IOException {
            return system.readAttributes(real(path), type, options);
        }

        @Override
        public Map<String, Object> readAttributes(Path path, String attributes, LinkOption... options) throws IOException {
            return system.readAttributes(real(path), attributes, options);
        }

        @Override
        public void setAttribute(Path path, String attribute, Object value, LinkOption... options) throws IOException {
            operation("set attribute of", path);
            system.setAttribute(real(path), attribute, value, options);
        }
    }

    // ---- as the system's

    @Override
    public FileSystemProvider provider() {
        return provider;
    }

    @Override
    public void close() {
        throw new UnsupportedOperationException();
    }

    @Override
    public boolean isOpen() {
        return true;
    }

    @Override
    public boolean isReadOnly() {
        return false;
    }

    @Override
    public String getSeparator() {
        return system.getSeparator();
    }

    @Override
    public Iterable<Path> getRootDirectories() {
        throw new UnsupportedOperationException();
    }

    @Override
    public Iterable<FileStore> getFileStores() {
        throw new UnsupportedOperationException();
    }

    @Override
    public Set<String> supportedFileAttributeViews() {
        return system.supportedFileAttributeViews();
    }

    @Override
    public Path getPath(String first, String... more) {
        return path(system.getPath(first, more));
    }

    @Override
    public PathMatcher getPathMatcher(String pattern) {
        throw new UnsupportedOperationException();
    }

    @Override
    public UserPrincipalLookupService getUserPrincipalLookupService() {
        throw new UnsupportedOperationException();
    }

    @Override
    public WatchService newWatchService() {
        throw new UnsupportedOperationException();
    }
}

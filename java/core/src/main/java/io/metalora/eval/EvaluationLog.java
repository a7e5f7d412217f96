package io.metalora.eval;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.metalora.file.AtomicFile;
import io.metalora.file.FileLocks;
import io.metalora.runtime.InputException;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/**
 * Answers as they come, by arm, task and item: in memory, and in a file where they are to outlive the process, so that an
 * evaluation that was stopped continues. The file is JSON Lines: the settings, one line per task with the items that are
 * evaluated, then the answers, {@code {"arm", "task", "from", "correct"}} with 1 for a right answer and 0 for a wrong one,
 * from the task's item number {@code from} on.
 */
public final class EvaluationLog implements AutoCloseable {

    /**
     * What is evaluated.
     *
     * @param split   of the tasks
     * @param samples most items of a task; 0 for all
     * @param tasks   most tasks; 0 for all
     * @param model   identifies the base model and its tokenizer, such as by a hash
     * @param adapter identifies the evaluated adapter, such as by a checksum
     */
    public record Settings(Split split, int samples, int tasks, String model, String adapter) {

        private ObjectNode json() {
            return JsonNodeFactory.instance.objectNode().put("split", split.toString()).put("samples", samples).put("tasks", tasks)
                    .put("model", model).put("adapter", adapter);
        }
    }

    private static final ObjectMapper JSON = new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);
    /** Bytes of a line of settings or answers, at most; answers come in pieces far below it. */
    private static final int LONGEST = 1 << 20;

    private final List<TaskItems> items;
    private final Map<String, Integer> index = new HashMap<>();
    private final Map<String, Answers[]> arms = new HashMap<>();
    private final FileChannel channel;
    private final Path file;

    /** For the items of one task, in order: which are answered, and which of the answers are right. */
    private record Answers(BitSet answered, BitSet right) {
    }

    private EvaluationLog(List<TaskItems> items, FileChannel channel, Path file) {
        this.items = List.copyOf(items);
        this.channel = channel;
        this.file = file;
        for (int i = 0; i < items.size(); i++) {
            index.put(items.get(i).task(), i);
        }
    }

    /** A log in memory alone. */
    public static EvaluationLog inMemory(List<TaskItems> items) {
        return new EvaluationLog(items, null, null);
    }

    /**
     * A log in a file. Answers in it are kept if they are to the same items under the same settings; otherwise the file begins
     * anew.
     *
     * @throws InputException if another process is writing it
     */
    public static EvaluationLog open(Path file, Settings settings, List<TaskItems> items) {
        FileChannel channel = null;
        try {
            channel = FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE);
            if (!FileLocks.take(channel)) {
                throw new InputException(file + ": another process is evaluating this run; wait for it or stop it");
            }
            var log = new EvaluationLog(items, channel, file);
            log.goOn(settings);
            return log;
        } catch (IOException e) {
            close(channel);
            throw new UncheckedIOException(file + ": can't be written", e);
        } catch (RuntimeException e) {
            close(channel);
            throw e;
        }
    }

    /** The settings of the evaluation in a file; empty if there is none. */
    public static Optional<Settings> settings(Path file) {
        if (!Files.isRegularFile(file)) {
            return Optional.empty();
        }
        try (FileChannel channel = FileChannel.open(file)) {
            JsonNode line = JSON.readTree(Optional.ofNullable(new LineReader(channel, LONGEST).next()).orElse(""));
            var settings = new Settings(Split.valueOf(line.path("split").asText().toUpperCase(Locale.ROOT)),
                    count(line, "samples"), count(line, "tasks"), line.path("model").asText(),
                    line.path("adapter").asText());
            return Optional.of(settings).filter(read -> read.samples() >= 0 && read.tasks() >= 0);
        } catch (IOException | IllegalArgumentException e) {
            return Optional.empty(); // of no use: opening it begins anew
        }
    }

    /** Takes what is in the file, up to the first line that is not whole, and cuts off the rest. */
    private void goOn(Settings settings) throws IOException {
        var head = new ArrayList<String>();
        head.add(settings.json().toString());
        items.forEach(task -> head.add(line(task)));
        long whole = 0;
        // Not closed: that would close the channel, and with it the lock.
        var lines = new LineReader(channel, head.stream().mapToInt(line -> 4 * line.length()).reduce(LONGEST, Math::max));
        int number = 0;
        for (String line = lines.next(); line != null; line = lines.next(), number++) {
            if (number < head.size() ? !line.equals(head.get(number)) : !take(line)) {
                break;
            }
            whole = lines.position();
        }
        if (number < head.size()) {
            whole = 0;
        }
        channel.truncate(whole);
        channel.position(whole);
        if (whole == 0) {
            write(String.join("\n", head) + "\n");
        }
    }

    private static String line(TaskItems task) {
        ObjectNode line = JsonNodeFactory.instance.objectNode().put("task", task.task()).put("of", task.available())
                .put("labels", task.labels().size()).put("digest", task.digest());
        if (task.size() < task.available()) {
            var numbers = line.putArray("items");
            for (int number : task.lines()) {
                numbers.add(number);
            }
        }
        return line.toString();
    }

    /** Whether the line is answers to this evaluation's items. */
    private boolean take(String text) {
        try {
            JsonNode line = JSON.readTree(text);
            Integer task = index.get(line.path("task").asText());
            int from = count(line, "from");
            String correct = line.path("correct").asText();
            if (!line.has("arm") || task == null || from < 0 || correct.length() > items.get(task).size() - from
                    || !correct.matches("[01]+")) {
                return false;
            }
            for (int i = 0; i < correct.length(); i++) {
                answer(line.get("arm").asText(), task, from + i, correct.charAt(i) == '1');
            }
            return true;
        } catch (JsonProcessingException e) {
            return false;
        }
    }

    /** A number of a line; -1 where it is missing, negative, or none. */
    private static int count(JsonNode line, String key) {
        JsonNode number = line.path(key);
        return number.isIntegralNumber() && number.canConvertToInt() ? Math.max(-1, number.intValue()) : -1;
    }

    private void answer(String arm, int task, int item, boolean right) {
        Answers answers = answers(arm, task);
        answers.answered().set(item);
        answers.right().set(item, right);
    }

    private Answers answers(String arm, int task) {
        Answers[] all = arms.computeIfAbsent(arm, name -> new Answers[items.size()]);
        if (all[task] == null) {
            all[task] = new Answers(new BitSet(), new BitSet());
        }
        return all[task];
    }

    /** Adds answers of an arm to items of a task, from its item {@code from} on. */
    void add(String arm, TaskItems task, int from, boolean[] correct) {
        for (int i = 0; i < correct.length; i++) {
            answer(arm, index.get(task.task()), from + i, correct[i]);
        }
        if (channel != null) {
            try {
                write(JsonNodeFactory.instance.objectNode().put("arm", arm).put("task", task.task()).put("from", from)
                        .put("correct", TaskResult.digits(correct)) + "\n");
            } catch (IOException e) {
                throw new UncheckedIOException(file + ": can't be written", e);
            }
        }
    }

    private void write(String text) throws IOException {
        AtomicFile.writeFully(channel, ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8)));
    }

    /** The first item at or after {@code from} that the arm has not answered; the number of items where there is none. */
    int open(String arm, TaskItems task, int from) {
        return Math.min(task.size(), answers(arm, index.get(task.task())).answered().nextClearBit(from));
    }

    /** The first item after {@code from}, which is open, that is answered; the number of items where there is none. */
    int closed(String arm, TaskItems task, int from) {
        int next = answers(arm, index.get(task.task())).answered().nextSetBit(from);
        return next < 0 ? task.size() : next;
    }

    /** Whether all items of the task are answered. */
    public boolean complete(String arm, TaskItems task) {
        return open(arm, task, 0) == task.size();
    }

    /** How many items of all tasks are answered. */
    public long answered(String arm) {
        return items.stream().mapToLong(task -> answers(arm, index.get(task.task())).answered().cardinality()).sum();
    }

    /** The results of the tasks that are complete, in the tasks' order. */
    public List<TaskResult> results(String arm) {
        return items.stream().filter(task -> complete(arm, task)).map(task -> result(arm, task)).toList();
    }

    /** The result of a task that is complete. */
    public TaskResult result(String arm, TaskItems task) {
        BitSet right = answers(arm, index.get(task.task())).right();
        boolean[] correct = new boolean[task.size()];
        for (int i = 0; i < correct.length; i++) {
            correct[i] = right.get(i);
        }
        return task.result(correct);
    }

    /** The items that are evaluated, one per task. */
    public List<TaskItems> items() {
        return items;
    }

    @Override
    public void close() {
        close(channel);
    }

    private static void close(FileChannel channel) {
        try {
            if (channel != null) {
                channel.close();
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Whole lines of a file, with the position after each. */
    private static final class LineReader {

        private final InputStream in;
        private final long size;
        private final int longest;
        private long position;

        /** @param longest bytes of a line; a longer one was not written by this class */
        LineReader(FileChannel channel, int longest) throws IOException {
            this.in = new BufferedInputStream(Channels.newInputStream(channel));
            this.size = channel.size();
            this.longest = longest;
        }

        /** The next line that ends with a line feed; null where there is none, or it is too long. */
        String next() throws IOException {
            var bytes = new ByteArrayOutputStream();
            while (position + bytes.size() < size && bytes.size() <= longest) {
                int b = in.read();
                if (b < 0) {
                    return null;
                }
                if (b == '\n') {
                    position += bytes.size() + 1;
                    return bytes.toString(StandardCharsets.UTF_8);
                }
                bytes.write(b);
            }
            return null;
        }

        long position() {
            return position;
        }
    }
}

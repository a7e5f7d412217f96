package io.metalora.text;

/** The tokens of a text, and which of its characters each is from. */
public final class TokenOffsets {

    private final int[] ids;
    private final int[] starts;
    private final int[] ends;

    /**
     * @param ids    token ids; copied, as the others
     * @param starts for each the index of its first character
     * @param ends   for each the index after its last one; the start where it has no characters of its own
     */
    public TokenOffsets(int[] ids, int[] starts, int[] ends) {
        if (starts.length != ids.length || ends.length != ids.length) {
            throw new IllegalArgumentException(ids.length + " ids, " + starts.length + " starts and " + ends.length + " ends");
        }
        this.ids = ids.clone();
        this.starts = starts.clone();
        this.ends = ends.clone();
    }

    /** A copy of the ids. */
    public int[] ids() {
        return ids.clone();
    }

    /** Number of tokens. */
    public int size() {
        return ids.length;
    }

    /** Marks the tokens that characters {@code start} to before {@code end} are in, and those between them. */
    public void mark(int start, int end, boolean[] tokens) {
        int first = 0;
        while (first < ids.length && ends[first] <= start) {
            first++;
        }
        int last = ids.length - 1;
        while (last >= first && starts[last] >= end) {
            last--;
        }
        for (int i = first; i <= last; i++) {
            tokens[i] = true;
        }
    }
}

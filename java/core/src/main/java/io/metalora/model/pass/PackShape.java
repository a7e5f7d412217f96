package io.metalora.model.pass;

/**
 * Everything about a pack that the ops of a pass depend on, except its contents: packs of one shape can go through the same
 * recorded ops.
 *
 * @param maxLength no sequence is longer
 */
public record PackShape(int tokens, int sequences, int lossRows, int maxLength, int slots) {
    /**
     * The shape to which a pack is filled up, so that few are needed: counts are rounded up to powers of two, and above
     * 1024 to multiples of 512, within the limits of tokens.
     *
     * @param longest tokens that a sequence of the model may have; at least the pack's
     */
    public static PackShape bucketOf(TokenPack pack, int mostTokens, int longest) {
        int tokens = Math.min(rounded(pack.tokens()), mostTokens);
        int maxLength = Math.min(rounded(pack.maxLength()), Math.min(longest, mostTokens));
        int sequences = rounded(pack.sequences() + Math.ceilDiv(tokens - pack.tokens(), maxLength));
        int lossRows = Math.max(pack.lossRows(), Math.min(rounded(pack.lossRows()), tokens));
        return new PackShape(tokens, sequences, lossRows, maxLength, pack.slots());
    }

    /** Limits of buffers that hold every bucket of packs within {@code limits}. */
    public static PassLimits room(PassLimits limits) {
        return new PassLimits(
                limits.tokens(),
                rounded(limits.sequences() + limits.tokens()),
                Math.max(limits.lossRows(), limits.tokens()),
                limits.slots());
    }

    static int rounded(int count) {
        if (count > 1024) {
            return Math.ceilDiv(count, 512) * 512;
        }
        return count <= 1 ? 1 : Integer.highestOneBit(count - 1) << 1;
    }
}

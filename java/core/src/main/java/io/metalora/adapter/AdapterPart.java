package io.metalora.adapter;

import java.util.Locale;

/** Which matrices of an adapter are trained to adapt it to a task; the others stay as all tasks share them. */
public enum AdapterPart {
    ALL(true, true),
    /** Every B, of a mixture all of its heads: the tasks share A, and the router. */
    B(false, false),
    /** Of a mixture, its heads and the router: the tasks share A alone. */
    HEADS_AND_ROUTER(false, true);

    private final boolean movesA;
    private final boolean movesRouter;

    AdapterPart(boolean movesA, boolean movesRouter) {
        this.movesA = movesA;
        this.movesRouter = movesRouter;
    }

    /** Whether A is moved; every B is. */
    public boolean movesA() {
        return movesA;
    }

    /** Whether a mixture's router is moved. */
    public boolean movesRouter() {
        return movesRouter;
    }

    /** Whether adapters of a kind have what is moved. */
    public boolean isOf(AdapterKind kind) {
        return this != HEADS_AND_ROUTER || kind == AdapterKind.MIXTURE;
    }

    /** The word for it in configurations and options. */
    @Override
    public String toString() {
        return name().toLowerCase(Locale.ROOT).replace('_', '-');
    }
}

package io.metalora.adapter;

/** What of an adapter is moved to fit it to a task; the rest is left as all tasks share it. */
public enum AdapterPart {
    ALL,
    /** Every B, of a mixture all of its heads: the tasks share A, and the router. */
    B
}

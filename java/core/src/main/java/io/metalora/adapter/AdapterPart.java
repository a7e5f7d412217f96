package io.metalora.adapter;

/** Which matrices of an adapter are trained to adapt it to a task; the others stay as all tasks share them. */
public enum AdapterPart {
    ALL,
    /** Every B, of a mixture all of its heads: the tasks share A, and the router. */
    B
}

package io.metalora.config;

/** How the query gradients of an iteration's tasks become the one gradient that updates the shared adapter. */
public enum AggregationRule {
    /** Every task weighs the same. */
    MEAN,
    /** Each task weighs as many training samples as it has. */
    WEIGHTED,
    /** Of gradients that conflict, each loses its part along the other (Yu et al. 2020). */
    PCGRAD,
    /** Near the mean, the direction along which the worst-off task gains most (Liu et al. 2021). */
    CAGRAD,
    /** The shortest of all convex combinations (Sener and Koltun 2018): no task loses. */
    MGDA
}

package io.metalora.config;

/** What a task contributes to the step of the shared adapter, after its inner steps. */
public enum OuterDirection {
    /** The gradient of its query loss at its adapted parameters. */
    FIRST_ORDER,
    /** The shared minus the adapted parameters (Nichol, Achiam and Schulman 2018); the query set is only measured. */
    REPTILE,
    /** The gradient of its query loss with respect to the shared parameters, through the inner steps (Finn, Abbeel and Levine 2017). */
    EXACT
}

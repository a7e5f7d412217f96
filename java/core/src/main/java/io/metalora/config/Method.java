package io.metalora.config;

/** What is trained, and how. */
public enum Method {
    /** Two-stage MeTA-LoRA: {@link io.metalora.train.MetaLora}. */
    META_LORA,
    /** "Traditional" LoRA on all tasks' samples mixed: {@link io.metalora.train.JointLora}. */
    JOINT_LORA,
    /** LoRA of each task alone, all in one pass over the frozen weights; one adapter per task: {@link io.metalora.train.SeparateLora}. */
    SEPARATE_LORA,
    /** One A for all tasks and a B of each, trained together; one adapter per task: {@link io.metalora.train.AsymmetricLora}. */
    ASYMMETRIC_LORA;

    /** Whether it gives each task an adapter, in place of a shared one. */
    public boolean givesEachTaskAnAdapter() {
        return this == SEPARATE_LORA || this == ASYMMETRIC_LORA;
    }
}

package io.metalora.config;

/** How the shared adapter is trained. */
public enum Method {
    /** Two-stage MeTA-LoRA: {@link io.metalora.train.MetaLora}. */
    META_LORA,
    /** "Traditional" LoRA on all tasks' samples mixed: {@link io.metalora.train.JointLora}. */
    JOINT_LORA,
    /** LoRA of each task alone, all in one pass over the frozen weights; one adapter per task: {@link io.metalora.train.SeparateLora}. */
    SEPARATE_LORA
}

package io.metalora.config;

/** How the shared adapter is trained. */
public enum Method {
    /** Two-stage MeTA-LoRA: {@link io.metalora.train.MetaLora}. */
    META_LORA,
    /** "Traditional" LoRA on all tasks' samples mixed: {@link io.metalora.train.JointLora}. */
    JOINT_LORA
}

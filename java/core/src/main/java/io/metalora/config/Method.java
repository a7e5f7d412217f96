package io.metalora.config;

import io.metalora.train.JointLora;
import io.metalora.train.MetaLora;

/** How the shared adapter is trained. */
public enum Method {
    /** Two-stage MeTA-LoRA: {@link MetaLora}. */
    META_LORA,
    /** "Traditional" LoRA on all tasks' samples mixed: {@link JointLora}. */
    JOINT_LORA,
    /** LoRA of each task by itself, all in one pass over the frozen weights; one adapter a task. */
    SEPARATE_LORA
}

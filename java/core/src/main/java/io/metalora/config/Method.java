package io.metalora.config;

import io.metalora.train.JointLora;
import io.metalora.train.MetaLora;

/** How the shared adapter is trained. */
public enum Method {
    /** Two-stage MeTA-LoRA: {@link MetaLora}. */
    META_LORA,
    /** "Traditional" LoRA on all tasks' samples mixed: {@link JointLora}. */
    JOINT_LORA
}

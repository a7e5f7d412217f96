package io.metalora.io;

/** The decoder families the runtime computes. They differ in biases, in per-head norms and in windows. */
public enum Architecture {
    /** Llama 2 and 3.x, SmolLM2. */
    LLAMA("llama", "LlamaForCausalLM"),
    /** Llama with a sliding attention window on all layers. */
    MISTRAL("mistral", "MistralForCausalLM"),
    /** Qwen2 and Qwen2.5: biases on q, k and v. */
    QWEN2("qwen2", "Qwen2ForCausalLM"),
    /** RMSNorm on every query and key head. */
    QWEN3("qwen3", "Qwen3ForCausalLM");

    private final String modelType;
    private final String className;

    Architecture(String modelType, String className) {
        this.modelType = modelType;
        this.className = className;
    }

    /** {@code model_type} in config.json. */
    public String modelType() {
        return modelType;
    }

    /** The entry of {@code architectures} in config.json. */
    public String className() {
        return className;
    }
}

package io.metalora.config;

import io.metalora.file.Shown;
import io.metalora.runtime.InputException;

/**
 * The learning rate of stage 1 for some Linears, in the configuration {@code MODULE=RATE}.
 *
 * @param module a whole module path, or the end of paths after a dot, as in {@code adapter.target_modules}
 * @param rate   at least 0; 0: stage 1 does not change them
 */
public record ModuleRate(String module, float rate) {

    /** @throws InputException if the text is not of that form */
    static ModuleRate parse(String text) {
        int equals = text.lastIndexOf('=');
        if (equals < 1) {
            throw new InputException("holds " + Shown.quoted(text) + ", but takes MODULE=RATE, as q_proj=0.02");
        }
        String module = text.substring(0, equals).strip();
        float rate;
        try {
            rate = (float) ConfigValues.read(float.class, new Yaml.Scalar(text.substring(equals + 1).strip(), true, 1));
        } catch (InputException e) {
            throw new InputException("holds " + Shown.quoted(text) + ": " + e.getMessage(), e);
        }
        if (module.isEmpty() || !(rate >= 0)) {
            throw new InputException("holds " + Shown.quoted(text)
                    + ", but a rate must be at least 0, and of a module that is named");
        }
        return new ModuleRate(module, rate);
    }

    /** Whether it is the rate of the Linear at a path. */
    public boolean matches(String path) {
        return path.equals(module) || path.endsWith("." + module);
    }

    @Override
    public String toString() {
        return module + "=" + rate;
    }
}

/**
 * The generator of synthetic tasks: the text that the embedded tiny base is trained on, and the held-out tasks that
 * {@code quickstart} adapts it to.
 *
 * <p>Everything is drawn from a four-language lexicon by rules, deterministically from a seed. {@link
 * io.metalora.launcher.synthetic.SyntheticTasks} is the entry point; {@link io.metalora.launcher.synthetic.CorpusWriter} writes
 * the training text of the base.
 */
package io.metalora.launcher.synthetic;

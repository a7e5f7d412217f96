/** Log-probabilities of completions, accuracy on tasks, and the comparison of several adapters on the same items. */
package io.metalora.eval;

/** Text in, text out: prompts or conversations continued by a model, several at once, each with an adapter of its own. */
package io.metalora.generate;

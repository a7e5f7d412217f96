/** Text in and out of a model: tokenizer and chat template. */
package io.metalora.text;

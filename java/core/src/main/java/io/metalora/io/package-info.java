/** Files as Hugging Face and PEFT write them: safetensors, model folders and their configuration. */
package io.metalora.io;

/** Chat templates of Hugging Face models, in Jinja: what fills the core's {@link io.metalora.text.ChatTemplate}. */
package io.metalora.launcher.chat;

/** The command line: {@link io.metalora.launcher.Main} and one class a verb, with what the verbs share. */
package io.metalora.launcher;

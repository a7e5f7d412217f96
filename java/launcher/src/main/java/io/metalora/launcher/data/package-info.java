/** Files of examples that take a library of their own. */
package io.metalora.launcher.data;

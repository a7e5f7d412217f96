/** What concerns the machine and the process rather than a device: closing what is held, memory that is left, files that fail. */
package io.metalora.runtime.host;

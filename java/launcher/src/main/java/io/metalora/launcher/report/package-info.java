/** HTML reports: what they show, read back from a run's logs, and how a page is laid out. */
package io.metalora.launcher.report;

/**
 * Training: the two-stage MeTA-LoRA optimizer (arXiv 2510.11598) and joint LoRA beside it, with their settings, run
 * folder, logs and checkpoints.
 */
package io.metalora.train;

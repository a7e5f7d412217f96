/**
 * The algorithm alone: the two-stage MeTA-LoRA optimizer (arXiv 2510.11598) and, to compare it with, joint LoRA. Settings come from
 * {@code config}; run folders, logs and checkpoints are in {@code run}.
 */
package io.metalora.train;

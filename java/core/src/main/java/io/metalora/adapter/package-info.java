/** Low-rank adapters (Hu et al. 2021): targets, layout, initialisation, PEFT format. */
package io.metalora.adapter;

/** Low-rank adapters (Hu et al. 2021): targets, layout, initialisation, formats of folders. */
package io.metalora.adapter;

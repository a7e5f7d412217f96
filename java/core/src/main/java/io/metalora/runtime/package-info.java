/**
 * Devices and the memory on them: tensors, weights and recorded graphs. The ops themselves are not exported.
 *
 * <p>Who owns what: a {@link io.metalora.runtime.Device} owns everything made through it and frees what is still open when it is
 * closed; a {@link io.metalora.runtime.Tensor} and a {@link io.metalora.runtime.FrozenWeight} own their device memory; a view
 * borrows the memory of its tensor; a {@link io.metalora.runtime.HostTensor} of a {@link io.metalora.runtime.DataFile} reads from
 * it when it is used. Every {@code close} may be called twice.
 */
package io.metalora.runtime;

/**
 * The transformer: forward, hand-written backward with respect to low-rank adapters, and generation with a key/value
 * cache. The base weights never change. Many sequences, for several adapter slots, go through the layers as one pack.
 */
package io.metalora.model;

/** The ops of the native core, and what they take. Not exported: a model and its training call them. */
package io.metalora.runtime.op;

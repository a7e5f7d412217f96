/** Loading the native core and reporting its failures. */
package io.metalora.bindings;

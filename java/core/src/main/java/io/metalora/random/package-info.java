/** The bits behind every seeded draw. Not exported. */
package io.metalora.random;

/** The settings of a training run: one record, made by a builder, from YAML or by {@code key=value}, and checked however it is made. */
package io.metalora.config;

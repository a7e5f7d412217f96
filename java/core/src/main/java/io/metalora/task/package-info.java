/**
 * What is learned from: tasks of (prompt, completion) examples, support and query episodes, and the packs in which the
 * sequences of several tasks go through the model together.
 */
package io.metalora.task;

/** Reading and writing files so that failures name the file and the cause, and a stopped write leaves nothing half done. Not exported. */
package io.metalora.file;

package io.metalora.launcher.synthetic;

/** What a sample may serve for. */
enum Split {
    TRAIN,
    DEV,
    TEST
}

/** Uses what the core exports, and nothing else. */
module example {
    requires io.metalora;
}

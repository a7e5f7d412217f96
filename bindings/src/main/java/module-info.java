/** Panama bindings of the native core and its loader. */
module io.metalora.bindings {
    exports io.metalora.bindings;
    exports io.metalora.bindings.generated to io.metalora;
}

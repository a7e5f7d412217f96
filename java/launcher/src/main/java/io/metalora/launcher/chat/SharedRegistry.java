package io.metalora.launcher.chat;

import com.hubspot.jinjava.interpret.Context;
import com.hubspot.jinjava.lib.fn.MacroFunction;
import com.hubspot.jinjava.tree.Node;
import java.util.Map;
import java.util.Set;

/**
 * The template library's filters, tests, functions and tags, below the contexts of all renderings. The library copies them for each one,
 * which takes longer than most templates do, because a context also notes what it resolves in the one below. Here such notes are dropped, so
 * that nothing of one template reaches another, in whatever thread.
 */
final class SharedRegistry extends Context {

    /** Tags that load another template. A model has none beside its own; the library would look for resources of this program. */
    static final Set<String> LOADING = Set.of("extends", "from", "import", "include");

    SharedRegistry(Context of) {
        super(null, null, Map.of(Library.TAG, LOADING));
        of.getAllExpTests().forEach(this::registerExpTest);
        of.getAllFilters().forEach(this::registerFilter);
        of.getAllFunctions().forEach(this::registerFunction);
        of.getAllTags().forEach(this::registerTag);
    }

    @Override
    public void addResolvedExpression(String expression) {
    }

    @Override
    public void addResolvedValue(String value) {
    }

    @Override
    public void addResolvedFunction(String function) {
    }

    @Override
    public void handleDeferredNode(Node node) {
    }

    /** The library would make a map for them at the first question. */
    @Override
    public MacroFunction getGlobalMacro(String identifier) {
        return null;
    }
}

// Graphs: recorded, launched, destroyed.
#include <memory>

#include "core/api/call.h"

using namespace metalora;

int32_t ml_graph_begin(ml_context *context) {
    return unrecordable(context, "ml_graph_begin", [&](Context &c) -> ml_status {
        if (c.backend.graphs == nullptr) {
            return fail(ML_UNSUPPORTED, "ml_graph_begin: graph: the CPU backend records none; call the ops themselves");
        }
        if (ml_status status = c.backend.graphs->begin(c); status != ML_OK) return status;
        c.recording.start(false);
        return ML_OK;
    });
}

int32_t ml_graph_end(ml_context *context, ml_graph **graph) {
    const char *op = "ml_graph_end";
    return guarded(context, op, [&](Context &c) -> ml_status {
        if (graph != nullptr) *graph = nullptr;
        if (c.backend.graphs == nullptr) return fail(ML_UNSUPPORTED, "%s: graph: the CPU backend records none", op);
        if (!c.recording.active || c.recording.plan) return fail(ML_INVALID_ARGUMENT, "%s: nothing is being recorded; call ml_graph_begin first", op);
        if (ml_status status = of_this_thread(c, op); status != ML_OK) return status;
        c.recording.active = false;
        if (graph == nullptr || c.recording.status != ML_OK) {
            c.backend.graphs->end(c, nullptr);
            if (graph == nullptr) return fail(ML_INVALID_ARGUMENT, "%s: graph is NULL; what was recorded is gone", op);
            return fail(c.recording.status, "%s: an op of the recording failed: %s", op, c.recording.text.c_str());
        }
        void *recorded = nullptr;
        if (ml_status status = c.backend.graphs->end(c, &recorded); status != ML_OK) return status;
        try {
            auto made = std::make_unique<ml_graph>(ml_graph{c.generation(), recorded});
            c.graphs.insert(made.get());
            *graph = made.release();
        } catch (...) {
            c.backend.graphs->destroy(c, recorded);
            throw;
        }
        return ML_OK;
    });
}

int32_t ml_graph_launch(ml_context *context, ml_graph *graph) {
    const char *op = "ml_graph_launch";
    return unrecordable(context, op, [&](Context &c) -> ml_status {
        if (c.graphs.count(graph) == 0) return fail(ML_INVALID_ARGUMENT, "%s: graph: not a live graph of this context", op);
        if (graph->generation != c.generation()) {
            return fail(ML_INVALID_ARGUMENT, "%s: graph: memory it may use has gone since it was recorded (a buffer or a weight was freed, "
                        "or scratch memory moved); destroy it and record anew", op);
        }
        return c.backend.graphs->launch(c, graph->recorded);
    });
}

int32_t ml_graph_destroy(ml_context *context, ml_graph *graph) {
    return unrecordable(context, "ml_graph_destroy", [&](Context &c) -> ml_status {
        if (graph == nullptr) return ML_OK;
        if (c.graphs.erase(graph) == 0) return fail(ML_INVALID_ARGUMENT, "ml_graph_destroy: graph: not a live graph of this context");
        c.backend.graphs->destroy(c, graph->recorded);
        delete graph;
        return ML_OK;
    });
}

// Graphs: ops recorded between ml_graph_begin and ml_graph_end, run again by ml_graph_launch. A plan of their scratch memory is
// a recording of which only the sizes are kept.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

#include "metalora.h"

struct ml_graph {
    uint64_t generation;  // of the context's memory when it was recorded
    void *recorded;       // the backend's own
};

namespace metalora {

// What a backend that can record does. While it records, ops are called as always.
struct GraphTable {
    ml_status (*begin)(ml_context &);
    ml_status (*end)(ml_context &, void **recorded);  // recorded == nullptr: throws what was recorded away
    ml_status (*launch)(ml_context &, void *recorded);
    void (*destroy)(ml_context &, void *recorded);
};

// What a context knows between begin and end.
struct Recording {
    bool active = false;
    bool plan = false;              // between ml_plan_begin and ml_plan_end instead
    std::thread::id thread;         // that began it: nobody else's calls belong to it, and CUDA ends a capture in its thread
    ml_status status = ML_OK;       // of the first op that failed
    std::string text;
    const char *missing = nullptr;  // what the running op lacks and a run outside of a recording would have brought
    size_t most_scratch = 0;        // of a plan: what the largest op takes,
    std::string largest;            // and that op with its shapes

    // What is under way, and the call that ends it.
    const char *what() const { return plan ? "scratch memory is being planned" : "a graph is being recorded"; }
    const char *ending() const { return plan ? "ml_plan_end" : "ml_graph_end"; }

    void start(bool of_plan);

    // The outcome of a recorded op, whose failure is then the recording's.
    ml_status note(const char *op, ml_status outcome);

    // An op of a plan takes so much scratch memory; shapes() gives the text of its shapes.
    template <class Shapes> void note_scratch(size_t bytes, const char *op, const Shapes &shapes) {
        if (bytes <= most_scratch) return;
        most_scratch = bytes;
        largest = std::string(op) + " (" + shapes() + ")";
    }
};

}  // namespace metalora

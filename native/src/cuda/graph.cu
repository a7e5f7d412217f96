#include "cuda/graph.h"

#include "cuda/entered.h"
#include "cuda/status.h"

namespace metalora {
namespace cuda {

namespace {

// A call of the thread that CUDA cannot record (an allocation, a wait) then fails and spoils the capture, should one of the
// ops make it after all.
ml_status begin(Context &c) {
    const Entered s(c);
    return status_of(cudaStreamBeginCapture(s->stream, cudaStreamCaptureModeThreadLocal), "ml_graph_begin");
}

ml_status end(Context &c, void **recorded) {
    const Entered s(c);
    cudaGraph_t graph = nullptr;
    cudaError_t error = cudaStreamEndCapture(s->stream, &graph);
    cudaGraphExec_t executable = nullptr;
    if (error == cudaSuccess && recorded != nullptr) error = cudaGraphInstantiate(&executable, graph, 0);
    if (graph != nullptr) cudaGraphDestroy(graph);
    if (recorded != nullptr) *recorded = executable;
    return status_of(error, "ml_graph_end");
}

ml_status launch_recorded(Context &c, void *recorded) {
    const Entered s(c);
    return status_of(cudaGraphLaunch(static_cast<cudaGraphExec_t>(recorded), s->stream), "ml_graph_launch");
}

// One that still runs goes when it has.
void destroy(Context &c, void *recorded) {
    const Entered s(c);
    cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(recorded));
}

}  // namespace

const GraphTable *graph_table() {
    static const GraphTable table = {begin, end, launch_recorded, destroy};
    return &table;
}

}  // namespace cuda
}  // namespace metalora

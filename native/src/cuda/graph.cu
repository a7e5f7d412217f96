#include "cuda/graph.h"

#include "core/error.h"
#include "cuda/entered.h"

namespace metalora {
namespace cuda {

namespace {

ml_status status_of(cudaError_t error, const char *op) {
    if (error == cudaSuccess) return ML_OK;
    cudaGetLastError();  // what a capture meets is not the next call's
    return fail(error == cudaErrorMemoryAllocation ? ML_OUT_OF_MEMORY : ML_INTERNAL, "%s: CUDA: %s", op, cudaGetErrorString(error));
}

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

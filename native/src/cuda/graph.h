// Recorded ops as CUDA graphs: the stream is captured between begin and end (CUDA C++ Programming Guide, "Stream Capture").
#pragma once

#include "core/graph.h"

namespace metalora {
namespace cuda {

const GraphTable *graph_table();

}  // namespace cuda
}  // namespace metalora

// The op tables of the instruction sets the library was built for.
#pragma once

#include "core/op_table.h"

namespace metalora {

namespace portable { extern const OpTable table; }
namespace avx2 { extern const OpTable table; }
namespace avx512 { extern const OpTable table; }

}  // namespace metalora

// A place in scratch memory: what was taken after it can be given back before the op ends, of several marks the latest first.
#pragma once

#include <stddef.h>

namespace metalora {

struct ScratchMark {
    size_t blocks, used, planned;
};

}  // namespace metalora

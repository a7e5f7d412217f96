#include "core/blas.h"

namespace metalora {

const Blas *blas() { return nullptr; }

}  // namespace metalora

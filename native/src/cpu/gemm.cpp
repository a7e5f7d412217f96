#include "cpu/ops.h"

namespace metalora {
namespace METALORA_ISA {

}  // namespace METALORA_ISA
}  // namespace metalora

// The seam to cuBLASLt. It is looked for when a context opens, and everything works without it. In tests its place is taken by
// loops that round as it does (test/hostcuda/library.cpp).
#pragma once

#include <memory>
#include <string>

#include "cuda/product.h"

namespace metalora {
namespace cuda {

class Library {
public:
    virtual ~Library() = default;
    virtual std::string name() const = 0;
    // A product of one factor of bf16 operands, without slots, parts, bias, dropout and rounded copy. Its plan is kept.
    virtual cudaError_t product(const Product &, cudaStream_t) = 0;
};

// nullptr, and why, when there is none.
std::unique_ptr<Library> open_library(std::string &why);

}  // namespace cuda
}  // namespace metalora

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
    // Algorithms that it has for a product, the one it expects most of first; 0: it cannot do it.
    virtual int algorithms(const Product &, bool has_bias) = 0;
    // A product of one factor of bf16 operands, without slots, parts, dropout and rounded copy; bias: [n], nullable, in place of the
    // product's own. Plans are kept.
    virtual cudaError_t product(const Product &, const bf16 *bias, int algorithm, cudaStream_t) = 0;
    // What was wrong with the last product, in its own words; "": nothing.
    virtual const char *problem() const = 0;
    virtual void forget_problem() = 0;
};

// nullptr, and why, when there is none.
std::unique_ptr<Library> open_library(std::string &why);

}  // namespace cuda
}  // namespace metalora

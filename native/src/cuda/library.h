// cuBLASLt behind an interface. It is looked for when a context opens; everything works without it. In tests, loops that round as it
// does stand in for it (test/hostcuda/library.cpp).
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
    // Number of algorithms that it has for a product, in the order of its own estimate; 0: it has none.
    virtual int algorithms(const Product &, bool has_bias) = 0;
    // A product of one factor of bf16 operands, without slots, parts, dropout and rounded copy; bias: [n], nullable, in place of the
    // product's own. Plans are kept.
    virtual cudaError_t product(const Product &, const bf16 *bias, int algorithm, cudaStream_t) = 0;
    // The error of the last product in cuBLASLt's words; "": none.
    virtual const char *problem() const = 0;
    virtual void forget_problem() = 0;
};

// nullptr, and why, when there is none.
std::unique_ptr<Library> open_library(std::string &why);

}  // namespace cuda
}  // namespace metalora

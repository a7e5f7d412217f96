// Which form of a matmul was measured to be faster, by shape. Kept in a file for each device and build of these kernels, so that
// another run takes the same forms and gives the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>

namespace metalora {
namespace cuda {

struct MatmulShape {
    int64_t rows, n, k, rank, slots;
    bool transposed;
    bool copies;  // the library's form has to put the adapters' columns beside x first
    bool bias;
    int32_t out_dtype;
    bool adds;  // a residual, or to what is there
    auto key() const { return std::make_tuple(rows, n, k, rank, slots, transposed, copies, bias, out_dtype, adds); }
    bool operator<(const MatmulShape &other) const { return key() < other.key(); }
};

struct MatmulChoice {
    static constexpr float kCannot = -1;  // the library has no kernel for it
    // Near ties are the library's, so that measuring anew, where nothing is kept, gives the same choice.
    static constexpr float kBy = 0.97f;
    float own_ms, library_ms;
    int algorithm;  // of the library's for so many rows, the one with that time
    int64_t rows;
    bool own() const { return library_ms < 0 || own_ms < kBy * library_ms; }
};

class MatmulChoices {
public:
    // `device` and `library` name what a measurement holds for. No folder: nothing is kept.
    void open(const std::string &folder, const std::string &device, const std::string &library);
    const MatmulChoice *find(const MatmulShape &) const;
    const MatmulChoice *add(const MatmulShape &, const MatmulChoice &);
    size_t size() const { return choices_.size(); }
    size_t own() const;

private:
    void read();
    void make_folder() const;
    void save();
    std::string file_, title_;
    std::map<MatmulShape, MatmulChoice> choices_;
};

// $XDG_CACHE_HOME/metalora or ~/.cache/metalora; empty where neither is known, and in tests.
std::string cache_folder();

}  // namespace cuda
}  // namespace metalora

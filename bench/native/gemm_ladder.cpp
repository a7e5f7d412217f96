// The ladder of GEMM micro-kernels: what a tile of rows x columns reaches by itself, its operands in cache, beside registers
// alone. It says which tile is worth building for a processor before anything is packed for it.
//   c++ -O3 -std=c++17 -mavx2 -mfma -mavx512f -mavx512bf16 bench/native/gemm_ladder.cpp -o build/gemm_ladder
//   build/gemm_ladder
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace {

// How many floats a register has, how many products of a sum one instruction adds, and that instruction. The statements keep
// every accumulator in its register, as those of the library do.
struct Avx2 {
    typedef __m256 Vec;
    static constexpr int width = 8, products = 1;
    static Vec load(const float *p) { return _mm256_loadu_ps(p); }
    static Vec broadcast(const float *p) { return _mm256_broadcast_ss(p); }
    static void store(float *p, Vec v) { _mm256_storeu_ps(p, v); }
    static void accumulate(Vec &sum, Vec a, Vec b) { __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)); }
};

struct Avx512 {
    typedef __m512 Vec;
    static constexpr int width = 16, products = 1;
    static Vec load(const float *p) { return _mm512_loadu_ps(p); }
    static Vec broadcast(const float *p) { return _mm512_set1_ps(*p); }
    static void store(float *p, Vec v) { _mm512_storeu_ps(p, v); }
    static void accumulate(Vec &sum, Vec a, Vec b) { __asm__("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)); }
};

// Pairs of bf16 numbers in place of floats.
struct Avx512Bf16 : Avx512 {
    static constexpr int products = 2;
    static void accumulate(Vec &sum, Vec a, Vec b) { __asm__("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)); }
};

constexpr int kSteps = 256;

// sums[row][column] of kSteps steps: a[row][step] times b[step][column].
template <class Isa, int Rows, int Vectors>
void tile(const float *a, const float *b, float *sums) {
    typename Isa::Vec acc[Rows][Vectors];
#pragma GCC unroll 16
    for (int row = 0; row < Rows; row++)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; v++) acc[row][v] = typename Isa::Vec{};
#pragma GCC unroll 4
    for (int step = 0; step < kSteps; step++) {
        typename Isa::Vec column[Vectors];
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; v++) column[v] = Isa::load(b + (step * Vectors + v) * Isa::width);
#pragma GCC unroll 16
        for (int row = 0; row < Rows; row++) {
            const auto x = Isa::broadcast(a + row * kSteps + step);
#pragma GCC unroll 4
            for (int v = 0; v < Vectors; v++) Isa::accumulate(acc[row][v], x, column[v]);
        }
    }
#pragma GCC unroll 16
    for (int row = 0; row < Rows; row++)
#pragma GCC unroll 4
        for (int v = 0; v < Vectors; v++) Isa::store(sums + (row * Vectors + v) * Isa::width, acc[row][v]);
}

// As many independent sums as hide the instruction's latency, nothing loaded.
template <class Isa>
void registers(const float *a, const float *b, float *sums) {
    constexpr int count = 14;
    typename Isa::Vec acc[count], x = Isa::load(a), y = Isa::load(b);
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) acc[i] = typename Isa::Vec{};
    for (int step = 0; step < kSteps; step++)
#pragma GCC unroll 16
        for (int i = 0; i < count; i++) Isa::accumulate(acc[i], x, y);
#pragma GCC unroll 16
    for (int i = 0; i < count; i++) Isa::store(sums + i * Isa::width, acc[i]);
}

struct Kernel {
    const char *name;
    void (*run)(const float *, const float *, float *);
    double flop;
    std::vector<double> seconds{};
};

template <class Isa, int Rows, int Vectors>
Kernel kernel(const char *name) {
    return {name, tile<Isa, Rows, Vectors>, 2.0 * kSteps * Rows * Vectors * Isa::width * Isa::products};
}

template <class Isa>
Kernel peak(const char *name) {
    return {name, registers<Isa>, 2.0 * kSteps * 14 * Isa::width * Isa::products};
}

}  // namespace

int main() {
    std::vector<Kernel> kernels = {
        peak<Avx2>("AVX2, registers alone"),
        kernel<Avx2, 6, 2>("AVX2 6 x 16"),
    };
    if (__builtin_cpu_supports("avx512f")) {
        kernels.push_back(peak<Avx512>("AVX-512, registers alone"));
        kernels.push_back(kernel<Avx512, 14, 1>("AVX-512 14 x 16"));
        kernels.push_back(kernel<Avx512, 12, 2>("AVX-512 12 x 32"));
        kernels.push_back(kernel<Avx512, 14, 2>("AVX-512 14 x 32"));
        kernels.push_back(kernel<Avx512, 8, 3>("AVX-512 8 x 48"));
    }
    if (__builtin_cpu_supports("avx512bf16")) {
        kernels.push_back(peak<Avx512Bf16>("bf16 pairs, registers alone"));
        kernels.push_back(kernel<Avx512Bf16, 14, 1>("bf16 pairs 14 x 16"));
        kernels.push_back(kernel<Avx512Bf16, 12, 2>("bf16 pairs 12 x 32"));
        kernels.push_back(kernel<Avx512Bf16, 14, 2>("bf16 pairs 14 x 32"));
        kernels.push_back(kernel<Avx512Bf16, 8, 3>("bf16 pairs 8 x 48"));
    }
    alignas(64) static float a[14 * kSteps], b[kSteps * 48], sums[14 * 48];  // zeros: a number's value does not change the time
    constexpr int calls = 2000, turns = 41;
    for (int turn = 0; turn < turns; turn++) {
        for (Kernel &k : kernels) {
            const auto start = std::chrono::steady_clock::now();
            for (int i = 0; i < calls; i++) k.run(a, b, sums);
            k.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / calls);
        }
    }
    std::printf("| micro-kernel, operands in cache, 1 thread | GFLOP/s |\n| --- | ---: |\n");
    for (Kernel &k : kernels) {
        std::nth_element(k.seconds.begin(), k.seconds.begin() + turns / 2, k.seconds.end());
        std::printf("| %s | %.0f |\n", k.name, 1e-9 * k.flop / k.seconds[turns / 2]);
    }
}

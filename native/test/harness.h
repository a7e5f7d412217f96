// A small test harness: registered tests, contexts over every instruction set and thread count, guarded buffers,
// error measures. A failure prints the test, the case (op, shape, instruction set, threads) and what was wrong.
//
// The same tests run on the CUDA backend with --cuda f32, bf16, bf16-cublaslt or bf16-measured: on a GPU, or where METALORA_CUDA_LIBRARY is the
// kernels compiled for the CPU (hostcuda/), there in three orders of threads that have to give the same bits. Bounds are
// then 1e-5 and 1e-2, and with bf16 every random number is one that bf16 can hold, so that inputs are exact.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "metalora.h"

namespace test {

// ---- tests ------------------------------------------------------------------------------------------------------

bool add(const char *name, void (*body)());
void fail(const char *file, int line, const std::string &what);
std::string format(const char *text, ...) __attribute__((format(printf, 1, 2)));

// Says which case runs while it is in scope; cases nest.
class Case {
public:
    explicit Case(std::string what);
    ~Case();
    Case(const Case &) = delete;
    Case &operator=(const Case &) = delete;
};

#define TEST(name)                                          \
    static void name();                                     \
    static const bool registered_##name = test::add(#name, name); \
    static void name()

#define EXPECT(condition) \
    do { if (!(condition)) test::fail(__FILE__, __LINE__, #condition); } while (0)

#define EXPECT_OK(call) test::expect_status(__FILE__, __LINE__, #call, (call), ML_OK, "")

// The call must fail with ML_INVALID_ARGUMENT, and the text must name the field.
#define EXPECT_INVALID(call, field) test::expect_status(__FILE__, __LINE__, #call, (call), ML_INVALID_ARGUMENT, field)

#define EXPECT_STATUS(call, status, text) test::expect_status(__FILE__, __LINE__, #call, (call), status, text)

// Relative L2 error of `actual` (float) against `expected` (double), at most `bound`.
// Anything but the same bits in every order of a kernel's threads fails too.
#define EXPECT_CLOSE(what, actual, expected, most) test::expect_close(__FILE__, __LINE__, what, actual, expected, test::bound(most))

// The same of what is float on every backend and made from exact inputs alone: bf16 activations are no excuse.
#define EXPECT_CLOSE_FLOAT(what, actual, expected, most) \
    test::expect_close(__FILE__, __LINE__, what, actual, expected, test::float_bound(most))

#define EXPECT_SAME_BITS(what, a, b) test::expect_same_bits(__FILE__, __LINE__, what, a, b)

void expect_status(const char *file, int line, const char *call, int32_t status, int32_t expected, const char *text);
void expect_close(const char *file, int line, const char *what, const std::vector<float> &actual,
                  const std::vector<double> &expected, double bound);

template <class T>
void expect_same_bits(const char *file, int line, const char *what, const std::vector<T> &a, const std::vector<T> &b) {
    if (a.size() != b.size() || (!a.empty() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) != 0)) {
        fail(file, line, std::string(what) + ": the bits differ");
    }
}

// ---- devices ----------------------------------------------------------------------------------------------------

struct Setup {
    std::string isa;  // CPU
    int threads;
    int order;        // CUDA on the CPU: which order threads run in
    int32_t arithmetic = ML_F32;  // CPU
};

// Every instruction set this machine has, with 1, 2 and 3 threads; on CUDA, every order of threads. Fewer of them under sanitizers.
const std::vector<Setup> &setups();

bool on_cuda();
int32_t activation_dtype();
bool is_measured();  // products take the form that was measured to be the faster one

// A bound of the CPU's, or what the backend under test has to keep: of activations, and of what is float there too.
double bound(double of_the_cpu);
double float_bound(double of_the_cpu);

// A float as an activation holds it.
float as_activation(float value);
std::vector<float> as_activations(std::vector<float> values);

class Device {
public:
    explicit Device(const Setup &setup);
    ~Device();
    Device(const Device &) = delete;
    Device &operator=(const Device &) = delete;
    operator ml_context *() const { return context_; }

private:
    ml_context *context_ = nullptr;
    Device *outer_;
    Case case_;
};

// Whether a case of so many multiplications would take the kernels compiled for the CPU too long.
bool too_slow(double multiplications);

// What the kernels compiled for the CPU offer beside the backend; nullptr on a GPU.
void *standin(const char *symbol);

// Runs body on every setup.
void on_every_device(const std::function<void(Device &)> &body);

// On every setup of the CPU, in bf16 arithmetic; on none of CUDA, where it is a matter of activations.
void on_every_cpu_in_bf16(const std::function<void(Device &)> &body);

constexpr size_t kGuardBytes = 128;
constexpr unsigned char kGuard = 0xA5;

// Device memory with a guard behind it that must survive. Starts as rubbish (NaN for floats), not as zeros.
template <class T>
class Buffer {
public:
    Buffer(Device &device, size_t count) : device_(device), count_(count) {
        EXPECT_OK(ml_alloc(device, static_cast<int64_t>(bytes() + kGuardBytes), &pointer_));
        std::vector<unsigned char> rubbish(bytes() + kGuardBytes, 0xFF);
        std::memset(rubbish.data() + bytes(), kGuard, kGuardBytes);
        EXPECT_OK(ml_upload(device, pointer_, rubbish.data(), static_cast<int64_t>(rubbish.size())));
    }
    Buffer(Device &device, const std::vector<T> &values) : Buffer(device, values.size()) { write(values); }
    ~Buffer() {
        std::vector<unsigned char> guard(kGuardBytes);
        EXPECT_OK(ml_download(device_, guard.data(), static_cast<char *>(pointer_) + bytes(), kGuardBytes));
        bool intact = true;
        for (unsigned char byte : guard) intact = intact && byte == kGuard;
        if (!intact) fail(__FILE__, __LINE__, "an op wrote past the end of a buffer");
        EXPECT_OK(ml_free(device_, pointer_));
    }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;

    operator T *() const { return static_cast<T *>(pointer_); }
    T *at(size_t index) const { return static_cast<T *>(pointer_) + index; }
    size_t size() const { return count_; }
    void write(const std::vector<T> &values) {
        EXPECT(values.size() == count_);
        EXPECT_OK(ml_upload(device_, pointer_, values.data(), static_cast<int64_t>(bytes())));
    }
    std::vector<T> read() const {
        std::vector<T> values(count_);
        EXPECT_OK(ml_download(device_, values.data(), pointer_, static_cast<int64_t>(bytes())));
        return values;
    }

private:
    size_t bytes() const { return count_ * sizeof(T); }
    Device &device_;
    size_t count_;
    void *pointer_ = nullptr;
};

// The same in the context's type of activations; values go in and come out as floats.
class Activations {
public:
    Activations(Device &device, size_t count) : count_(count) {
        if (activation_dtype() == ML_BF16) half_ = std::make_unique<Buffer<uint16_t>>(device, count);
        else full_ = std::make_unique<Buffer<float>>(device, count);
    }
    Activations(Device &device, const std::vector<float> &values) : Activations(device, values.size()) { write(values); }

    operator void *() const { return at(0); }
    void *at(size_t index) const { return half_ ? static_cast<void *>(half_->at(index)) : full_->at(index); }
    size_t size() const { return count_; }
    void write(const std::vector<float> &values);
    std::vector<float> read() const;

private:
    size_t count_;
    std::unique_ptr<Buffer<float>> full_;
    std::unique_ptr<Buffer<uint16_t>> half_;
};

// Rows of activations with columns between them that are NaN: an op that reads these shows, and so does one that writes to them.
class Strided {
public:
    Strided(Device &device, int64_t rows, int64_t width, int64_t between)
        : rows_(rows), width_(width), stride_(width + between), values_(device, static_cast<size_t>(rows * stride_)) {}
    Strided(Device &device, int64_t width, int64_t between, const std::vector<float> &values)
        : Strided(device, static_cast<int64_t>(values.size()) / width, width, between) { write(values); }

    operator void *() const { return values_; }
    void *at(int64_t column) const { return values_.at(static_cast<size_t>(column)); }
    int64_t stride() const { return stride_; }
    void write(const std::vector<float> &values);
    // `spare`: columns behind a row that may have been written to.
    std::vector<float> read(int64_t spare = 0) const;

private:
    int64_t rows_, width_, stride_;
    Activations values_;
};

// ---- numbers ----------------------------------------------------------------------------------------------------

// Numbers are the same in every run, unless METALORA_TEST_SEED names others; a failure tells it.
class Random {
public:
    explicit Random(uint64_t seed);
    uint64_t bits();
    double uniform();                 // [0, 1)
    int64_t below(int64_t n);         // [0, n)
    std::vector<float> normal(size_t count, double deviation = 1);

private:
    uint64_t state_;
};

// To the nearest bfloat16, ties to even.
uint16_t to_bf16(float x);
float from_bf16(uint16_t x);

std::vector<double> wide(const std::vector<float> &values);
std::vector<float> narrow(const std::vector<double> &values);

// Gradient of `loss` at `point` by central differences, one coordinate at a time.
std::vector<double> numeric_gradient(std::vector<double> point, const std::function<double(const std::vector<double> &)> &loss);

double dot(const std::vector<double> &a, const std::vector<double> &b);

}  // namespace test

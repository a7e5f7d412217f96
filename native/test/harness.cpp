#include "harness.h"

#include <dlfcn.h>

#include <cstdarg>
#include <algorithm>
#include <cstdlib>

namespace test {

namespace {

struct Registered {
    const char *name;
    void (*body)();
};

std::vector<Registered> &tests() {
    static std::vector<Registered> all;
    return all;
}

std::vector<std::string> cases;
int failures = 0;
constexpr int kMaxPrinted = 25;

const char *cuda = nullptr;    // "f32", "bf16", "bf16-cublaslt" or "bf16-measured"
Device *current = nullptr;     // the device opened last
constexpr int kSkipped = 77;   // what ctest takes as skipped

// What a test has measured on the first of its setups, to be met by the others.
std::vector<std::vector<float>> trail;
size_t trail_at = 0;
bool trail_first = false, on_trail = false;

// Shapes of products that took our own form when measured, and all of them, over all contexts.
int own_forms = 0, measured_forms = 0;

}  // namespace

bool add(const char *name, void (*body)()) {
    tests().push_back({name, body});
    return true;
}

void fail(const char *file, int line, const std::string &what) {
    if (++failures > kMaxPrinted) return;
    std::string where;
    for (auto &one : cases) where += (where.empty() ? "" : ", ") + one;
    std::fprintf(stderr, "FAILED %s:%d [%s]: %s\n", file, line, where.c_str(), what.c_str());
    if (std::getenv("HOSTCUDA_SKIP_BARRIER") != nullptr) std::_Exit(1);  // one failure is what was asked for
}

std::string format(const char *text, ...) {
    char buffer[512];
    va_list arguments;
    va_start(arguments, text);
    std::vsnprintf(buffer, sizeof buffer, text, arguments);
    va_end(arguments);
    return buffer;
}

Case::Case(std::string what) { cases.push_back(std::move(what)); }
Case::~Case() { cases.pop_back(); }

void expect_status(const char *file, int line, const char *call, int32_t status, int32_t expected, const char *text) {
    // Contents are looked at on the device, and found wrong when the host waits.
    if (status == ML_OK && expected == ML_INVALID_ARGUMENT && on_cuda() && current != nullptr) status = ml_synchronize(*current);
    if (status != expected) {
        fail(file, line, format("%s gave %s (%s), not %s", call, ml_status_name(status), ml_last_error(),
                                ml_status_name(expected)));
    } else if (*text != 0 && std::strstr(ml_last_error(), text) == nullptr) {
        fail(file, line, format("%s: the error text \"%s\" does not name \"%s\"", call, ml_last_error(), text));
    }
}

void expect_close(const char *file, int line, const char *what, const std::vector<float> &actual,
                  const std::vector<double> &expected, double bound) {
    if (actual.size() != expected.size()) return fail(file, line, format("%s: sizes differ", what));
    if (on_trail && trail_first) trail.push_back(actual);
    if (on_trail && !trail_first) {
        if (trail_at >= trail.size()) return fail(file, line, format("%s: not measured in the first order", what));
        expect_same_bits(file, line, what, trail[trail_at++], actual);
    }
    double error = 0, norm = 0;
    for (size_t i = 0; i < actual.size(); i++) {
        const double difference = actual[i] - expected[i];
        error += difference * difference;
        norm += expected[i] * expected[i];
    }
    // An expected zero has no scale of its own: it must come out as exactly zero.
    const double relative = error == 0 ? 0 : std::sqrt(error / norm);
    if (!(relative <= bound)) fail(file, line, format("%s: relative L2 error %.3g, at most %.3g", what, relative, bound));
}

// Whether the processor has what a path needs, asked independently of the library.
static bool expected(const std::string &isa) {
#if defined(__x86_64__)
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa == "avx2") return avx2;
    if (isa == "avx512") {
        return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    }
#endif
    return isa == "portable";
}

bool on_cuda() { return cuda != nullptr; }

int32_t activation_dtype() { return on_cuda() && std::strncmp(cuda, "bf16", 4) == 0 ? ML_BF16 : ML_F32; }

bool is_measured() { return on_cuda() && std::strcmp(cuda, "bf16-measured") == 0; }

static int32_t matmul() { return is_measured() ? ML_MATMUL_MEASURED : std::strcmp(cuda, "bf16-cublaslt") == 0 ? ML_MATMUL_CUBLASLT : ML_MATMUL_OWN; }

double bound(double of_the_cpu) { return std::max(of_the_cpu, !on_cuda() ? 0 : activation_dtype() == ML_BF16 ? 1e-2 : 1e-5); }

double float_bound(double of_the_cpu) { return std::max(of_the_cpu, on_cuda() ? 1e-5 : 0); }

float as_activation(float value) { return activation_dtype() == ML_BF16 ? from_bf16(to_bf16(value)) : value; }

std::vector<float> as_activations(std::vector<float> values) {
    for (float &value : values) value = as_activation(value);
    return values;
}

void *standin(const char *symbol) {
    const char *path = std::getenv("METALORA_CUDA_LIBRARY");
    void *library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW | RTLD_NOLOAD);
    return library == nullptr ? nullptr : dlsym(library, symbol);
}

bool too_slow(double multiplications) {
#ifdef METALORA_SANITIZE
    constexpr double most = 1.5e6;
#else
    constexpr double most = 1.5e7;
#endif
    return multiplications > most && standin("hostcuda_set_order") != nullptr;
}

const std::vector<Setup> &setups() {
    static const std::vector<Setup> all = [] {
        std::vector<Setup> found;
        if (on_cuda()) {
            const int orders = standin("hostcuda_set_order") == nullptr ? 1 : 3;
#ifdef METALORA_SANITIZE
            const int first = orders - 1;  // which memory is touched does not depend on the order; the last one defers work, too
#else
            const int first = 0;
#endif
            for (int order = first; order < orders; order++) found.push_back({"", 0, order});
            return found;
        }
        for (const char *isa : {"portable", "avx2", "avx512"}) {
            ml_context_options options{};
            options.threads = 1;
            options.isa = isa;
            ml_context *context = nullptr;
            const int32_t status = ml_context_create(&options, &context);
            if (status != ML_OK && !expected(isa)) {
                std::printf("skipping %s: %s\n", isa, ml_last_error());
                continue;
            }
            if (status != ML_OK) {  // or all its tests would be gone, and nobody would see
                std::fprintf(stderr, "%s: %s\n", isa, ml_last_error());
                std::abort();
            }
            ml_context_destroy(context);
#if defined(__SANITIZE_THREAD__)
            for (int threads : {3}) found.push_back({isa, threads, 0});  // one has nobody to race with
#elif defined(METALORA_SANITIZE)
            for (int threads : {1, 3}) found.push_back({isa, threads, 0});  // the most and the fewest rows of a thread
#else
            for (int threads : {1, 2, 3}) found.push_back({isa, threads, 0});
#endif
        }
        return found;
    }();
    return all;
}

static std::string name_of(const Setup &setup) {
    if (on_cuda()) return format("CUDA, %s, order %d", cuda, setup.order);
    return format("%s, %d threads", setup.isa.c_str(), setup.threads) + (setup.arithmetic == ML_BF16 ? ", bf16 arithmetic" : "");
}

Device::Device(const Setup &setup)
    : outer_(current), case_(name_of(setup)) {
    ml_context_options options{};
    if (on_cuda()) {
        options.backend = ML_BACKEND_CUDA;
        options.activation_dtype = activation_dtype();
        options.matmul = matmul();
        if (void *set_order = standin("hostcuda_set_order")) reinterpret_cast<void (*)(int)>(set_order)(setup.order);
    } else {
        options.threads = setup.threads;
        options.isa = setup.isa.c_str();
        options.arithmetic = setup.arithmetic;
    }
    EXPECT_OK(ml_context_create(&options, &context_));
    current = this;
}

Device::~Device() {
    ml_context_info info{};
    int own = 0, all = 0;
    EXPECT_OK(ml_context_get_info(context_, &info));
    const char *measured = std::strstr(info.blas, "own kernels for ");
    if (measured != nullptr && std::sscanf(measured, "own kernels for %d of %d", &own, &all) == 2) own_forms += own, measured_forms += all;
    EXPECT_OK(ml_context_destroy(context_));
    current = outer_;
}

void on_every_device(const std::function<void(Device &)> &body) {
    for (auto &setup : setups()) {
        trail_first = &setup == &setups().front(), trail_at = 0, on_trail = on_cuda();
        if (trail_first) trail.clear();
        Device device(setup);
        body(device);
        on_trail = false;
    }
}

void on_every_cpu_in_bf16(const std::function<void(Device &)> &body) {
    if (on_cuda()) return;
    for (Setup setup : setups()) {
        setup.arithmetic = ML_BF16;
        Device device(setup);
        body(device);
    }
}

void Activations::write(const std::vector<float> &values) {
    if (full_) return full_->write(values);
    std::vector<uint16_t> bits;
    for (float value : values) bits.push_back(to_bf16(value));
    half_->write(bits);
}

std::vector<float> Activations::read() const {
    if (full_) return full_->read();
    std::vector<float> values;
    for (uint16_t bits : half_->read()) values.push_back(from_bf16(bits));
    return values;
}

void Strided::write(const std::vector<float> &values) {
    EXPECT(values.size() == static_cast<size_t>(rows_ * width_));
    std::vector<float> spread(static_cast<size_t>(rows_ * stride_), NAN);
    for (int64_t row = 0; row < rows_; row++) std::copy_n(values.begin() + row * width_, width_, spread.begin() + row * stride_);
    values_.write(spread);
}

std::vector<float> Strided::read(int64_t spare) const {
    const std::vector<float> spread = values_.read();
    std::vector<float> values;
    bool intact = true;
    for (int64_t row = 0; row < rows_; row++) {
        const auto from = spread.begin() + row * stride_;
        values.insert(values.end(), from, from + width_);
        for (int64_t i = width_ + spare; i < stride_; i++) intact = intact && std::isnan(from[i]);
    }
    if (!intact) fail(__FILE__, __LINE__, "an op wrote between the rows of a matrix");
    return values;
}

uint16_t to_bf16(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

float from_bf16(uint16_t x) {
    const uint32_t bits = static_cast<uint32_t>(x) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t seed_of_run() {
    const char *seed = std::getenv("METALORA_TEST_SEED");
    return seed == nullptr ? 0 : std::strtoull(seed, nullptr, 10);
}

Random::Random(uint64_t seed) : state_((seed + seed_of_run() * 0x2545F4914F6CDD1Dull) * 0x9E3779B97F4A7C15ull + 1) {}

// splitmix64 (Steele, Lea and Flood 2014)
uint64_t Random::bits() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

double Random::uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

int64_t Random::below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }

std::vector<float> Random::normal(size_t count, double deviation) {
    std::vector<float> values(count);
    for (auto &value : values) {
        const double radius = std::sqrt(-2 * std::log(1 - uniform()));
        value = as_activation(static_cast<float>(deviation * radius * std::cos(2 * 3.14159265358979323846 * uniform())));
    }
    return values;
}

std::vector<double> wide(const std::vector<float> &values) { return {values.begin(), values.end()}; }

std::vector<float> narrow(const std::vector<double> &values) { return {values.begin(), values.end()}; }

std::vector<double> numeric_gradient(std::vector<double> point,
                                     const std::function<double(const std::vector<double> &)> &loss) {
    const double step = 1e-5;
    std::vector<double> gradient(point.size());
    for (size_t i = 0; i < point.size(); i++) {
        const double at = point[i];
        point[i] = at + step;
        const double above = loss(point);
        point[i] = at - step;
        const double below = loss(point);
        point[i] = at;
        gradient[i] = (above - below) / (2 * step);
    }
    return gradient;
}

double dot(const std::vector<double> &a, const std::vector<double> &b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); i++) sum += a[i] * b[i];
    return sum;
}

}  // namespace test

// [--cuda f32|bf16|bf16-cublaslt|bf16-measured] [part of the names of tests to run]
int main(int argc, char **argv) {
    int run = 0;
    if (argc > 2 && std::strcmp(argv[1], "--cuda") == 0) {
        test::cuda = argv[2];
        argc -= 2, argv += 2;
        if (ml_backend_probe(ML_BACKEND_CUDA) != ML_OK) {
            std::printf("cannot run: %s\n", ml_last_error());
            // The backend itself has to say that there is no device. One that does not load is a failure.
            const bool loads = std::strstr(ml_last_error(), "no CUDA device can be used") != nullptr;
            return std::getenv("METALORA_CUDA_LIBRARY") == nullptr && loads ? test::kSkipped : 1;
        }
        ml_context_options options{};
        options.backend = ML_BACKEND_CUDA, options.activation_dtype = test::activation_dtype(), options.matmul = test::matmul();
        ml_context *context = nullptr;
        const int32_t status = ml_context_create(&options, &context);
        if (status != ML_OK) {
            std::printf("cannot run: %s\n", ml_last_error());
            return status == ML_UNSUPPORTED ? test::kSkipped : 1;
        }
        ml_context_destroy(context);
    }
    for (auto &one : test::tests()) {
        if (argc > 1 && std::strstr(one.name, argv[1]) == nullptr) continue;
        const int before = test::failures;
        {
            test::Case name(one.name);
            one.body();
        }
        std::printf("%s %s\n", test::failures == before ? "ok    " : "FAILED", one.name);
        std::fflush(stdout);
        run++;
    }
    // The stand-in's times make both forms win in turn: a run in which one never did has not tested it.
    if (test::is_measured() && argc == 1 && test::standin("hostcuda_set_order") != nullptr && test::measured_forms > 0
        && (test::own_forms == 0 || test::own_forms == test::measured_forms)) {
        test::fail(__FILE__, __LINE__, test::format("%d of %d products took our own form", test::own_forms, test::measured_forms));
    }
    if (const char *seed = std::getenv("METALORA_TEST_SEED"); seed != nullptr && test::failures > 0) {
        std::fprintf(stderr, "with METALORA_TEST_SEED=%s\n", seed);
    }
    if (test::failures > test::kMaxPrinted) std::fprintf(stderr, "%d failures in all\n", test::failures);
    if (run == 0) std::fprintf(stderr, "no test of that name\n");
    return run > 0 && test::failures == 0 ? 0 : 1;
}

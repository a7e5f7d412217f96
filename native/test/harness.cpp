#include "harness.h"

#include <cstdarg>
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

const std::vector<Setup> &setups() {
    static const std::vector<Setup> all = [] {
        std::vector<Setup> found;
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
            for (int threads : {1, 2, 3}) found.push_back({isa, threads});
        }
        return found;
    }();
    return all;
}

Device::Device(const Setup &setup) : case_(format("%s, %d threads", setup.isa.c_str(), setup.threads)) {
    ml_context_options options{};
    options.threads = setup.threads;
    options.isa = setup.isa.c_str();
    EXPECT_OK(ml_context_create(&options, &context_));
}

Device::~Device() { EXPECT_OK(ml_context_destroy(context_)); }

void on_every_device(const std::function<void(Device &)> &body) {
    for (auto &setup : setups()) {
        Device device(setup);
        body(device);
    }
}

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
        value = static_cast<float>(deviation * radius * std::cos(2 * 3.14159265358979323846 * uniform()));
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

// Runs every test, or those whose names contain the first argument.
int main(int argc, char **argv) {
    int run = 0;
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
    if (test::failures > test::kMaxPrinted) std::fprintf(stderr, "%d failures in all\n", test::failures);
    if (run == 0) std::fprintf(stderr, "no test of that name\n");
    return run > 0 && test::failures == 0 ? 0 : 1;
}

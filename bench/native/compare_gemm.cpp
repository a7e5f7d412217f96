// The products with a frozen weight of two builds of libmetalora, such as with and without a BLAS, or of one build's
// kernels for two instruction sets, taking turns in one process so that what else the machine does hits both alike.
//   c++ -O2 -std=c++17 -Inative/include bench/native/compare_gemm.cpp -ldl -o build/compare_gemm
//   build/compare_gemm FIRST/libmetalora.so[:ISA[:bf16]] SECOND/libmetalora.so[:ISA[:bf16]] [ROWS ...]
// bf16: the weights are held in it and the products are in bf16 arithmetic.
#include <dlfcn.h>
#include <metalora.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <sstream>
#include <string>
#include <vector>

namespace {

[[noreturn]] void die(const char *what, const char *why) {
    std::fprintf(stderr, "%s: %s\n", what, why);
    std::exit(1);
}

struct Library {
    explicit Library(const char *path) : handle(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
        if (handle == nullptr) die(path, dlerror());
    }
    template <class Function>
    Function *find(const char *name) const {
        void *symbol = dlsym(handle, name);
        if (symbol == nullptr) die(name, dlerror());
        return reinterpret_cast<Function *>(symbol);
    }
    void *handle;
};

// One build with its context and as many copies of a weight as push each other out of the last cache, as the weights of
// a whole model do.
class Build {
public:
    // `name` is a path, or a path and an instruction set, or these and bf16: PATH:avx512:bf16.
    Build(const std::string &name, int threads) : library_(part(name, 0).c_str()), bf16_(part(name, 2) == "bf16") {
        const std::string isa = part(name, 1);
        ml_context_options options{};
        options.arithmetic = bf16_ ? ML_BF16 : ML_F32;
        options.threads = threads;
        options.isa = isa.empty() ? nullptr : isa.c_str();
        check(library_.find<decltype(ml_context_create)>("ml_context_create")(&options, &context_));
    }
    ~Build() { check(library_.find<decltype(ml_context_destroy)>("ml_context_destroy")(context_)); }
    Build(const Build &) = delete;
    Build &operator=(const Build &) = delete;

    void hold_weight(const std::vector<float> &w, int64_t out, int64_t in) {
        const auto create = library_.find<decltype(ml_weight_create)>("ml_weight_create");
        const ml_weight_desc desc = {w.data(), ML_F32, bf16_ ? ML_BF16 : ML_F32, out, in, 0};
        weights_.resize(std::max<int64_t>(2, (int64_t(96) << 20) / (out * in * 4)));
        for (auto &weight : weights_) check(create(context_, &desc, &weight));
    }
    void drop_weight() {
        const auto destroy = library_.find<decltype(ml_weight_destroy)>("ml_weight_destroy");
        for (auto *weight : weights_) check(destroy(context_, weight));
        weights_.clear();
    }

    void hold_operands(const std::vector<float> &left, size_t result_size) {
        const auto alloc = library_.find<decltype(ml_alloc)>("ml_alloc");
        check(alloc(context_, bytes(left.size()), &left_));
        check(alloc(context_, bytes(result_size), &result_));
        check(library_.find<decltype(ml_upload)>("ml_upload")(context_, left_, left.data(), bytes(left.size())));
    }
    void drop_operands() {
        const auto free = library_.find<decltype(ml_free)>("ml_free");
        check(free(context_, left_));
        check(free(context_, result_));
    }
    std::vector<float> result(size_t size) const {
        std::vector<float> values(size);
        check(library_.find<decltype(ml_download)>("ml_download")(context_, values.data(), result_, bytes(size)));
        return values;
    }

    // y = x W^T, or with backward dx = dy W; seconds it took.
    double multiply(bool backward, int64_t rows) {
        ml_lora_linear_desc desc{};
        desc.w = weights_[next_++ % weights_.size()];
        desc.tokens = rows;
        const auto op = library_.find<decltype(ml_lora_linear_forward)>(backward ? "ml_lora_linear_backward" : "ml_lora_linear_forward");
        if (backward) desc.dy = left_, desc.dx = result_;
        else desc.x = left_, desc.y = result_;
        const auto start = std::chrono::steady_clock::now();
        check(op(context_, &desc));
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }

    ml_context_info info() const {
        ml_context_info info{};
        check(library_.find<decltype(ml_context_get_info)>("ml_context_get_info")(context_, &info));
        return info;
    }

    bool in_bf16() const { return bf16_; }

private:
    // What stands between two colons of `name`.
    static std::string part(const std::string &name, int index) {
        std::istringstream parts(name);
        std::string found;
        for (int i = 0; i <= index; i++) {
            if (!std::getline(parts, found, ':')) return "";
        }
        return found;
    }
    static int64_t bytes(size_t floats) { return static_cast<int64_t>(floats * sizeof(float)); }
    void check(int32_t status) const {
        if (status != ML_OK) die("metalora", library_.find<decltype(ml_last_error)>("ml_last_error")());
    }
    Library library_;
    bool bf16_;
    ml_context *context_ = nullptr;
    std::vector<ml_weight *> weights_;
    size_t next_ = 0;
    void *left_ = nullptr, *result_ = nullptr;
};

double median(std::vector<double> values) {
    std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
    return values[values.size() / 2];
}

}  // namespace

int main(int argc, char **argv) {
    if (argc < 3) die("usage", "compare_gemm FIRST/libmetalora.so[:ISA[:bf16]] SECOND/libmetalora.so[:ISA[:bf16]] [ROWS ...]");
    std::vector<int64_t> all_rows = {1, 4, 64, 256, 1024};
    if (argc > 3) all_rows.assign(argc - 3, 0);
    for (int i = 3; i < argc; i++) all_rows[i - 3] = std::atoll(argv[i]);
    const int64_t shapes[][2] = {{576, 576}, {192, 576}, {1536, 576}, {576, 1536}, {49152, 576}};  // out, in of SmolLM2-135M
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (int threads : {1, 2}) {
        Build builds[] = {{argv[1], threads}, {argv[2], threads}};
        const ml_context_info infos[] = {builds[0].info(), builds[1].info()};
        std::printf("\n%s, %d thread%s; GFLOP/s, medians\n\n", infos[0].device_name, threads, threads > 1 ? "s" : "");
        std::printf("| product | out x in | rows | %s, %s | %s, %s | ratio |\n| --- | --- | ---: | ---: | ---: | ---: |\n",
                    infos[0].isa, infos[0].blas, infos[1].isa, infos[1].blas);
        for (bool backward : {false, true}) {
            for (auto [out, in] : shapes) {
                std::vector<float> w(out * in);
                for (float &value : w) value = 0.05f * normal(random);
                for (Build &build : builds) build.hold_weight(w, out, in);
                for (int64_t rows : all_rows) {
                    std::vector<float> left(rows * (backward ? out : in));
                    for (float &value : left) value = normal(random);
                    const size_t size = rows * (backward ? in : out);
                    for (Build &build : builds) build.hold_operands(left, size);
                    std::vector<double> seconds[2];
                    double spent = 0;
                    for (int turn = 0; seconds[0].size() < 15 || (spent < 1 && seconds[0].size() < 1000); turn++) {
                        for (int b : {turn % 2, 1 - turn % 2}) {
                            // The first call of a turn finds the other's threads still awake: it isn't counted.
                            builds[b].multiply(backward, rows);
                            const double took = builds[b].multiply(backward, rows);
                            seconds[b].push_back(took);
                            spent += took;
                        }
                    }
                    const auto ours = builds[0].result(size), theirs = builds[1].result(size);
                    const double scale = 0.05 * std::sqrt(double(backward ? out : in));  // of a result
                    const double most = (builds[0].in_bf16() || builds[1].in_bf16() ? 3e-2 : 1e-4) * scale + 1e-3;
                    for (size_t i = 0; i < size; i++) {
                        if (!(std::fabs(ours[i] - theirs[i]) < most)) die("results", "the builds disagree");
                    }
                    for (Build &build : builds) build.drop_operands();
                    const double flop = 2e-9 * double(rows * out * in), first = median(seconds[0]), second = median(seconds[1]);
                    std::printf("| %s | %d x %d | %d | %.1f | %.1f | %.2f |\n", backward ? "dy W" : "x W^T", int(out), int(in),
                                int(rows), flop / first, flop / second, second / first);
                    std::fflush(stdout);
                }
                for (Build &build : builds) build.drop_weight();
            }
        }
    }
}

// Measures the CUDA backend through the C ABI: LoRA linears beside the frozen product alone, the cross-task reduction beside a
// copy, training steps and MeTA-LoRA iterations of Llama shapes. One JSON object a line; null where cuBLASLt is not there.
//   bench_cuda [linear|reduce|step|step-7b|step-8b|meta|all] [--tiny]      --tiny: shapes for trying it out, not for figures
// The frozen product here is cuBLASLt's over a weight as this library keeps it: its rows longer by room for an adapter, aligned to
// 16 bytes. Dense operands may give a faster one, so that bench/gpu/peers.py divides by PyTorch's instead.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <iterator>
#include <map>

#include "decoder.h"

using namespace bench;

namespace {

ml_context *context = nullptr;
bool tiny = false;

// Null where cuBLASLt was asked for and cannot be used.
ml_context *open(int32_t matmul) {
    ml_context_options options{};
    options.backend = ML_BACKEND_CUDA, options.activation_dtype = ML_BF16, options.matmul = matmul;
    ml_context *created = nullptr;
    const int32_t status = ml_context_create(&options, &created);
    if (status == ML_UNSUPPORTED && matmul == ML_MATMUL_CUBLASLT) {
        std::fprintf(stderr, "%s\n", ml_last_error());
        return nullptr;
    }
    check(status, "ml_context_create");
    return created;
}

std::string number(double value, int digits) {
    if (!std::isfinite(value)) return "null";
    char text[64];
    std::snprintf(text, sizeof text, "%.*f", digits, value);
    return text;
}

struct Work {
    ml_context *context;
    std::function<void()> run;
};

double seconds_of(const Work &work, int times) {
    CHECK(ml_synchronize(work.context));
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < times; i++) work.run();
    CHECK(ml_synchronize(work.context));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / times;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// Medians of several works, one repetition of each in turn.
std::vector<double> interleaved(const std::vector<Work> &works, int repetitions, int times) {
    std::vector<std::vector<double>> taken(works.size());
    for (int repetition = 0; repetition <= repetitions; repetition++) {  // the first one warms up
        for (size_t i = 0; i < works.size(); i++) {
            const double seconds = seconds_of(works[i], times);
            if (repetition > 0) taken[i].push_back(seconds);
        }
    }
    std::vector<double> medians;
    for (auto &one : taken) medians.push_back(median(one));
    return medians;
}

enum { kFrozen, kFrozenDx, kForward, kBackward, kBoth, kNorm, kNormForward, kWorks };

// A LoRA linear and the frozen one beside it, in one context, with room for the adapters' columns beside the weight and behind the
// rows that go in, as the runtime has it; and a norm before it, alone and as one op with the linear.
class Linear {
public:
    Linear(ml_context *c, int64_t tokens, int64_t in, int64_t out, int64_t rank, int64_t slots, const std::vector<uint16_t> &values)
        : context(c), spare_(columns(rank, slots)), residual_(c, tokens * in * 2), norm_weight_(c, in * 4), x_(c, tokens * (in + spare_) * 2), y_(c, tokens * out * 2), dy_(c, tokens * (out + spare_) * 2),
          dx_(c, tokens * in * 2), h_(c, tokens * rank * 4), adapters_(c, slots * rank * (in + out) * 4), gradients_(c, slots * rank * (in + out) * 4), offsets_(c, (slots + 1) * 4) {
        ml_weight_desc weight{values.data(), ML_BF16, ML_BF16, out, in, spare_};
        CHECK(ml_weight_create(context, &weight, &w_));
        CHECK(ml_upload(context, x_.get(), values.data(), x_.bytes()));
        CHECK(ml_upload(context, residual_.get(), values.data(), residual_.bytes()));
        norm_weight_.write(std::vector<float>(static_cast<size_t>(in), 0.02f));  // x then is of the size that it was
        CHECK(ml_upload(context, dy_.get(), values.data(), dy_.bytes()));
        adapters_.write(random_floats(slots * rank * (in + out), 0.02f, 7));
        std::vector<int32_t> bounds;
        for (int64_t i = 0; i <= slots; i++) bounds.push_back(static_cast<int32_t>(tokens * i / slots));
        offsets_.write(bounds);
        d_.x = x_.get(), d_.w = w_, d_.y = y_.get(), d_.dy = dy_.get(), d_.dx = dx_.get(), d_.h = h_.floats(), d_.tokens = tokens;
        float *a = adapters_.floats(), *da = gradients_.floats();
        d_.term[0] = {a, a + rank * in, da, da + rank * in, 0, out, 0}, d_.terms = 1;
        d_.slot_offsets = offsets_.ints(), d_.slots = slots, d_.slot_stride = rank * (in + out), d_.rank = rank, d_.scale = 2;
        d_.x_stride = in + spare_;
        back_ = d_;
        d_.spare = back_.spare = spare_, back_.y_stride = out + spare_;
        frozen_ = d_, frozen_back_ = back_;
        frozen_.rank = frozen_back_.rank = 0;
        norm_.x = residual_.get(), norm_.weight = norm_weight_.floats(), norm_.y = x_.get(), norm_.rows = tokens, norm_.width = in, norm_.eps = 1e-5f;
        norm_.out_stride = in + spare_;
    }
    // Columns that the adapters of one product take.
    static int64_t columns(int64_t rank, int64_t slots) { return slots * ((rank + 7) / 8 * 8); }
    ~Linear() { ml_weight_destroy(context, w_); }
    Linear(const Linear &) = delete;
    Linear &operator=(const Linear &) = delete;

    std::vector<uint16_t> y() const { return read(y_); }
    std::vector<uint16_t> dx() const { return read(dx_); }

    Work work(int which) {
        return {context, [this, which] {
            if (which == kFrozen) CHECK(ml_lora_linear_forward(context, &frozen_));
            if (which == kFrozenDx) CHECK(ml_lora_linear_backward(context, &frozen_back_));
            if (which == kForward || which == kBoth) CHECK(ml_lora_linear_forward(context, &d_));
            if (which == kNorm) CHECK(ml_rmsnorm_forward(context, &norm_));
            if (which == kNormForward) CHECK(ml_rmsnorm_linear_forward(context, &norm_, &d_));
            if (which == kBackward || which == kBoth) CHECK(ml_lora_linear_backward(context, &back_));
        }};
    }

    ml_context *const context;

private:
    static std::vector<uint16_t> read(const Memory &memory) {
        std::vector<uint16_t> values(static_cast<size_t>(memory.bytes() / 2));
        CHECK(ml_download(memory.context(), values.data(), memory.get(), memory.bytes()));
        return values;
    }

    int64_t spare_;
    Memory residual_, norm_weight_, x_, y_, dy_, dx_, h_, adapters_, gradients_, offsets_;
    ml_weight *w_ = nullptr;
    ml_lora_linear_desc d_{}, back_{}, frozen_{}, frozen_back_{};
    ml_rmsnorm_desc norm_{};
};

float from_bf16(uint16_t half) {
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Relative L2 difference.
double difference(const std::vector<uint16_t> &a, const std::vector<uint16_t> &b) {
    double squares = 0, all = 0;
    for (size_t i = 0; i < a.size(); i++) {
        const double x = from_bf16(a[i]), y = from_bf16(b[i]);
        squares += (x - y) * (x - y), all += y * y;
    }
    return std::sqrt(squares / all);
}

// Who multiplies: what a context does unless told, cuBLASLt, the own kernels.
struct Form {
    const char *name;
    int32_t matmul;
    ml_context *context;
};

// Every form beside the frozen product of cuBLASLt.
void linear() {
    struct Size { int64_t in, out; };
    std::vector<Size> sizes{{4096, 4096}, {4096, 11008}, {11008, 4096}, {4096, 14336}};
    int64_t tokens = 8192;
    std::vector<int64_t> ranks{8, 16, 64};
    if (tiny) sizes = {{64, 96}}, tokens = 64, ranks = {8};
    Form forms[] = {{"default", ML_MATMUL_MEASURED, nullptr}, {"cublaslt", ML_MATMUL_CUBLASLT, nullptr}, {"own", ML_MATMUL_OWN, nullptr}};
    for (Form &form : forms) form.context = open(form.matmul);
    for (const Size &size : sizes) {
        const auto values = random_bf16(std::max(size.in * size.out, tokens * (std::max(size.in, size.out) + Linear::columns(64, 4))), 0.02f, 5);
        for (int64_t rank : ranks) {
            for (int64_t slots : {int64_t(1), int64_t(4)}) {
                std::vector<std::unique_ptr<Linear>> linears;
                std::vector<Work> works;
                for (const Form &form : forms) {
                    if (form.context == nullptr) continue;
                    linears.push_back(std::make_unique<Linear>(form.context, tokens, size.in, size.out, rank, slots, values));
                    for (int work = 0; work < kWorks; work++) works.push_back(linears.back()->work(work));
                }
                const auto t = interleaved(works, tiny ? 1 : 11, tiny ? 1 : 10);
                // The last form, our own, beside the one before it, cuBLASLt's, from the same inputs: forward last, then backward.
                double y_differs = std::nan(""), dx_differs = std::nan("");
                if (linears.size() == std::size(forms)) {
                    for (auto &linear : {linears[1].get(), linears[2].get()}) linear->work(kNormForward).run(), linear->work(kBackward).run();
                    y_differs = difference(linears[2]->y(), linears[1]->y()), dx_differs = difference(linears[2]->dx(), linears[1]->dx());
                }
                std::map<std::string, std::vector<double>> seconds;  // of a form's works; NAN where the form cannot be had
                auto next = t.begin();
                for (const Form &form : forms) {
                    seconds[form.name] = std::vector<double>(kWorks, std::nan(""));
                    if (form.context != nullptr) std::copy_n(next, kWorks, seconds[form.name].begin()), next += kWorks;
                }
                auto each_form = [&](auto &&value, double unit, int digits) {
                    std::string text;
                    for (const Form &form : forms) {
                        text += std::string(text.empty() ? "{" : ", ") + "\"" + form.name + "\": " + number(value(seconds[form.name]) / unit, digits);
                    }
                    return text + "}";
                };
                auto of_forms = [&](int work, double unit, int digits) {
                    return each_form([work](const std::vector<double> &t) { return t[static_cast<size_t>(work)]; }, unit, digits);
                };
                // What the linear costs with its shrink in the norm before it: what both take over the norm alone.
                auto fused = [](const std::vector<double> &t) { return t[kNormForward] - t[kNorm]; };
                // cuBLASLt's first choice, or the fastest of its algorithms, as the default form takes it: whichever is faster. NAN
                // without cuBLASLt.
                auto fastest = [&](size_t work) {
                    const double first = seconds["cublaslt"][work];
                    return std::isnan(first) ? first : std::fmin(first, seconds["default"][work]);
                };
                const double frozen = fastest(kFrozen), frozen_dx = fastest(kFrozenDx);
                const double flops = 2.0 * static_cast<double>(tokens) * static_cast<double>(size.in) * static_cast<double>(size.out);
                std::printf("{\"bench\": \"lora_linear\", \"tokens\": %lld, \"in\": %lld, \"out\": %lld, \"rank\": %lld, \"slots\": %lld, "
                            "\"frozen_us\": %s, \"frozen_tflops\": %s, \"forward_us\": %s, \"forward_ratio\": %s, "
                            "\"norm_us\": %s, \"fused_forward_us\": %s, \"fused_forward_ratio\": %s, "
                            "\"frozen_dx_us\": %s, \"backward_us\": %s, \"backward_ratio\": %s, \"forward_backward_us\": %s, "
                            "\"own_differs_from_cublaslt\": {\"y\": %s, \"dx\": %s}}\n",
                            static_cast<long long>(tokens), static_cast<long long>(size.in), static_cast<long long>(size.out),
                            static_cast<long long>(rank), static_cast<long long>(slots), of_forms(kFrozen, 1e-6, 2).c_str(),
                            number(flops / frozen * 1e-12, 1).c_str(), of_forms(kForward, 1e-6, 2).c_str(), of_forms(kForward, frozen, 4).c_str(),
                            of_forms(kNorm, 1e-6, 2).c_str(), each_form(fused, 1e-6, 2).c_str(), each_form(fused, frozen, 4).c_str(),
                            of_forms(kFrozenDx, 1e-6, 2).c_str(), of_forms(kBackward, 1e-6, 2).c_str(),
                            of_forms(kBackward, frozen_dx, 4).c_str(), of_forms(kBoth, 1e-6, 2).c_str(), number(y_differs, 6).c_str(),
                            number(dx_differs, 6).c_str());
                std::fflush(stdout);
            }
        }
    }
    for (const Form &form : forms) {
        if (form.context != nullptr) CHECK(ml_context_destroy(form.context));
    }
}

// Clip and AdamW over one flat adapter buffer, beside a copy. What a clip moves: it reads the gradient, and reads and writes it again.
// A guarded AdamW reads its four vectors to see that the step is finite, then reads them again and writes three.
void optimizer() {
    const int64_t n = tiny ? 5000 : 40'000'000;
    Memory parameters(context, n * 4), gradient(context, n * 4), m(context, n * 4), v(context, n * 4), norm(context, 4);
    gradient.write(random_floats(n, 1, 3));
    ml_clip_desc clip{};
    clip.grad = gradient.floats(), clip.norm = norm.floats(), clip.count = clip.stride = n, clip.slots = 1, clip.max_norm = 1e-3f;
    ml_adamw_desc adamw{};
    adamw.parameter = parameters.floats(), adamw.grad = gradient.floats(), adamw.m = m.floats(), adamw.v = v.floats(), adamw.norm = norm.floats();
    adamw.count = adamw.stride = n, adamw.slots = 1, adamw.step = 1, adamw.lr = 1e-4f, adamw.beta1 = 0.9f, adamw.beta2 = 0.999f, adamw.eps = 1e-8f;
    const auto t = interleaved({{context, [&] { CHECK(ml_copy(context, m.get(), v.get(), n * 4)); }},
                                // The gradient grows again before each clip, which then has something to do; that time is taken off.
                                {context, [&] { CHECK(ml_fill(context, gradient.floats(), n, 1)); }},
                                {context, [&] {
                                     CHECK(ml_fill(context, gradient.floats(), n, 1));
                                     CHECK(ml_clip_global_norm(context, &clip));
                                 }},
                                {context, [&] { CHECK(ml_adamw_step(context, &adamw)); }}},
                               tiny ? 1 : 11, tiny ? 1 : 10);
    const double bytes = static_cast<double>(n) * 4, copied = 2 * bytes / t[0], clipped = 3 * bytes / (t[2] - t[1]), stepped = 11 * bytes / t[3];
    std::printf("{\"bench\": \"optimizer\", \"count\": %lld, \"copy_gb_s\": %.1f, \"clip_gb_s\": %.1f, \"clip_share\": %.3f, "
                "\"adamw_gb_s\": %.1f, \"adamw_share\": %.3f}\n",
                static_cast<long long>(n), copied * 1e-9, clipped * 1e-9, clipped / copied, stepped * 1e-9, stepped / copied);
    std::fflush(stdout);
}

void reduce() {
    context = open(ML_MATMUL_OWN);
    for (int64_t slots : {int64_t(2), int64_t(4), int64_t(8)}) {
        const int64_t n = tiny ? 5000 : 40'000'000;  // all Linears of a 7B model at rank 16
        Memory gradients(context, slots * n * 4), out(context, n * 4), weights(context, slots * 4), gram(context, slots * slots * 8), other(context, slots * n * 4);
        weights.write(std::vector<float>(static_cast<size_t>(slots), 0.25f));
        ml_task_reduce_desc d{};
        d.grad = gradients.floats(), d.weight = weights.floats(), d.out = out.floats(), d.count = d.stride = n, d.slots = slots;
        ml_task_reduce_desc both = d;
        both.gram = static_cast<double *>(gram.get());
        const auto t = interleaved({{context, [&] { CHECK(ml_copy(context, other.get(), gradients.get(), slots * n * 4)); }},
                                    {context, [&] { CHECK(ml_task_reduce(context, &d)); }}, {context, [&] { CHECK(ml_task_reduce(context, &both)); }}},
                                   tiny ? 1 : 11, tiny ? 1 : 10);
        const double copied = 2.0 * static_cast<double>(slots * n) * 4 / t[0], moved = static_cast<double>((slots + 1) * n) * 4;
        std::printf("{\"bench\": \"task_reduce\", \"slots\": %lld, \"count\": %lld, \"copy_gb_s\": %.1f, \"sum_gb_s\": %.1f, \"sum_share\": %.3f, "
                    "\"sum_and_gram_gb_s\": %.1f, \"sum_and_gram_share\": %.3f}\n",
                    static_cast<long long>(slots), static_cast<long long>(n), copied * 1e-9, moved / t[1] * 1e-9, moved / t[1] / copied,
                    moved / t[2] * 1e-9, moved / t[2] / copied);
        std::fflush(stdout);
    }
    optimizer();
    CHECK(ml_context_destroy(context));
}

Shape llama(const std::string &name) {
    if (tiny) return {{64, 2, 1, 64, 96}, name, 2, 128};
    return name == "Llama-2-7B" ? Shape{{4096, 32, 32, 128, 11008}, name, 32, 32000} : Shape{{4096, 32, 8, 128, 14336}, name, 32, 128256};
}

// What nvidia-smi says that this process holds; NAN where it says nothing.
double process_gib() {
    FILE *smi = popen("nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits 2> /dev/null", "r");
    if (smi == nullptr) return std::nan("");
    double found = std::nan(""), mib = 0;
    for (long pid = 0; std::fscanf(smi, "%ld, %lf", &pid, &mib) == 2;) {
        if (pid == getpid()) found = mib / 1024;
    }
    pclose(smi);
    return found;
}

// peak_gib is what was allocated through the context; CUDA's own context and cuBLASLt's workspace of 32 MiB come on top of it and
// are in process_gib, the process's memory at the end.
void report(const char *bench, const Shape &shape, int64_t tokens, double seconds, double logprob) {
    ml_context_info info{};
    CHECK(ml_context_get_info(context, &info));
    std::printf("{\"bench\": \"%s\", \"shape\": \"%s\", \"rank\": 16, \"tokens\": %lld, \"seconds\": %.6f, \"tokens_per_second\": %.1f, "
                "\"peak_gib\": %.2f, \"process_gib\": %s, \"mean_logprob\": %.5f, \"matmul\": \"%s\"}\n",
                bench, shape.name.c_str(), static_cast<long long>(tokens), seconds, static_cast<double>(tokens) / seconds,
                static_cast<double>(info.memory_peak) / (1 << 30), number(process_gib(), 2).c_str(), logprob, info.blas);
    std::fflush(stdout);
}

void step(const std::string &name) {
    const Shape shape = llama(name);
    const Batch batch{1, tiny ? 2 : 16, tiny ? 17 : 512};
    context = open(ML_MATMUL_MEASURED);
    {
        Decoder decoder(context, shape, 16, batch, 1);
        const double seconds = interleaved({{context, [&] { decoder.training_step(batch); }}}, tiny ? 1 : 7, 1)[0];
        report("training_step", shape, batch.tokens(), seconds, decoder.mean_logprob(batch));
    }
    CHECK(ml_context_destroy(context));
}

void meta() {
    const Shape shape = llama("Llama-2-7B");
    const Batch support{4, tiny ? 2 : 8, tiny ? 9 : 256};
    const int inner_steps = 3;
    context = open(ML_MATMUL_MEASURED);
    {
        Decoder decoder(context, shape, 16, support, 4);
        const double seconds = interleaved({{context, [&] { decoder.meta_iteration(support, support, inner_steps); }}}, tiny ? 1 : 5, 1)[0];
        report("meta_iteration", shape, support.tokens() * (inner_steps + 1), seconds, decoder.mean_logprob(support));
    }
    CHECK(ml_context_destroy(context));
}

}  // namespace

int main(int argc, char **argv) {
    std::string what = "all";
    for (int i = 1; i < argc; i++) {
        if (std::strcmp(argv[i], "--tiny") == 0) tiny = true;
        else what = argv[i];
    }
    if (ml_backend_probe(ML_BACKEND_CUDA) != ML_OK) {
        std::fprintf(stderr, "%s\n", ml_last_error());
        return 1;
    }
    const std::vector<std::pair<std::string, std::function<void()>>> benches{
        {"linear", linear},
        {"reduce", reduce},
        {"step-7b", [] { step("Llama-2-7B"); }},
        {"step-8b", [] { step("Llama-3-8B"); }},
        {"meta", meta},
    };
    bool found = false;
    for (const auto &[name, run] : benches) {
        if (what != "all" && what != name && !(what == "step" && name.rfind("step-", 0) == 0)) continue;
        found = true;
        run();
    }
    if (!found) std::fprintf(stderr, "no bench of the name %s\n", what.c_str());
    return found ? 0 : 2;
}

// A whole decoder through the ops, forward and backward, and one MeTA-LoRA iteration (arXiv 2510.11598, first order) on top,
// against the same composed of the double-precision references.
#include <algorithm>

#include "reference.h"
#include "weights.h"

using namespace test;
using reference::Ints;
using reference::Vec;

namespace {

constexpr int64_t kLayers = 2, kHidden = 64, kHeads = 4, kKvHeads = 2, kHeadDim = 16, kInner = 96, kVocab = 120, kRank = 8, kTasks = 2;
constexpr int kProjections = 7;
constexpr float kEps = 1e-5f, kScale = 0.5f, kTheta = 1000;
enum Projection { kQ, kK, kV, kO, kGate, kUp, kDown };

int64_t in_of(int projection) { return projection == kDown ? kInner : projection == kO ? kHeads * kHeadDim : kHidden; }

int64_t out_of(int projection) {
    switch (projection) {
        case kQ: return kHeads * kHeadDim;
        case kK: case kV: return kKvHeads * kHeadDim;
        case kGate: case kUp: return kInner;
        default: return kHidden;
    }
}

// Where A and B of a Linear lie in an adapter's vector.
struct Site {
    size_t a, b, end;
};

Site site_of(int64_t layer, int projection) {
    size_t at = 0;
    for (int64_t l = 0; l <= layer; l++) {
        for (int p = 0; p < kProjections; p++) {
            const size_t b = at + static_cast<size_t>(kRank * in_of(p)), end = b + static_cast<size_t>(kRank * out_of(p));
            if (l == layer && p == projection) return {at, b, end};
            at = end;
        }
    }
    return {};
}

size_t parameters() { return site_of(kLayers - 1, kDown).end; }

// Texts of both tasks, packed: every token but a text's first carries loss, for the token before it.
struct Pack {
    Ints ids, position, sequences{0}, slots{0}, rows, target;
    std::vector<float> scale;
    int64_t longest = 0;

    Pack(Random &random, const std::vector<std::vector<int>> &lengths) {
        for (auto &task : lengths) {
            const size_t first = rows.size();
            for (int length : task) {
                for (int i = 0; i < length; i++) {
                    ids.push_back(static_cast<int32_t>(random.below(kVocab)));
                    position.push_back(i);
                    if (i == 0) continue;
                    rows.push_back(static_cast<int32_t>(ids.size()) - 2);
                    target.push_back(ids.back());
                }
                sequences.push_back(static_cast<int32_t>(ids.size()));
                longest = std::max<int64_t>(longest, length);
            }
            slots.push_back(static_cast<int32_t>(ids.size()));
            scale.resize(rows.size(), 1 / static_cast<float>(rows.size() - first));  // the mean over the task's tokens
        }
    }
    int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
};

struct Frozen {
    explicit Frozen(Random &random)
        : embedding(random, kVocab, kHidden, activation_dtype(), 0.5), final_norm(norm(random)) {
        for (int64_t layer = 0; layer < kLayers; layer++) {
            for (int p = 0; p < kProjections; p++) weights.emplace_back(random, out_of(p), in_of(p), activation_dtype(), 1 / std::sqrt(double(in_of(p))));
            norms.push_back(norm(random)), norms.push_back(norm(random));
        }
    }
    static std::vector<float> norm(Random &random) {
        auto w = random.normal(kHidden, 0.125);
        for (float &x : w) x = as_activation(x + 1);
        return w;
    }
    const FrozenMatrix &weight(int64_t layer, int p) const { return weights[layer * kProjections + p]; }
    FrozenMatrix embedding;
    std::vector<FrozenMatrix> weights;
    std::vector<std::vector<float>> norms;
    std::vector<float> final_norm;
};

struct Result {
    Vec logprob, gradient;  // [kTasks][parameters]
};

// ---- in double --------------------------------------------------------------------------------------------------

struct Layer {
    Vec x, n1, q, k, v, o, mid, n2, gate, up, act;
};

Result expected(const Frozen &f, const Pack &pack, const Vec &adapters) {
    const Vec ones(static_cast<size_t>(pack.tokens() * kInner), 1.0);
    const reference::Heads heads{kHeads, kKvHeads, kHeadDim, 0, 0.25};
    const Vec frequencies = reference::rope_plain_frequencies(kHeadDim, kTheta);
    auto lora = [&](int p) { return reference::Lora{in_of(p), out_of(p), kRank, kScale, pack.slots}; };
    auto part = [&](int64_t layer, int p, bool b) {
        const Site site = site_of(layer, p);
        Vec values;
        for (int64_t task = 0; task < kTasks; task++) {
            const auto start = adapters.begin() + static_cast<int64_t>(task * parameters());
            values.insert(values.end(), start + (b ? site.b : site.a), start + (b ? site.end : site.b));
        }
        return values;
    };
    auto mask = [&](int p) { return Vec(ones.begin(), ones.begin() + pack.tokens() * in_of(p)); };
    auto linear = [&](int64_t layer, int p, const Vec &x, const Vec &residual) {
        return reference::lora_linear(lora(p), x, f.weight(layer, p).values, {}, residual, part(layer, p, false), part(layer, p, true), mask(p)).y;
    };
    std::vector<Layer> layers(kLayers);
    Vec x;
    for (int32_t id : pack.ids) x.insert(x.end(), f.embedding.values.begin() + id * kHidden, f.embedding.values.begin() + (id + 1) * kHidden);
    for (int64_t i = 0; i < kLayers; i++) {
        Layer &l = layers[i];
        l.x = x;
        l.n1 = reference::rmsnorm(x, wide(f.norms[2 * i]), kEps);
        l.q = reference::rope(linear(i, kQ, l.n1, {}), frequencies, pack.position, kHeads, kHeadDim, false);
        l.k = reference::rope(linear(i, kK, l.n1, {}), frequencies, pack.position, kKvHeads, kHeadDim, false);
        l.v = linear(i, kV, l.n1, {});
        l.o = reference::attention(heads, l.q, l.k, l.v, pack.sequences, pack.sequences).o;
        l.mid = linear(i, kO, l.o, x);
        l.n2 = reference::rmsnorm(l.mid, wide(f.norms[2 * i + 1]), kEps);
        l.gate = linear(i, kGate, l.n2, {}), l.up = linear(i, kUp, l.n2, {});
        l.act = reference::swiglu(l.gate, l.up);
        x = linear(i, kDown, l.act, l.mid);
    }
    const auto loss = reference::cross_entropy(reference::rmsnorm(x, wide(f.final_norm), kEps), f.embedding.values, kHidden, pack.rows,
                                               pack.target, wide(pack.scale));
    Result result{loss.logprob, Vec(kTasks * parameters(), 0.0)};
    auto back = [&](int64_t layer, int p, const Vec &in, const Vec &dy) {
        const auto g = reference::lora_linear_gradient(lora(p), in, f.weight(layer, p).values, part(layer, p, false), part(layer, p, true), mask(p), dy);
        const Site site = site_of(layer, p);
        for (int64_t task = 0; task < kTasks; task++) {
            const size_t size_a = site.b - site.a, size_b = site.end - site.b, to = task * parameters();
            for (size_t e = 0; e < size_a; e++) result.gradient[to + site.a + e] += g.da[task * size_a + e];
            for (size_t e = 0; e < size_b; e++) result.gradient[to + site.b + e] += g.db[task * size_b + e];
        }
        return g.dx;
    };
    auto add = [](Vec a, const Vec &b) {
        for (size_t e = 0; e < a.size(); e++) a[e] += b[e];
        return a;
    };
    Vec dx = reference::rmsnorm_dx(x, wide(f.final_norm), kEps, loss.dx);
    for (int64_t i = kLayers - 1; i >= 0; i--) {
        const Layer &l = layers[i];
        const auto gated = reference::swiglu_gradient(l.gate, l.up, back(i, kDown, l.act, dx));
        const Vec dn2 = add(back(i, kGate, l.n2, gated.dgate), back(i, kUp, l.n2, gated.dup));
        dx = add(dx, reference::rmsnorm_dx(l.mid, wide(f.norms[2 * i + 1]), kEps, dn2));
        const auto g = reference::attention_gradient(heads, l.q, l.k, l.v, pack.sequences, back(i, kO, l.o, dx));
        Vec dn1 = back(i, kQ, l.n1, reference::rope(g.dq, frequencies, pack.position, kHeads, kHeadDim, true));
        dn1 = add(dn1, back(i, kK, l.n1, reference::rope(g.dk, frequencies, pack.position, kKvHeads, kHeadDim, true)));
        dn1 = add(dn1, back(i, kV, l.n1, g.dv));
        dx = add(dx, reference::rmsnorm_dx(l.x, wide(f.norms[2 * i]), kEps, dn1));
    }
    return result;
}

// ---- on a device ------------------------------------------------------------------------------------------------

class Model {
public:
    Model(Device &device, const Frozen &frozen) : device_(device), frozen_(frozen), embedding_(device, frozen.embedding), final_norm_(device, frozen.final_norm) {
        for (auto &w : frozen.weights) weights_.push_back(std::make_unique<Weight>(device, w));
        for (auto &n : frozen.norms) norms_.push_back(std::make_unique<Buffer<float>>(device, n));
    }

    // Adds to the gradients of all slots; gives the log-probabilities.
    std::vector<float> forward_backward(const Pack &pack, float *adapters, float *gradients) {
        Pass pass(device_, pack);
        run(pass, adapters, gradients);
        return pass.logprob.read();
    }

    // The buffers of a pass over packs of one shape. Nothing but ops is called by run().
    struct Pass {
        struct Kept {
            Activations x, n1, q, k, v, o, mid, n2, gate, up, act;
            Kept(Device &device, size_t tokens)
                : x(device, tokens * kHidden), n1(device, tokens * kHidden), q(device, tokens * kHeads * kHeadDim),
                  k(device, tokens * kKvHeads * kHeadDim), v(device, tokens * kKvHeads * kHeadDim), o(device, tokens * kHeads * kHeadDim),
                  mid(device, tokens * kHidden), n2(device, tokens * kHidden), gate(device, tokens * kInner), up(device, tokens * kInner),
                  act(device, tokens * kInner) {}
        };

        Pass(Device &device, const Pack &pack) : Pass(device, pack, pack.ids.size()) {}
        Pass(Device &device, const Pack &pack, size_t n)
            : tokens(pack.tokens()), count(static_cast<int64_t>(pack.rows.size())), texts(static_cast<int64_t>(pack.sequences.size()) - 1),
              longest(pack.longest), ids(device, pack.ids), position(device, pack.position), sequences(device, pack.sequences),
              slots(device, pack.slots), rows(device, pack.rows), target(device, pack.target), scale(device, pack.scale),
              logprob(device, pack.rows.size()), rstd(device, n), cos(device, n * kHeadDim / 2), sin(device, n * kHeadDim / 2),
              lse(device, kLayers * n * kHeads), h(device, kLayers * kProjections * n * kRank), last(device, n * kHidden),
              normed(device, n * kHidden), dnormed(device, n * kHidden), dx(device, n * kHidden), dact(device, n * kInner),
              d_o(device, n * kHeads * kHeadDim), dq(device, n * kHeads * kHeadDim), dk(device, n * kKvHeads * kHeadDim),
              dv(device, n * kKvHeads * kHeadDim) {
            for (int64_t i = 0; i < kLayers; i++) kept.push_back(std::make_unique<Kept>(device, n));
        }

        // Other contents of the same shape.
        void write(const Pack &pack) {
            ids.write(pack.ids), position.write(pack.position), sequences.write(pack.sequences), slots.write(pack.slots);
            rows.write(pack.rows), target.write(pack.target), scale.write(pack.scale);
        }

        int64_t tokens, count, texts, longest;
        Buffer<int32_t> ids, position, sequences, slots, rows, target;
        Buffer<float> scale, logprob, rstd, cos, sin, lse, h;
        Activations last, normed, dnormed, dx, dact, d_o, dq, dk, dv;
        std::vector<std::unique_ptr<Kept>> kept;
    };

    void run(Pass &p, float *adapters, float *gradients) {
        adapters_ = adapters, gradients_ = gradients, slots_ = p.slots, h_ = p.h, tokens_ = p.tokens;
        ml_rope_table_desc table{};
        table.cos = p.cos, table.sin = p.sin, table.positions = tokens_, table.head_dim = kHeadDim, table.theta = kTheta;
        EXPECT_OK(ml_rope_table(device_, &table));
        auto rope = [&](void *x, int64_t heads, bool backward) {
            ml_rope_desc d{};
            d.x = x, d.cos = p.cos, d.sin = p.sin, d.position = p.position, d.tokens = tokens_, d.positions = tokens_;
            d.heads = heads, d.head_dim = kHeadDim;
            EXPECT_OK(backward ? ml_rope_backward(device_, &d) : ml_rope_forward(device_, &d));
        };
        const ml_embedding_desc embed{embedding_, p.ids, p.kept[0]->x, tokens_};
        EXPECT_OK(ml_embedding_forward(device_, &embed));
        auto attention = [&](Pass::Kept &l, int64_t layer) {
            ml_attention_desc d{};
            d.q = l.q, d.k = l.k, d.v = l.v, d.o = l.o, d.lse = p.lse.at(layer * tokens_ * kHeads), d.q_offsets = p.sequences;
            d.tokens = tokens_, d.sequences = p.texts, d.max_length = p.longest;
            d.heads = kHeads, d.kv_heads = kKvHeads, d.head_dim = kHeadDim, d.scale = 0.25f;
            return d;
        };
        for (int64_t i = 0; i < kLayers; i++) {
            Pass::Kept &l = *p.kept[i];
            norm(l.x, *norms_[2 * i], l.n1, p.rstd);
            linear(i, kQ, l.n1, nullptr, l.q), linear(i, kK, l.n1, nullptr, l.k), linear(i, kV, l.n1, nullptr, l.v);
            rope(l.q, kHeads, false), rope(l.k, kKvHeads, false);
            const auto d = attention(l, i);
            EXPECT_OK(ml_attention_forward(device_, &d));
            linear(i, kO, l.o, l.x, l.mid);
            norm(l.mid, *norms_[2 * i + 1], l.n2, p.rstd);
            linear(i, kGate, l.n2, nullptr, l.gate), linear(i, kUp, l.n2, nullptr, l.up);
            ml_swiglu_desc gated{};
            gated.gate = l.gate, gated.up = l.up, gated.y = l.act, gated.rows = tokens_, gated.width = kInner;
            EXPECT_OK(ml_swiglu_forward(device_, &gated));
            linear(i, kDown, l.act, l.mid, i + 1 < kLayers ? p.kept[i + 1]->x : p.last);
        }
        norm(p.last, final_norm_, p.normed, p.rstd);
        ml_cross_entropy_desc loss{};
        loss.x = p.normed, loss.w = embedding_, loss.rows = p.rows, loss.target = p.target, loss.row_scale = p.scale, loss.logprob = p.logprob;
        loss.dx = p.dnormed, loss.tokens = tokens_, loss.count = p.count;
        EXPECT_OK(ml_cross_entropy(device_, &loss));
        norm_back(p.last, final_norm_, p.rstd, p.dnormed, p.dx, false);
        for (int64_t i = kLayers - 1; i >= 0; i--) {
            Pass::Kept &l = *p.kept[i];
            back(i, kDown, l.act, p.dx, p.dact, false);
            ml_swiglu_desc gated{};
            gated.gate = l.gate, gated.up = l.up, gated.dy = p.dact, gated.dgate = l.gate, gated.dup = l.up, gated.rows = tokens_, gated.width = kInner;
            EXPECT_OK(ml_swiglu_backward(device_, &gated));
            norm(l.mid, *norms_[2 * i + 1], l.n2, p.rstd);
            back(i, kGate, l.n2, l.gate, p.dnormed, false), back(i, kUp, l.n2, l.up, p.dnormed, true);
            norm_back(l.mid, *norms_[2 * i + 1], p.rstd, p.dnormed, p.dx, true);
            back(i, kO, l.o, p.dx, p.d_o, false);
            auto d = attention(l, i);
            d.d_o = p.d_o, d.dq = p.dq, d.dk = p.dk, d.dv = p.dv;
            EXPECT_OK(ml_attention_backward(device_, &d));
            rope(p.dq, kHeads, true), rope(p.dk, kKvHeads, true);
            norm(l.x, *norms_[2 * i], l.n1, p.rstd);
            back(i, kQ, l.n1, p.dq, p.dnormed, false), back(i, kK, l.n1, p.dk, p.dnormed, true), back(i, kV, l.n1, p.dv, p.dnormed, true);
            norm_back(l.x, *norms_[2 * i], p.rstd, p.dnormed, p.dx, true);
        }
    }

private:
    void norm(void *x, float *weight, void *y, float *rstd) {
        ml_rmsnorm_desc d{};
        d.x = x, d.weight = weight, d.y = y, d.rstd = rstd, d.rows = tokens_, d.width = kHidden, d.eps = kEps;
        EXPECT_OK(ml_rmsnorm_forward(device_, &d));
    }
    void norm_back(void *x, float *weight, float *rstd, void *dy, void *dx, bool accumulate) {
        ml_rmsnorm_desc d{};
        d.x = x, d.weight = weight, d.rstd = rstd, d.dy = dy, d.dx = dx, d.rows = tokens_, d.width = kHidden, d.eps = kEps;
        d.accumulate = accumulate;
        EXPECT_OK(ml_rmsnorm_backward(device_, &d));
    }
    ml_lora_linear_desc desc(int64_t layer, int p, void *x) {
        const Site site = site_of(layer, p);
        ml_lora_linear_desc d{};
        d.x = x, d.w = *weights_[layer * kProjections + p], d.h = h_ + (layer * kProjections + p) * tokens_ * kRank;
        d.term[0] = {adapters_ + site.a, adapters_ + site.b, gradients_ + site.a, gradients_ + site.b, 0, out_of(p), 0}, d.terms = 1;
        d.slot_offsets = slots_, d.tokens = tokens_, d.slots = kTasks, d.slot_stride = static_cast<int64_t>(parameters());
        d.rank = kRank, d.scale = kScale;
        return d;
    }
    void linear(int64_t layer, int p, void *x, void *residual, void *y) {
        auto d = desc(layer, p, x);
        d.residual = residual, d.y = y;
        EXPECT_OK(ml_lora_linear_forward(device_, &d));
    }
    void back(int64_t layer, int p, void *x, void *dy, void *dx, bool accumulate) {
        auto d = desc(layer, p, x);
        d.dy = dy, d.dx = dx, d.accumulate = accumulate;
        EXPECT_OK(ml_lora_linear_backward(device_, &d));
    }

    Device &device_;
    const Frozen &frozen_;
    Weight embedding_;
    Buffer<float> final_norm_;
    std::vector<std::unique_ptr<Weight>> weights_;
    std::vector<std::unique_ptr<Buffer<float>>> norms_;
    float *adapters_ = nullptr, *gradients_ = nullptr, *h_ = nullptr;
    const int32_t *slots_ = nullptr;
    int64_t tokens_ = 0;
};

const std::vector<std::vector<int>> kSupport = {{9, 14}, {21, 5, 3}}, kQuery = {{17}, {8, 12}};

// A chain of many rounded ops: more than an op's own bound, no more than what bf16 training has anywhere.
double gradient_bound() { return activation_dtype() == ML_BF16 ? 4e-2 : on_cuda() ? 2e-5 : 5e-6; }

}  // namespace

TEST(model_matches_reference) {
    Random random(1);
    const Frozen frozen(random);
    const Pack pack(random, kSupport);
    const auto adapters = random.normal(kTasks * parameters(), 0.1);
    const Result result = expected(frozen, pack, wide(adapters));
    on_every_device([&](Device &device) {
        Model model(device, frozen);
        Buffer<float> slots(device, adapters), gradients(device, std::vector<float>(adapters.size(), 0.0f));
        EXPECT_CLOSE("logprob", model.forward_backward(pack, slots, gradients), result.logprob, 2e-6);
        EXPECT_CLOSE("gradients", gradients.read(), result.gradient, gradient_bound());
        const auto once = gradients.read();
        gradients.write(std::vector<float>(adapters.size(), 0.0f));
        model.forward_backward(pack, slots, gradients);
        EXPECT_SAME_BITS("gradients again", gradients.read(), once);
    });
}

// Stage 1: each task's copy takes an inner SGD step on its support set. Stage 2: the mean of the tasks' query gradients at
// their copies, clipped, is the shared adapter's gradient in an AdamW step.
TEST(model_meta_iteration_matches_reference) {
    constexpr float inner_rate = 0.5f, outer_rate = 0.01f, most_norm = 0.25f;
    Random random(2);
    const Frozen frozen(random);
    const Pack support(random, kSupport), query(random, kQuery);
    const auto shared = random.normal(parameters(), 0.1);
    Vec copies;
    for (int64_t task = 0; task < kTasks; task++) {
        for (float x : shared) copies.push_back(x);
    }
    const auto inner = expected(frozen, support, copies);
    for (size_t i = 0; i < copies.size(); i++) copies[i] -= inner_rate * inner.gradient[i];
    const auto outer = expected(frozen, query, copies);
    Vec mean(parameters(), 0.0);
    for (size_t i = 0; i < mean.size(); i++) mean[i] = (outer.gradient[i] + outer.gradient[i + parameters()]) / 2;
    const double norm = std::sqrt(dot(mean, mean)), gram = dot(Vec(outer.gradient.begin(), outer.gradient.begin() + parameters()),
                                                               Vec(outer.gradient.begin() + parameters(), outer.gradient.end()));
    EXPECT(norm > 2 * most_norm);  // the clip has something to do
    for (double &x : mean) x *= most_norm / (norm + 1e-6);

    on_every_device([&](Device &device) {
        Model model(device, frozen);
        const auto n = static_cast<int64_t>(parameters());
        const std::vector<float> zeros(kTasks * parameters(), 0.0f);
        Buffer<float> parameter(device, shared), slots(device, zeros.size()), gradients(device, zeros), reduced(device, parameters());
        Buffer<float> weights(device, {0.5f, 0.5f}), length(device, 1), m(device, std::vector<float>(parameters(), 0.0f)), v(device, std::vector<float>(parameters(), 0.0f));
        Buffer<double> dots(device, kTasks * kTasks);
        EXPECT_OK(ml_broadcast(device, slots, parameter, n, n, kTasks));
        model.forward_backward(support, slots, gradients);
        ml_sgd_desc sgd{};
        sgd.parameter = slots, sgd.grad = gradients, sgd.count = n, sgd.stride = n, sgd.slots = kTasks, sgd.lr = inner_rate;
        EXPECT_OK(ml_sgd_step(device, &sgd));
        EXPECT_CLOSE("adapted copies", slots.read(), copies, gradient_bound());
        EXPECT_OK(ml_fill(device, gradients, kTasks * n, 0));
        EXPECT_CLOSE("query log-probabilities", model.forward_backward(query, slots, gradients), outer.logprob, 2e-6);
        ml_task_reduce_desc reduce{};
        reduce.grad = gradients, reduce.weight = weights, reduce.out = reduced, reduce.gram = dots, reduce.count = n, reduce.stride = n;
        reduce.slots = kTasks;
        EXPECT_OK(ml_task_reduce(device, &reduce));
        EXPECT(std::fabs(dots.read()[1] - gram) <= 2 * gradient_bound() * dot(outer.gradient, outer.gradient));
        ml_clip_desc clip{};
        clip.grad = reduced, clip.norm = length, clip.count = n, clip.stride = n, clip.slots = 1, clip.max_norm = most_norm;
        EXPECT_OK(ml_clip_global_norm(device, &clip));
        EXPECT_CLOSE("norm", length.read(), {norm}, gradient_bound());
        EXPECT_CLOSE("clipped mean of the query gradients", reduced.read(), mean, gradient_bound());
        ml_adamw_desc adamw{};
        adamw.parameter = parameter, adamw.grad = reduced, adamw.m = m, adamw.v = v, adamw.count = n, adamw.stride = n, adamw.slots = 1;
        adamw.step = 1, adamw.lr = outer_rate, adamw.beta1 = 0.9f, adamw.beta2 = 0.999f, adamw.eps = 1e-8f, adamw.weight_decay = 0.01f;
        EXPECT_OK(ml_adamw_step(device, &adamw));
        // The first step is all but the gradient's sign: against the gradient this device has, not against the reference's.
        auto updated = wide(shared);
        const auto gradient = reduced.read();
        for (size_t i = 0; i < updated.size(); i++) {
            const double g = gradient[i];
            updated[i] = updated[i] * (1 - double(outer_rate) * double(0.01f)) - outer_rate * g / (std::fabs(g) + double(1e-8f));
        }
        EXPECT_CLOSE("shared adapter", parameter.read(), updated, 2e-6);
    });
}

// A pass recorded once and launched with other ids, targets, divisions into texts and adapters gives the bits of the same pass
// run directly.
TEST(model_replayed_gives_the_bits_of_a_direct_pass) {
    if (!on_cuda()) return;
    Random random(3);
    const Frozen frozen(random);
    // Of one shape: as many tokens, texts and rows, the same longest text.
    const std::vector<Pack> packs{Pack(random, {{9, 14}, {21, 5, 3}}), Pack(random, {{4, 21, 3}, {10, 14}})};
    const std::vector<std::vector<float>> adapters{random.normal(kTasks * parameters(), 0.1), random.normal(kTasks * parameters(), 0.1)};
    const std::vector<float> zeros(adapters[0].size(), 0.0f);
    const Result last = expected(frozen, packs[1], wide(adapters[1]));
    on_every_device([&](Device &device) {
        Model model(device, frozen);
        Model::Pass pass(device, packs[0]);
        Buffer<float> slots(device, adapters[0]), gradients(device, zeros);
        model.run(pass, slots, gradients);
        const auto direct = gradients.read();
        ml_graph *graph = nullptr;
        EXPECT_OK(ml_graph_begin(device));
        model.run(pass, slots, gradients);
        EXPECT_OK(ml_graph_end(device, &graph));
        EXPECT_SAME_BITS("gradients, which recording leaves alone", gradients.read(), direct);
        for (size_t i : {0, 1, 0, 1}) {
            Case contents(format("contents %zu", i));
            slots.write(adapters[i]), pass.write(packs[i]);
            auto outcome = [&](const std::function<void()> &body) {
                gradients.write(zeros), pass.logprob.write(std::vector<float>(packs[i].rows.size(), 0.0f));
                body();
                auto values = gradients.read();
                const auto logprob = pass.logprob.read();
                values.insert(values.end(), logprob.begin(), logprob.end());
                return values;
            };
            const auto once = outcome([&] { model.run(pass, slots, gradients); });
            EXPECT_SAME_BITS("gradients and log-probabilities", outcome([&] { EXPECT_OK(ml_graph_launch(device, graph)); }), once);
        }
        EXPECT_OK(ml_graph_launch(device, graph));  // gradients add up
        auto doubled = last.gradient;
        for (double &x : doubled) x *= 2;
        EXPECT_CLOSE("twice the gradients", gradients.read(), doubled, gradient_bound());
        EXPECT_CLOSE("logprob", pass.logprob.read(), last.logprob, 2e-6);
        EXPECT_OK(ml_graph_destroy(device, graph));
    });
}

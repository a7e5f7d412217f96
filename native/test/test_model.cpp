// A whole decoder through the ops, forward and backward, and one MeTA-LoRA iteration (arXiv 2510.11598, first order) on top,
// against the same composed of the double-precision references.
#include <algorithm>
#include <tuple>

#include "decoder_order.h"
#include "reference.h"
#include "weights.h"

using namespace decoder;
using namespace test;
using reference::Ints;
using reference::Vec;

namespace {

constexpr int64_t kLayers = 2, kVocab = 120, kTasks = 3;
constexpr float kEps = 1e-5f, kScale = 0.5f, kTheta = 1000;

// Where A and B of a Linear lie in an adapter's vector.
struct Site {
    size_t a, b, end;
};

struct Shape : Sizes {
    int64_t rank;

    Site site(int64_t layer, int projection) const {
        size_t at = 0;
        for (int64_t l = 0; l <= layer; l++) {
            for (int p = 0; p < kProjections; p++) {
                const size_t b = at + static_cast<size_t>(rank * in_of(p)), end = b + static_cast<size_t>(rank * out_of(p));
                if (l == layer && p == projection) return {at, b, end};
                at = end;
            }
        }
        return {};
    }
    size_t parameters() const { return site(kLayers - 1, kDown).end; }
    float scale() const { return 1 / std::sqrt(static_cast<float>(head_dim)); }
};

// Texts of all tasks, packed: every token but a text's first carries loss, for the token before it.
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
            if (rows.size() > first) scale.resize(rows.size(), 1 / static_cast<float>(rows.size() - first));  // the mean over the task's tokens
        }
    }
    int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
};

struct Frozen {
    Frozen(Random &random, const Shape &s) : shape(s), embedding(random, kVocab, s.hidden, activation_dtype(), 0.5), final_norm(norm(random)) {
        for (int64_t layer = 0; layer < kLayers; layer++) {
            for (int p = 0; p < kProjections; p++) {
                weights.emplace_back(random, s.out_of(p), s.in_of(p), activation_dtype(), 1 / std::sqrt(double(s.in_of(p))));
            }
            norms.push_back(norm(random)), norms.push_back(norm(random));
        }
    }
    std::vector<float> norm(Random &random) const {
        auto w = random.normal(shape.hidden, 0.125);
        for (float &x : w) x = as_activation(x + 1);
        return w;
    }
    const FrozenMatrix &weight(int64_t layer, int p) const { return weights[layer * kProjections + p]; }
    Shape shape;
    FrozenMatrix embedding;
    std::vector<FrozenMatrix> weights;
    std::vector<std::vector<float>> norms;
    std::vector<float> final_norm;
};

struct Result {
    Vec logprob;
    Vec gradient;  // [kTasks][parameters]
    Vec last;      // what the logits are made of
};

// ---- in double --------------------------------------------------------------------------------------------------

struct Layer {
    Vec x, n1, q, k, v, o, mid, n2, gate, up, act;
};

Result expected(const Frozen &f, const Pack &pack, const Vec &adapters) {
    const Shape &s = f.shape;
    const reference::Heads heads{s.heads, s.kv_heads, s.head_dim, 0, s.scale()};
    const Vec frequencies = reference::rope_plain_frequencies(s.head_dim, kTheta);
    auto lora = [&](int p) { return reference::Lora{s.in_of(p), s.out_of(p), s.rank, kScale, pack.slots}; };
    auto part = [&](int64_t layer, int p, bool b) {
        const Site site = s.site(layer, p);
        Vec values;
        for (int64_t task = 0; task < kTasks; task++) {
            const auto start = adapters.begin() + static_cast<int64_t>(task * s.parameters());
            values.insert(values.end(), start + (b ? site.b : site.a), start + (b ? site.end : site.b));
        }
        return values;
    };
    auto mask = [&](int p) { return Vec(static_cast<size_t>(pack.tokens() * s.in_of(p)), 1.0); };
    auto linear = [&](int64_t layer, int p, const Vec &x, const Vec &residual) {
        return reference::lora_linear(lora(p), x, f.weight(layer, p).values, {}, residual, part(layer, p, false), part(layer, p, true), mask(p)).y;
    };
    std::vector<Layer> layers(kLayers);
    Vec x;
    for (int32_t id : pack.ids) x.insert(x.end(), f.embedding.values.begin() + id * s.hidden, f.embedding.values.begin() + (id + 1) * s.hidden);
    for (int64_t i = 0; i < kLayers; i++) {
        Layer &l = layers[i];
        l.x = x;
        l.n1 = reference::rmsnorm(x, wide(f.norms[2 * i]), kEps);
        l.q = reference::rope(linear(i, kQ, l.n1, {}), frequencies, pack.position, s.heads, s.head_dim, false);
        l.k = reference::rope(linear(i, kK, l.n1, {}), frequencies, pack.position, s.kv_heads, s.head_dim, false);
        l.v = linear(i, kV, l.n1, {});
        l.o = reference::attention(heads, l.q, l.k, l.v, pack.sequences, pack.sequences).o;
        l.mid = linear(i, kO, l.o, x);
        l.n2 = reference::rmsnorm(l.mid, wide(f.norms[2 * i + 1]), kEps);
        l.gate = linear(i, kGate, l.n2, {}), l.up = linear(i, kUp, l.n2, {});
        l.act = reference::swiglu(l.gate, l.up);
        x = linear(i, kDown, l.act, l.mid);
    }
    const Vec last = reference::rmsnorm(x, wide(f.final_norm), kEps);
    const auto loss = reference::cross_entropy(last, f.embedding.values, s.hidden, pack.rows, pack.target, wide(pack.scale));
    Result result{loss.logprob, Vec(kTasks * s.parameters(), 0.0), last};
    auto back = [&](int64_t layer, int p, const Vec &in, const Vec &dy) {
        const auto g = reference::lora_linear_gradient(lora(p), in, f.weight(layer, p).values, part(layer, p, false), part(layer, p, true), mask(p), dy);
        const Site site = s.site(layer, p);
        for (int64_t task = 0; task < kTasks; task++) {
            const size_t size_a = site.b - site.a, size_b = site.end - site.b, to = task * s.parameters();
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
        Vec dn1 = back(i, kQ, l.n1, reference::rope(g.dq, frequencies, pack.position, s.heads, s.head_dim, true));
        dn1 = add(dn1, back(i, kK, l.n1, reference::rope(g.dk, frequencies, pack.position, s.kv_heads, s.head_dim, true)));
        dn1 = add(dn1, back(i, kV, l.n1, g.dv));
        dx = add(dx, reference::rmsnorm_dx(l.x, wide(f.norms[2 * i]), kEps, dn1));
    }
    return result;
}

// Every target after each of some tokens.
std::pair<Ints, Ints> all_targets(const Ints &after) {
    Ints rows, targets;
    for (int32_t row : after) {
        for (int32_t id = 0; id < kVocab; id++) rows.push_back(row), targets.push_back(id);
    }
    return {rows, targets};
}

// ---- on a device ------------------------------------------------------------------------------------------------

// Rows that ops see: `stride` apart, with `spare` columns behind each that an op may write to.
struct Rows {
    void *at;
    int64_t stride, spare;
};

// Each Linear alone, in dense matrices; or `stacked`, as training has it on CUDA: Linears of one input are one, rows have room for the
// adapters' columns behind them, and norms and SwiGLU are one op with the Linear behind them.
class Model {
public:
    Model(Device &device, const Frozen &frozen, bool stacked)
        : device_(device), s_(frozen.shape), stacked_(stacked), embedding_(device, frozen.embedding), final_norm_(device, frozen.final_norm) {
        weights_.resize(kLayers * kProjections);
        for (int64_t layer = 0; layer < kLayers; layer++) {
            for (Group input : kGroups) {
                for (Group g : groups(input)) {
                    ml_weight_desc d{nullptr, ML_F32, activation_dtype(), s_.out_of(g), s_.in_of(g.first), spare(g)};
                    auto &w = weights_[layer * kProjections + g.first];
                    w = std::make_unique<Weight>(device, d);
                    int64_t first = 0;
                    for (int p = g.first; p < g.first + g.count; p++) {
                        d.data = frozen.weight(layer, p).source.data(), d.out_features = s_.out_of(p);
                        EXPECT_OK(ml_weight_write(device, *w, first, &d));
                        first += d.out_features;
                    }
                }
            }
        }
        for (auto &n : frozen.norms) norms_.push_back(std::make_unique<Buffer<float>>(device, n));
    }

    // The buffers of a pass over packs of one shape. Nothing but ops is called by run().
    struct Pass {
        struct Kept {
            Rows x, mid, o;
            std::vector<Rows> qkv, gated;  // one a Linear
        };

        Pass(const Model &model, const Pack &pack) : Pass(model.device_, model, pack, pack.ids.size()) {}
        Pass(Device &device, const Model &model, const Pack &pack, size_t n)
            : tokens(pack.tokens()), count(static_cast<int64_t>(pack.rows.size())), texts(static_cast<int64_t>(pack.sequences.size()) - 1),
              longest(pack.longest), ids(device, pack.ids), position(device, pack.position), sequences(device, pack.sequences),
              slots(device, pack.slots), rows(device, pack.rows), target(device, pack.target), scale(device, pack.scale),
              logprob(device, pack.rows.size()), rstd(device, n), cos(device, n * model.s_.head_dim / 2), sin(device, n * model.s_.head_dim / 2),
              lse(device, kLayers * n * model.s_.heads), h(device, kLayers * kProjections * n * model.s_.rank) {
            const Shape &s = model.s_;
            auto make = [&](int64_t width, int64_t spare = 0) {
                const int64_t others = spare == 0 ? 0 : 8;  // columns that are not the ops'
                values.emplace_back(std::make_unique<Strided>(device, tokens, width, spare + others), spare);
                return Rows{*values.back().first, width + spare + others, spare};
            };
            auto outputs = [&](Group input) {
                std::vector<Rows> all;
                for (Group g : model.groups(input)) {
                    const Rows together = make(s.out_of(g), model.spare(g));
                    for (int i = 0; i < g.count; i++) {
                        all.push_back({values.back().first->at(s.out_of(Group{g.first, i})), together.stride, together.spare});
                    }
                }
                return all;
            };
            normed = make(s.hidden, model.spare(kQkv)), act = make(s.inner, model.spare(kDowns)), dx = make(s.hidden, model.spare(kOut));
            last = make(s.hidden), last_normed = make(s.hidden), dnormed = make(s.hidden), dact = make(s.inner), d_o = make(s.q_width());
            dqkv = outputs(kQkv);
            for (int64_t i = 0; i < kLayers; i++) {
                kept.push_back({make(s.hidden), make(s.hidden), make(s.q_width(), model.spare(kOut)), outputs(kQkv), outputs(kGateUp)});
            }
        }

        // Other contents of the same shape.
        void write(const Pack &pack) {
            ids.write(pack.ids), position.write(pack.position), sequences.write(pack.sequences), slots.write(pack.slots);
            rows.write(pack.rows), target.write(pack.target), scale.write(pack.scale);
        }
        void expect_intact() const {
            for (auto &[rows, spare] : values) rows->read(spare);
        }

        int64_t tokens, count, texts, longest;
        Buffer<int32_t> ids, position, sequences, slots, rows, target;
        Buffer<float> scale, logprob, rstd, cos, sin, lse, h;
        Rows normed, act, dx, last, last_normed, dnormed, dact, d_o;
        std::vector<Rows> dqkv;
        std::vector<Kept> kept;
        std::vector<std::pair<std::unique_ptr<Strided>, int64_t>> values;  // with their spare columns
    };

    // Adds to the gradients of all slots.
    void run(Pass &p, float *adapters, float *gradients) {
        adapters_ = adapters, gradients_ = gradients, pass_ = &p;
        ml_rope_table_desc table{};
        table.cos = p.cos, table.sin = p.sin, table.positions = p.tokens, table.head_dim = s_.head_dim, table.theta = kTheta;
        EXPECT_OK(ml_rope_table(device_, &table));
        Steps steps{*this, p};
        forward_backward(steps, kLayers);
    }

    // The log-probabilities of the whole vocabulary after some tokens, of a pass that was run.
    std::vector<float> logprobs(Pass &p, const Ints &after) {
        pass_ = &p;
        const auto [rows, targets] = all_targets(after);
        Buffer<int32_t> row(device_, rows), target(device_, targets);
        Buffer<float> logprob(device_, rows.size());
        const auto d = cross_entropy(row, target, logprob, static_cast<int64_t>(rows.size()));
        EXPECT_OK(ml_cross_entropy(device_, &d));
        return logprob.read();
    }

private:
    using Linears = std::vector<ml_lora_linear_desc>;

    std::vector<Group> groups(Group input) const {
        if (stacked_) return {input};
        std::vector<Group> each;
        for (int i = 0; i < input.count; i++) each.push_back({input.first + i, 1});
        return each;
    }
    int64_t spare(Group g) const { return stacked_ ? kTasks * g.count * ((s_.rank + 7) / 8 * 8) : 0; }

    // The ops of a pass.
    struct Steps {
        Model &m;
        Pass &p;

        Rows x_of(int64_t layer, Norm n) const { return n == kInput ? p.kept[layer].x : p.kept[layer].mid; }
        float *weight_of(int64_t layer, Norm n) const { return *m.norms_[2 * layer + n]; }
        const std::vector<Rows> &outputs_of(int64_t layer, Group g) const { return g.first == kQ ? p.kept[layer].qkv : p.kept[layer].gated; }

        void embed() {
            const ml_embedding_desc d{m.embedding_, p.ids, p.kept[0].x.at, p.tokens};
            EXPECT_OK(ml_embedding_forward(m.device_, &d));
        }
        void norm_linear(int64_t layer, Norm n, Group g) {
            auto readers = m.linears(layer, g, p.normed, outputs_of(layer, g));
            m.forward(ml_rmsnorm_forward, ml_rmsnorm_linear_forward, m.norm(x_of(layer, n), weight_of(layer, n), p.normed), readers, nullptr);
        }
        void rope(int64_t layer) { m.rope(p.kept[layer].qkv, ml_rope_forward); }
        void attention(int64_t layer) {
            const auto d = m.attention(layer);
            EXPECT_OK(ml_attention_forward(m.device_, &d));
        }
        void linear(int64_t layer, Group g) {
            auto all = m.linears(layer, g, p.kept[layer].o, {p.kept[layer].mid});
            m.forward(all, p.kept[layer].x.at);
        }
        void swiglu_linear(int64_t layer, Group g) {
            auto readers = m.linears(layer, g, p.act, {layer + 1 < kLayers ? p.kept[layer + 1].x : p.last});
            m.forward(ml_swiglu_forward, ml_swiglu_linear_forward, m.swiglu(layer), readers, p.kept[layer].mid.at);
        }
        void final_norm() {
            const auto d = m.norm(p.last, m.final_norm_, p.last_normed);
            EXPECT_OK(ml_rmsnorm_forward(m.device_, &d));
        }
        void loss() {
            auto d = m.cross_entropy(p.rows, p.target, p.logprob, p.count);
            d.row_scale = p.scale, d.dx = p.dnormed.at;
            EXPECT_OK(ml_cross_entropy(m.device_, &d));
        }
        void final_norm_backward() { m.norm_back(p.last, m.final_norm_, false); }
        void swiglu(int64_t layer) {
            const auto d = m.swiglu(layer);
            EXPECT_OK(ml_swiglu_forward(m.device_, &d));
        }
        void swiglu_backward(int64_t layer) {
            auto d = m.swiglu(layer);
            d.dy = p.dact.at, d.dgate = p.kept[layer].gated[0].at, d.dup = p.kept[layer].gated[1].at;
            EXPECT_OK(ml_swiglu_backward(m.device_, &d));
        }
        void norm(int64_t layer, Norm n) {
            const auto d = m.norm(x_of(layer, n), weight_of(layer, n), p.normed);
            EXPECT_OK(ml_rmsnorm_forward(m.device_, &d));
        }
        void norm_backward(int64_t layer, Norm n) { m.norm_back(x_of(layer, n), weight_of(layer, n), true); }
        void linear_backward(int64_t layer, Group g, bool needs_dx) {
            switch (g.first) {
                case kQ: return m.backward(layer, g, p.normed, p.dqkv, needs_dx ? p.dnormed.at : nullptr);
                case kO: return m.backward(layer, g, p.kept[layer].o, {p.dx}, p.d_o.at);
                case kGate: return m.backward(layer, g, p.normed, p.kept[layer].gated, p.dnormed.at);
                default: return m.backward(layer, g, p.act, {p.dx}, p.dact.at);
            }
        }
        void attention_backward(int64_t layer) {
            auto d = m.attention(layer);
            d.d_o = p.d_o.at, d.dq = p.dqkv[kQ].at, d.dk = p.dqkv[kK].at, d.dv = p.dqkv[kV].at;
            EXPECT_OK(ml_attention_backward(m.device_, &d));
        }
        void rope_backward(int64_t) { m.rope(p.dqkv, ml_rope_backward); }
    };

    void rope(const std::vector<Rows> &qkv, int32_t (*op)(ml_context *, const ml_rope_desc *)) {
        for (Projection of : {kQ, kK}) {
            ml_rope_desc d{};
            d.x = qkv[of].at, d.cos = pass_->cos, d.sin = pass_->sin, d.position = pass_->position, d.tokens = d.positions = pass_->tokens;
            d.heads = of == kQ ? s_.heads : s_.kv_heads, d.head_dim = s_.head_dim, d.stride = qkv[of].stride;
            EXPECT_OK(op(device_, &d));
        }
    }
    ml_attention_desc attention(int64_t layer) {
        const Pass::Kept &l = pass_->kept[layer];
        ml_attention_desc d{};
        d.q = l.qkv[kQ].at, d.k = l.qkv[kK].at, d.v = l.qkv[kV].at, d.o = l.o.at, d.q_offsets = pass_->sequences;
        d.q_stride = l.qkv[kQ].stride, d.kv_stride = l.qkv[kK].stride, d.o_stride = l.o.stride, d.lse = pass_->lse.at(layer * pass_->tokens * s_.heads);
        d.tokens = pass_->tokens, d.sequences = pass_->texts, d.max_length = pass_->longest;
        d.heads = s_.heads, d.kv_heads = s_.kv_heads, d.head_dim = s_.head_dim, d.scale = s_.scale();
        return d;
    }
    ml_swiglu_desc swiglu(int64_t layer) {
        const Pass::Kept &l = pass_->kept[layer];
        ml_swiglu_desc d{};
        d.gate = l.gated[0].at, d.up = l.gated[1].at, d.y = pass_->act.at, d.rows = pass_->tokens, d.width = s_.inner;
        d.gate_stride = l.gated[0].stride, d.y_stride = pass_->act.stride;
        return d;
    }
    ml_rmsnorm_desc norm(Rows x, float *weight, Rows y) {
        ml_rmsnorm_desc d{};
        d.x = x.at, d.weight = weight, d.y = y.at, d.rstd = pass_->rstd, d.rows = pass_->tokens, d.width = s_.hidden, d.eps = kEps;
        d.out_stride = y.stride;
        return d;
    }
    void norm_back(Rows x, float *weight, bool accumulate) {
        auto d = norm(x, weight, pass_->dx);
        d.dy = pass_->dnormed.at, d.dx = pass_->dx.at, d.accumulate = accumulate;
        EXPECT_OK(ml_rmsnorm_backward(device_, &d));
    }
    ml_cross_entropy_desc cross_entropy(const int32_t *rows, const int32_t *target, float *logprob, int64_t count) {
        ml_cross_entropy_desc d{};
        d.x = pass_->last_normed.at, d.w = embedding_, d.rows = rows, d.target = target, d.logprob = logprob, d.tokens = pass_->tokens, d.count = count;
        return d;
    }

    // The Linears of one input, with their outputs or, backward, the gradients of these.
    Linears linears(int64_t layer, Group input, Rows x, const std::vector<Rows> &y, bool backward = false) {
        Linears all;
        for (Group g : groups(input)) {
            const Rows own = y[g.first - input.first];
            ml_lora_linear_desc d{};
            d.x = x.at, d.y = own.at, d.dy = own.at, d.x_stride = x.stride, d.y_stride = own.stride, d.w = *weights_[layer * kProjections + g.first];
            for (int p = g.first; p < g.first + g.count; p++) {
                const Site site = s_.site(layer, p);
                d.term[d.terms++] = {adapters_ + site.a, adapters_ + site.b, gradients_ + site.a, gradients_ + site.b,
                                     s_.out_of(Group{g.first, p - g.first}), s_.out_of(p), 0};
            }
            d.h = pass_->h.at((layer * kProjections + g.first) * pass_->tokens * s_.rank), d.slot_offsets = pass_->slots, d.tokens = pass_->tokens;
            d.slots = kTasks, d.slot_stride = static_cast<int64_t>(s_.parameters()), d.rank = s_.rank, d.scale = kScale;
            d.spare = backward ? own.spare : x.spare;
            all.push_back(d);
        }
        return all;
    }
    // Linears behind the op that writes what they read: as one op where there is one Linear.
    template <class Desc>
    void forward(int32_t (*before)(ml_context *, const Desc *), int32_t (*both)(ml_context *, const Desc *, const ml_lora_linear_desc *), Desc d,
                 Linears &readers, void *residual) {
        if (stacked_) {
            readers[0].residual = residual;
            EXPECT_OK(both(device_, &d, &readers[0]));
            return;
        }
        EXPECT_OK(before(device_, &d));
        forward(readers, residual);
    }
    void forward(Linears &all, void *residual) {
        for (auto &d : all) {
            d.residual = residual;
            EXPECT_OK(ml_lora_linear_forward(device_, &d));
        }
    }
    void backward(int64_t layer, Group input, Rows x, const std::vector<Rows> &dy, void *dx) {
        auto all = linears(layer, input, x, dy, true);
        for (auto &d : all) {
            d.dx = dx, d.accumulate = &d != &all[0];
            EXPECT_OK(ml_lora_linear_backward(device_, &d));
        }
    }

    Device &device_;
    const Shape s_;
    const bool stacked_;
    Weight embedding_;
    Buffer<float> final_norm_;
    std::vector<std::unique_ptr<Weight>> weights_;
    std::vector<std::unique_ptr<Buffer<float>>> norms_;
    float *adapters_ = nullptr, *gradients_ = nullptr;
    Pass *pass_ = nullptr;  // the one run last
};

// The second task has no texts.
const std::vector<std::vector<int>> kLong = {{9, 14}, {}, {70, 5, 3}}, kSupport = {{9, 14}, {}, {21, 5, 3}}, kQuery = {{17}, {}, {8, 12}};

// A chain of many rounded ops: more than an op's own bound, no more than what bf16 training has anywhere.
double gradient_bound() { return activation_dtype() == ML_BF16 ? 4e-2 : on_cuda() ? 1e-5 : 5e-6; }

struct Variant {
    Shape shape;
    bool stacked;
    std::string text() const { return format("head_dim %d, rank %d, %s", int(shape.head_dim), int(shape.rank), stacked ? "stacked" : "separate"); }
};

// The large heads are of a size that tensor cores take, and the ranks there are not whole tiles.
constexpr Shape kSmallHeads{{64, 4, 2, 16, 96}, 8}, kLargeHeads{{64, 2, 1, 64, 96}, 12};
const std::vector<Variant> kVariants{{kLargeHeads, true}, {kSmallHeads, false}, {kSmallHeads, true}, {kLargeHeads, false}};

// The first so many, or half of them where a pass takes long.
std::vector<Variant> variants(int64_t count) {
    if (too_slow(8e6)) count /= 2;
    return {kVariants.begin(), kVariants.begin() + count};
}

// Matrix by matrix: a small one's error must not hide behind a large one.
void expect_close(const char *what, const Shape &s, const std::vector<float> &actual, const Vec &expected) {
    EXPECT_CLOSE(what, actual, expected, gradient_bound());
    for (size_t task = 0; task < actual.size() / s.parameters(); task++) {
        for (int64_t layer = 0; layer < kLayers; layer++) {
            for (int p = 0; p < kProjections; p++) {
                const Site site = s.site(layer, p);
                for (auto [matrix, first, last] : {std::tuple("A", site.a, site.b), std::tuple("B", site.b, site.end)}) {
                    Case where(format("task %d, layer %d, Linear %d, %s", int(task), int(layer), p, matrix));
                    const size_t from = task * s.parameters() + first, to = task * s.parameters() + last;
                    EXPECT_CLOSE(what, std::vector<float>(actual.begin() + from, actual.begin() + to),
                                 Vec(expected.begin() + from, expected.begin() + to), gradient_bound());
                }
            }
        }
    }
}

// Logits up to what is added to all of a row's: log-probabilities less their mean.
template <class T> std::vector<T> logits(std::vector<T> logprobs) {
    for (auto row = logprobs.begin(); row != logprobs.end(); row += kVocab) {
        double sum = 0;
        for (int64_t id = 0; id < kVocab; id++) sum += row[id];
        for (int64_t id = 0; id < kVocab; id++) row[id] -= static_cast<T>(sum / kVocab);
    }
    return logprobs;
}

}  // namespace

TEST(model_matches_reference) {
    for (const Variant &variant : variants(4)) {
        Case which(variant.text());
        const Shape &shape = variant.shape;
        Random random(1);
        const Frozen frozen(random, shape);
        const Pack pack(random, kLong);
        const auto adapters = random.normal(kTasks * shape.parameters(), 0.1);
        const Result result = expected(frozen, pack, wide(adapters));
        const Ints after{0, 8, 60, static_cast<int32_t>(pack.tokens()) - 1};
        const auto [rows, targets] = all_targets(after);
        const Vec all = reference::cross_entropy(result.last, frozen.embedding.values, shape.hidden, rows, targets, {}).logprob;
        on_every_device([&](Device &device) {
            Model model(device, frozen, variant.stacked);
            Model::Pass pass(model, pack);
            const std::vector<float> zeros(adapters.size(), 0.0f);
            Buffer<float> slots(device, adapters), gradients(device, zeros);
            model.run(pass, slots, gradients);
            pass.expect_intact();
            EXPECT_CLOSE("logprob", pass.logprob.read(), result.logprob, 2e-6);
            EXPECT_CLOSE("logits", logits(model.logprobs(pass, after)), logits(all), 2e-6);
            const auto once = gradients.read();
            expect_close("gradients", shape, once, result.gradient);
            if (on_cuda()) return;  // where graphs below repeat a pass
            gradients.write(zeros);
            model.run(pass, slots, gradients);
            EXPECT_SAME_BITS("gradients again", gradients.read(), once);
        });
    }
}

// Stage 1: each task's copy takes inner SGD steps on its support set. Stage 2: the mean of the tasks' query gradients at their
// copies, clipped, is the shared adapter's gradient in an AdamW step. The task without texts weighs nothing.
TEST(model_meta_iteration_matches_reference) {
    constexpr int steps = 2;
    constexpr float inner_rate = 0.5f, outer_rate = 0.01f, most_norm = 0.25f;
    const std::vector<float> weight{0.5f, 0, 0.5f};
    for (const Variant &variant : variants(2)) {
        Case which(variant.text());
        const Shape &shape = variant.shape;
        Random random(2);
        const Frozen frozen(random, shape);
        const Pack support(random, kSupport), query(random, kQuery);
        const size_t count = shape.parameters();
        const auto shared = random.normal(count, 0.1);
        Vec copies;
        for (int64_t task = 0; task < kTasks; task++) {
            for (float x : shared) copies.push_back(x);
        }
        for (int step = 0; step < steps; step++) {
            const auto inner = expected(frozen, support, copies);
            for (size_t i = 0; i < copies.size(); i++) copies[i] -= inner_rate * inner.gradient[i];
        }
        Vec changes = copies;
        for (size_t i = 0; i < changes.size(); i++) changes[i] -= shared[i % count];
        const auto outer = expected(frozen, query, copies);
        Vec mean(count, 0.0);
        for (size_t i = 0; i < kTasks * count; i++) mean[i % count] += weight[i / count] * outer.gradient[i];
        const double norm = std::sqrt(dot(mean, mean));
        EXPECT(norm > 2 * most_norm);  // the clip has something to do
        for (double &x : mean) x *= most_norm / (norm + 1e-6);
        auto gram = [&](const Vec &gradients) {
            Vec products;
            for (size_t i = 0; i < kTasks; i++) {
                for (size_t j = 0; j < kTasks; j++) {
                    products.push_back(0);
                    for (size_t e = 0; e < count; e++) products.back() += gradients[i * count + e] * gradients[j * count + e];
                }
            }
            return products;
        };

        on_every_device([&](Device &device) {
            Model model(device, frozen, variant.stacked);
            const auto n = static_cast<int64_t>(count);
            const std::vector<float> zeros(kTasks * count, 0.0f), zero(count, 0.0f);
            Buffer<float> parameter(device, shared), slots(device, zeros.size()), gradients(device, zeros), reduced(device, count);
            Buffer<float> weights(device, weight), length(device, 1), m(device, zero), v(device, zero);
            Buffer<double> dots(device, kTasks * kTasks);
            EXPECT_OK(ml_broadcast(device, slots, parameter, n, n, kTasks));
            Model::Pass adapting(model, support), asking(model, query);
            ml_sgd_desc sgd{};
            sgd.parameter = slots, sgd.grad = gradients, sgd.count = n, sgd.stride = n, sgd.slots = kTasks, sgd.lr = inner_rate;
            for (int step = 0; step < steps; step++) {
                EXPECT_OK(ml_fill(device, gradients, kTasks * n, 0));
                model.run(adapting, slots, gradients);
                EXPECT_OK(ml_sgd_step(device, &sgd));
            }
            auto changed = slots.read();
            for (size_t i = 0; i < changed.size(); i++) changed[i] -= shared[i % count];
            expect_close("changes of the copies", shape, changed, changes);
            EXPECT_OK(ml_fill(device, gradients, kTasks * n, 0));
            model.run(asking, slots, gradients);
            EXPECT_CLOSE("query log-probabilities", asking.logprob.read(), outer.logprob, 2e-6);
            expect_close("query gradients", shape, gradients.read(), outer.gradient);
            ml_task_reduce_desc reduce{};
            reduce.grad = gradients, reduce.weight = weights, reduce.out = reduced, reduce.gram = dots, reduce.count = n, reduce.stride = n;
            reduce.slots = kTasks;
            EXPECT_OK(ml_task_reduce(device, &reduce));
            EXPECT_CLOSE("Gram matrix", narrow(dots.read()), gram(outer.gradient), 2 * gradient_bound());
            EXPECT_CLOSE_FLOAT("Gram matrix of these gradients", narrow(dots.read()), gram(wide(gradients.read())), 1e-6);
            ml_clip_desc clip{};
            clip.grad = reduced, clip.norm = length, clip.count = n, clip.stride = n, clip.slots = 1, clip.max_norm = most_norm;
            EXPECT_OK(ml_clip_global_norm(device, &clip));
            EXPECT_CLOSE("norm", length.read(), {norm}, gradient_bound());
            expect_close("clipped mean of the query gradients", shape, reduced.read(), mean);
            ml_adamw_desc adamw{};
            adamw.parameter = parameter, adamw.grad = reduced, adamw.m = m, adamw.v = v, adamw.norm = length, adamw.count = n, adamw.stride = n;
            adamw.slots = 1, adamw.step = 1, adamw.lr = outer_rate, adamw.beta1 = 0.9f, adamw.beta2 = 0.999f, adamw.eps = 1e-8f;
            adamw.weight_decay = 0.01f;
            EXPECT_OK(ml_adamw_step(device, &adamw));
            // The first step is all but the gradient's sign: against the gradient this device has, not against the reference's.
            auto updated = wide(shared);
            const auto gradient = reduced.read();
            for (size_t i = 0; i < updated.size(); i++) {
                const double g = gradient[i];
                updated[i] = updated[i] * (1 - double(outer_rate) * double(0.01f)) - outer_rate * g / (std::fabs(g) + double(1e-8f));
            }
            EXPECT_CLOSE_FLOAT("shared adapter", parameter.read(), updated, 2e-6);
        });
    }
}

// A pass recorded once and launched with other ids, targets, divisions into texts and adapters gives the bits of the same pass
// run directly.
TEST(model_replayed_gives_the_bits_of_a_direct_pass) {
    if (!on_cuda()) return;
    for (const Variant &variant : variants(2)) {
        Case which(variant.text());
        const Shape &shape = variant.shape;
        Random random(3);
        const Frozen frozen(random, shape);
        // Of one shape: as many tokens, texts and rows, the same longest text.
        const std::vector<Pack> packs{Pack(random, kSupport), Pack(random, {{}, {4, 21, 3}, {10, 14}})};
        const std::vector<std::vector<float>> adapters{random.normal(kTasks * shape.parameters(), 0.1), random.normal(kTasks * shape.parameters(), 0.1)};
        const std::vector<float> zeros(adapters[0].size(), 0.0f);
        const Result last = expected(frozen, packs[1], wide(adapters[1]));
        on_every_device([&](Device &device) {
            Model model(device, frozen, variant.stacked);
            Model::Pass pass(model, packs[0]);
            Buffer<float> slots(device, zeros), gradients(device, zeros);
            auto outcome = [&](size_t i, const std::function<void()> &body) {
                slots.write(adapters[i]), pass.write(packs[i]);
                gradients.write(zeros), pass.logprob.write(std::vector<float>(packs[i].rows.size(), 0.0f));
                body();
                auto values = gradients.read();
                const auto logprob = pass.logprob.read();
                values.insert(values.end(), logprob.begin(), logprob.end());
                return values;
            };
            std::vector<std::vector<float>> direct;
            for (size_t i : {0, 1}) direct.push_back(outcome(i, [&] { model.run(pass, slots, gradients); }));
            ml_graph *graph = nullptr;
            EXPECT_SAME_BITS("recording, which leaves all alone", outcome(0, [&] {
                EXPECT_OK(ml_graph_begin(device));
                model.run(pass, slots, gradients);
                EXPECT_OK(ml_graph_end(device, &graph));
            }), std::vector<float>(direct[0].size(), 0.0f));
            for (size_t i : {0, 1}) {
                Case contents(format("contents %zu", i));
                EXPECT_SAME_BITS("gradients and log-probabilities", outcome(i, [&] { EXPECT_OK(ml_graph_launch(device, graph)); }), direct[i]);
            }
            EXPECT_OK(ml_graph_launch(device, graph));  // gradients add up
            auto doubled = last.gradient;
            for (double &x : doubled) x *= 2;
            expect_close("twice the gradients", shape, gradients.read(), doubled);
            EXPECT_CLOSE("logprob", pass.logprob.read(), last.logprob, 2e-6);
            pass.expect_intact();
            EXPECT_OK(ml_graph_destroy(device, graph));
        });
    }
}

// A Llama-shaped decoder with random frozen weights and one LoRA adapter a slot on all Linears, run through the ops as the Java
// runtime does it: for measuring steps of models whose weights are not at hand. q, k and v are one Linear, and so are gate and up;
// what goes into a Linear has room behind its rows for the adapters' columns; norms and SwiGLU are one op with the Linear behind
// them; and a pass that comes again is replayed as a graph.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "decoder_order.h"
#include "metalora.h"

namespace bench {

inline void check(int32_t status, const char *call) {
    if (status == ML_OK) return;
    std::fprintf(stderr, "%s: %s: %s\n", call, ml_status_name(status), ml_last_error());
    std::exit(1);
}
#define CHECK(call) ::bench::check((call), #call)

// Device memory.
class Memory {
public:
    Memory(ml_context *context, int64_t bytes) : context_(context), bytes_(bytes) { CHECK(ml_alloc(context, bytes, &pointer_)); }
    ~Memory() { ml_free(context_, pointer_); }
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;
    void *get() const { return pointer_; }
    float *floats() const { return static_cast<float *>(pointer_); }
    int32_t *ints() const { return static_cast<int32_t *>(pointer_); }
    int64_t bytes() const { return bytes_; }
    ml_context *context() const { return context_; }
    template <class T> void write(const std::vector<T> &values) {
        CHECK(ml_upload(context_, pointer_, values.data(), static_cast<int64_t>(values.size() * sizeof(T))));
    }

private:
    ml_context *context_;
    int64_t bytes_;
    void *pointer_ = nullptr;
};
using Buffer = std::unique_ptr<Memory>;

// Random numbers of about a normal distribution, as bf16.
inline std::vector<uint16_t> random_bf16(int64_t count, float deviation, uint64_t seed) {
    std::vector<uint16_t> values(static_cast<size_t>(count));
    uint64_t state = seed * 0x9E3779B97F4A7C15ull + 1;
    for (auto &value : values) {
        float sum = -2;  // of four uniform numbers
        for (int i = 0; i < 4; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            sum += static_cast<float>(state >> 40) * 0x1p-24f;
        }
        const float x = sum * 1.7320508f * deviation;
        uint32_t bits;
        std::memcpy(&bits, &x, sizeof bits);
        value = static_cast<uint16_t>(bits >> 16);
    }
    return values;
}

inline std::vector<float> random_floats(int64_t count, float deviation, uint64_t seed) {
    std::vector<float> values;
    for (uint16_t half : random_bf16(count, deviation, seed)) {
        const uint32_t bits = static_cast<uint32_t>(half) << 16;
        float x;
        std::memcpy(&x, &bits, sizeof x);
        values.push_back(x);
    }
    return values;
}

struct Shape : decoder::Sizes {
    std::string name;
    int64_t layers, vocab;
};

// Sequences of one length, an equal number of them a slot; every token but a sequence's first is a target.
struct Batch {
    int64_t slots, sequences_a_slot, length;
    int64_t tokens() const { return slots * sequences_a_slot * length; }
    int64_t rows() const { return slots * sequences_a_slot * (length - 1); }
};

using namespace decoder;

class Decoder {
public:
    Decoder(ml_context *context, const Shape &shape, int64_t rank, const Batch &largest, int64_t slots)
        : context_(context), s_(shape), rank_(rank), most_slots_(slots) {
        make_weights();
        const int64_t t = largest.tokens(), n = parameters();
        shared_ = make(n * 4), gradient_ = make(n * 4), m_ = make(n * 4), v_ = make(n * 4);
        slots_ = make(slots * n * 4), gradients_ = make(slots * n * 4);
        shared_->write(random_floats(n, 0.01f, 3));
        for (Buffer *b : {&ids_, &position_, &rows_, &target_}) *b = make(t * 4);
        for (Buffer *b : {&scale_, &logprob_, &rstd_}) *b = make(t * 4);
        sequences_ = make((t + 1) * 4), slot_offsets_ = make((slots + 1) * 4), weights_of_tasks_ = make(slots * 4), norm_ = make(slots * 4);
        gram_ = make(slots * slots * 8);
        cos_ = make(largest.length * s_.head_dim * 2), sin_ = make(largest.length * s_.head_dim * 2);
        normed_ = acts(t, s_.hidden + spare(kQkv)), dnormed_ = acts(t, s_.hidden), dx_ = acts(t, s_.hidden + spare(kOut));
        act_ = acts(t, s_.inner + spare(kDowns)), dact_ = acts(t, s_.inner), d_o_ = acts(t, s_.q_width()), dqkv_ = acts(t, qkv_stride());
        for (int64_t i = 0; i < s_.layers; i++) {
            Layer l;
            l.x = acts(t, s_.hidden), l.mid = acts(t, s_.hidden), l.o = acts(t, o_stride());
            l.qkv = acts(t, qkv_stride()), l.gate_up = acts(t, gate_stride());
            l.lse = make(t * s_.heads * 4);
            for (const Group &g : decoder::kGroups) l.h[g.first] = make(t * g.count * rank * 4);
            layers_.push_back(std::move(l));
        }
        last_ = acts(t, s_.hidden);
        ml_rope_table_desc table{};
        table.cos = cos_->floats(), table.sin = sin_->floats(), table.positions = largest.length, table.head_dim = s_.head_dim, table.theta = 10000;
        CHECK(ml_rope_table(context_, &table));
        const float each = 1.0f / static_cast<float>(slots);
        weights_of_tasks_->write(std::vector<float>(static_cast<size_t>(slots), each));
    }
    ~Decoder() {
        for (auto &[key, graph] : graphs_) ml_graph_destroy(context_, graph);
        for (auto *w : weights_) ml_weight_destroy(context_, w);
    }

    int64_t parameters() const {
        int64_t n = 0;
        for (int p = 0; p < kProjections; p++) n += rank_ * (s_.in_of(p) + s_.out_of(p));
        return n * s_.layers;
    }

    // A step of joint LoRA: forward, backward, clip, AdamW.
    void training_step(const Batch &batch) {
        CHECK(ml_fill(context_, gradient_->floats(), parameters(), 0));
        forward_backward(batch, shared_->floats(), gradient_->floats());
        outer_step();
    }

    // An iteration of MeTA-LoRA: all tasks' copies adapted at once on their support, one step from their query gradients.
    void meta_iteration(const Batch &support, const Batch &query, int inner_steps) {
        const int64_t n = parameters();
        CHECK(ml_broadcast(context_, slots_->floats(), shared_->floats(), n, n, support.slots));
        for (int step = 0; step <= inner_steps; step++) {
            CHECK(ml_fill(context_, gradients_->floats(), n * support.slots, 0));
            forward_backward(step < inner_steps ? support : query, slots_->floats(), gradients_->floats());
            if (step == inner_steps) break;
            ml_sgd_desc sgd{};
            sgd.parameter = slots_->floats(), sgd.grad = gradients_->floats(), sgd.count = sgd.stride = n, sgd.slots = support.slots, sgd.lr = 0.01f;
            CHECK(ml_sgd_step(context_, &sgd));
        }
        ml_task_reduce_desc reduce{};
        reduce.grad = gradients_->floats(), reduce.weight = weights_of_tasks_->floats(), reduce.out = gradient_->floats();
        reduce.gram = static_cast<double *>(gram_->get()), reduce.count = reduce.stride = n, reduce.slots = support.slots;
        CHECK(ml_task_reduce(context_, &reduce));
        outer_step();
    }

    // The mean log-probability of the last pass.
    double mean_logprob(const Batch &batch) {
        std::vector<float> values(static_cast<size_t>(batch.rows()));
        CHECK(ml_download(context_, values.data(), logprob_->get(), static_cast<int64_t>(values.size() * 4)));
        double sum = 0;
        for (float x : values) sum += x;
        return sum / static_cast<double>(values.size());
    }

private:
    struct Layer {
        Buffer x, mid, qkv, o, gate_up, lse, h[kProjections];
    };

    int64_t spare(const Group &g) const { return most_slots_ * g.count * ((rank_ + 7) / 8 * 8); }
    // Rows hold the gradients of such a group too, which are the input of its backward.
    int64_t qkv_stride() const { return s_.out_of(kQkv) + spare(kQkv); }
    int64_t gate_stride() const { return s_.out_of(kGateUp) + spare(kGateUp); }
    int64_t o_stride() const { return s_.q_width() + spare(kOut); }
    int64_t normed_stride() const { return s_.hidden + spare(kQkv); }
    static void *columns(const Buffer &b, int64_t first) { return static_cast<uint16_t *>(b->get()) + first; }
    Buffer make(int64_t bytes) { return std::make_unique<Memory>(context_, bytes); }
    Buffer acts(int64_t rows, int64_t width) { return make(rows * width * 2); }

    // The same random numbers in every layer: what they are does not matter, and it saves the host the time.
    void make_weights() {
        const int64_t largest = std::max(s_.vocab * s_.hidden, s_.inner * s_.hidden);
        const auto values = random_bf16(largest, 0.02f, 1);
        auto freeze = [&](const std::vector<int64_t> &outs, int64_t in, int64_t adapter_columns) {
            ml_weight_desc d{nullptr, ML_BF16, ML_BF16, 0, in, adapter_columns};
            for (int64_t out : outs) d.out_features += out;
            ml_weight *w = nullptr;
            CHECK(ml_weight_create(context_, &d, &w));
            weights_.push_back(w);
            int64_t first = 0;
            for (int64_t out : outs) {
                d.data = values.data(), d.out_features = out;
                CHECK(ml_weight_write(context_, w, first, &d));
                first += out;
            }
        };
        for (int64_t i = 0; i < s_.layers; i++) {
            for (const Group &g : decoder::kGroups) {
                std::vector<int64_t> outs;
                for (int p = 0; p < g.count; p++) outs.push_back(s_.out_of(g.first + p));
                freeze(outs, s_.in_of(g.first), spare(g));
            }
        }
        freeze({s_.vocab}, s_.hidden, 0);  // embedding
        freeze({s_.vocab}, s_.hidden, 0);  // head
        norm_weight_ = make(s_.hidden * 4);
        norm_weight_->write(std::vector<float>(static_cast<size_t>(s_.hidden), 1.0f));
    }
    static constexpr int64_t kWeightsOfLayer = 4;
    ml_weight *weight(int64_t layer, const Group &g) const {
        return weights_[static_cast<size_t>(layer * kWeightsOfLayer + (g.first == kQ ? 0 : g.first == kO ? 1 : g.first == kGate ? 2 : 3))];
    }

    void upload(const Batch &b) {
        if (b.slots == uploaded_.slots && b.sequences_a_slot == uploaded_.sequences_a_slot && b.length == uploaded_.length) return;
        uploaded_ = b;
        std::vector<int32_t> ids, position, rows, target, sequences{0}, slots{0};
        for (int64_t slot = 0; slot < b.slots; slot++) {
            for (int64_t q = 0; q < b.sequences_a_slot; q++) {
                for (int64_t i = 0; i < b.length; i++) {
                    const auto id = static_cast<int32_t>((ids.size() * 2654435761u) % static_cast<uint64_t>(s_.vocab));
                    if (i > 0) rows.push_back(static_cast<int32_t>(ids.size()) - 1), target.push_back(id);
                    ids.push_back(id), position.push_back(static_cast<int32_t>(i));
                }
                sequences.push_back(static_cast<int32_t>(ids.size()));
            }
            slots.push_back(static_cast<int32_t>(ids.size()));
        }
        ids_->write(ids), position_->write(position), rows_->write(rows), target_->write(target), sequences_->write(sequences);
        slot_offsets_->write(slots);
        scale_->write(std::vector<float>(rows.size(), 1.0f / static_cast<float>(rows.size() / static_cast<size_t>(b.slots))));
    }

    // The first time op by op, which measures products and takes scratch memory; the second time the ops are recorded.
    void forward_backward(const Batch &b, float *adapters, float *gradients) {
        upload(b);
        adapters_ = adapters, adapter_gradients_ = gradients, tokens_ = b.tokens(), used_slots_ = b.slots;
        Steps steps{*this, b};
        const auto key = std::make_tuple(b.slots, b.sequences_a_slot, b.length, adapters);
        const auto found = graphs_.find(key);
        if (found == graphs_.end()) {
            graphs_[key] = nullptr;
            decoder::forward_backward(steps, s_.layers);
            return;
        }
        if (found->second == nullptr) {
            CHECK(ml_graph_begin(context_));
            decoder::forward_backward(steps, s_.layers);
            CHECK(ml_graph_end(context_, &found->second));
        }
        CHECK(ml_graph_launch(context_, found->second));
    }

    void outer_step() {
        const int64_t n = parameters();
        ml_clip_desc clip{};
        clip.grad = gradient_->floats(), clip.norm = norm_->floats(), clip.count = clip.stride = n, clip.slots = 1, clip.max_norm = 1;
        CHECK(ml_clip_global_norm(context_, &clip));
        ml_adamw_desc adamw{};
        adamw.parameter = shared_->floats(), adamw.grad = gradient_->floats(), adamw.m = m_->floats(), adamw.v = v_->floats();
        adamw.count = adamw.stride = n, adamw.slots = 1, adamw.step = ++steps_, adamw.lr = 1e-4f, adamw.beta1 = 0.9f, adamw.beta2 = 0.999f;
        adamw.eps = 1e-8f;
        CHECK(ml_adamw_step(context_, &adamw));
    }

    // The ops of a pass over a batch.
    struct Steps {
        Decoder &m;
        const Batch &b;

        Layer &at(int64_t i) const { return m.layers_[static_cast<size_t>(i)]; }
        void *x_of(int64_t i, Norm n) const { return (n == kInput ? at(i).x : at(i).mid)->get(); }

        void embed() {
            const ml_embedding_desc d{m.weights_[static_cast<size_t>(m.s_.layers * kWeightsOfLayer)], m.ids_->ints(), at(0).x->get(), m.tokens_};
            CHECK(ml_embedding_forward(m.context_, &d));
        }
        void norm_linear(int64_t i, Norm n, Group g) {
            auto d = m.norm_desc(x_of(i, n));
            d.y = m.normed_->get(), d.out_stride = m.normed_stride();
            auto linear = m.forward_desc(i, g, m.normed_, m.normed_stride(), g.first == kQ ? m.qkv_stride() : m.gate_stride());
            linear.y = (g.first == kQ ? at(i).qkv : at(i).gate_up)->get();
            CHECK(ml_rmsnorm_linear_forward(m.context_, &d, &linear));
        }
        void rope(int64_t i) { m.rope(columns(at(i).qkv, 0), m.s_.heads, false), m.rope(columns(at(i).qkv, m.s_.q_width()), m.s_.kv_heads, false); }
        void attention(int64_t i) {
            const auto d = m.attention(at(i), b);
            CHECK(ml_attention_forward(m.context_, &d));
        }
        void linear(int64_t i, Group g) {
            auto d = m.forward_desc(i, g, at(i).o, m.o_stride(), m.s_.hidden);
            d.residual = at(i).x->get(), d.y = at(i).mid->get();
            CHECK(ml_lora_linear_forward(m.context_, &d));
        }
        void swiglu_linear(int64_t i, Group g) {
            const auto d = m.swiglu_desc(at(i));
            auto linear = m.forward_desc(i, g, m.act_, d.y_stride, m.s_.hidden);
            linear.residual = at(i).mid->get(), linear.y = (i + 1 < m.s_.layers ? at(i + 1).x : m.last_)->get();
            CHECK(ml_swiglu_linear_forward(m.context_, &d, &linear));
        }
        void final_norm() { m.norm(m.last_->get(), m.s_.hidden); }
        void loss() {
            ml_cross_entropy_desc d{};
            d.x = m.normed_->get(), d.w = m.weights_.back(), d.rows = m.rows_->ints(), d.target = m.target_->ints(), d.row_scale = m.scale_->floats();
            d.logprob = m.logprob_->floats(), d.dx = m.dnormed_->get(), d.tokens = m.tokens_, d.count = b.rows();
            CHECK(ml_cross_entropy(m.context_, &d));
        }
        void final_norm_backward() { m.norm_back(m.last_->get(), false); }
        void swiglu(int64_t i) {
            const auto d = m.swiglu_desc(at(i));
            CHECK(ml_swiglu_forward(m.context_, &d));
        }
        void swiglu_backward(int64_t i) {
            auto d = m.swiglu_desc(at(i));
            d.dgate = columns(at(i).gate_up, 0), d.dup = columns(at(i).gate_up, m.s_.inner), d.dy = m.dact_->get();
            CHECK(ml_swiglu_backward(m.context_, &d));
        }
        void norm(int64_t i, Norm n) { m.norm(x_of(i, n), m.normed_stride()); }
        void norm_backward(int64_t i, Norm n) { m.norm_back(x_of(i, n), true); }
        void linear_backward(int64_t i, Group g, bool needs_dx) {
            switch (g.first) {
                case kQ: return m.back(i, g, m.normed_, m.normed_stride(), m.dqkv_, m.qkv_stride(), needs_dx ? m.dnormed_->get() : nullptr);
                case kO: return m.back(i, g, at(i).o, m.o_stride(), m.dx_, m.dx_stride(), m.d_o_->get());
                case kGate: return m.back(i, g, m.normed_, m.normed_stride(), at(i).gate_up, m.gate_stride(), m.dnormed_->get());
                default: return m.back(i, g, m.act_, m.s_.inner + m.spare(kDowns), m.dx_, m.dx_stride(), m.dact_->get());
            }
        }
        void attention_backward(int64_t i) {
            auto d = m.attention(at(i), b);
            d.d_o = m.d_o_->get(), d.dq = columns(m.dqkv_, 0), d.dk = columns(m.dqkv_, m.s_.q_width());
            d.dv = columns(m.dqkv_, m.s_.q_width() + m.s_.kv_width());
            CHECK(ml_attention_backward(m.context_, &d));
        }
        void rope_backward(int64_t) { m.rope(columns(m.dqkv_, 0), m.s_.heads, true), m.rope(columns(m.dqkv_, m.s_.q_width()), m.s_.kv_heads, true); }
    };

    int64_t dx_stride() const { return s_.hidden + spare(kOut); }
    void norm(void *x, int64_t stride) {
        auto d = norm_desc(x);
        d.y = normed_->get(), d.out_stride = stride;
        CHECK(ml_rmsnorm_forward(context_, &d));
    }
    void norm_back(void *x, bool accumulate) {
        auto d = norm_desc(x);
        d.dy = dnormed_->get(), d.dx = dx_->get(), d.accumulate = accumulate, d.out_stride = dx_stride();
        CHECK(ml_rmsnorm_backward(context_, &d));
    }
    ml_rmsnorm_desc norm_desc(void *x) {
        ml_rmsnorm_desc d{};
        d.x = x, d.weight = norm_weight_->floats(), d.rstd = rstd_->floats(), d.rows = tokens_, d.width = s_.hidden, d.eps = 1e-5f;
        return d;
    }
    ml_swiglu_desc swiglu_desc(Layer &l) {
        ml_swiglu_desc d{};
        d.gate = columns(l.gate_up, 0), d.up = columns(l.gate_up, s_.inner), d.y = act_->get(), d.rows = tokens_, d.width = s_.inner;
        d.gate_stride = gate_stride(), d.y_stride = s_.inner + spare(kDowns);
        return d;
    }
    void rope(void *x, int64_t heads, bool backward) {
        ml_rope_desc d{};
        d.x = x, d.cos = cos_->floats(), d.sin = sin_->floats(), d.position = position_->ints(), d.tokens = tokens_;
        d.positions = uploaded_.length, d.heads = heads, d.head_dim = s_.head_dim, d.stride = qkv_stride();
        CHECK(backward ? ml_rope_backward(context_, &d) : ml_rope_forward(context_, &d));
    }
    ml_attention_desc attention(Layer &l, const Batch &b) {
        ml_attention_desc d{};
        d.q = columns(l.qkv, 0), d.k = columns(l.qkv, s_.q_width()), d.v = columns(l.qkv, s_.q_width() + s_.kv_width()), d.o = l.o->get();
        d.q_stride = d.kv_stride = qkv_stride(), d.o_stride = o_stride(), d.lse = l.lse->floats(), d.q_offsets = sequences_->ints();
        d.tokens = tokens_, d.sequences = b.slots * b.sequences_a_slot, d.max_length = b.length, d.heads = s_.heads, d.kv_heads = s_.kv_heads;
        d.head_dim = s_.head_dim, d.scale = 1 / std::sqrt(static_cast<float>(s_.head_dim));
        return d;
    }
    ml_lora_linear_desc desc(int64_t layer, const Group &g, const Buffer &x, int64_t x_stride, int64_t y_stride) {
        ml_lora_linear_desc d{};
        d.x = x->get(), d.w = weight(layer, g), d.h = layers_[static_cast<size_t>(layer)].h[g.first]->floats();
        int64_t at = layer * (parameters() / s_.layers);
        for (int p = 0; p < g.first; p++) at += rank_ * (s_.in_of(p) + s_.out_of(p));
        for (int i = 0; i < g.count; i++) {
            const int64_t in = s_.in_of(g.first), out = s_.out_of(g.first + i), first = i == 0 ? 0 : d.term[i - 1].first + d.term[i - 1].rows;
            float *a = adapters_ + at, *da = adapter_gradients_ + at;
            d.term[i] = {a, a + rank_ * in, da, da + rank_ * in, first, out, 0};
            at += rank_ * (in + out);
        }
        d.terms = g.count, d.slot_offsets = slot_offsets_->ints(), d.tokens = tokens_, d.slots = used_slots_, d.slot_stride = parameters();
        d.rank = rank_, d.scale = 2, d.x_stride = x_stride, d.y_stride = y_stride;
        return d;
    }
    ml_lora_linear_desc forward_desc(int64_t layer, const Group &g, const Buffer &x, int64_t x_stride, int64_t y_stride) {
        auto d = desc(layer, g, x, x_stride, y_stride);
        d.spare = x_stride - s_.in_of(g.first);
        return d;
    }
    void back(int64_t layer, const Group &g, const Buffer &x, int64_t x_stride, const Buffer &dy, int64_t dy_stride, void *dx) {
        auto d = desc(layer, g, x, x_stride, dy_stride);
        d.dy = dy->get(), d.dx = dx, d.spare = dy_stride - s_.out_of(g);
        CHECK(ml_lora_linear_backward(context_, &d));
    }

    ml_context *context_;
    Shape s_;
    int64_t rank_, most_slots_, tokens_ = 0, used_slots_ = 0, steps_ = 0;
    Batch uploaded_{0, 0, 0};
    std::vector<ml_weight *> weights_;
    std::vector<Layer> layers_;
    std::map<std::tuple<int64_t, int64_t, int64_t, const float *>, ml_graph *> graphs_;
    float *adapters_ = nullptr, *adapter_gradients_ = nullptr;
    Buffer shared_, gradient_, m_, v_, slots_, gradients_, ids_, position_, rows_, target_, scale_, logprob_, rstd_, sequences_, slot_offsets_;
    Buffer weights_of_tasks_, norm_, gram_, cos_, sin_, norm_weight_, normed_, dnormed_, dx_, act_, dact_, d_o_, dqkv_, last_;
};

}  // namespace bench

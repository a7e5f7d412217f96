// Several threads in the library at once, each with a context of its own or all at one: what ThreadSanitizer is to see.
#include <atomic>
#include <thread>

#include "harness.h"

using namespace test;

namespace {

constexpr int kThreads = 4;

// Runs body(0), body(1), ... in threads that begin together.
template <class Body>
void together(const Body &body) {
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; i++) {
        threads.emplace_back([&, i] {
            ready++;
            while (ready < kThreads) std::this_thread::yield();
            body(i);
        });
    }
    for (auto &thread : threads) thread.join();
}

// A small model of one attention layer with an adapter, trained through a context of its own. No EXPECT in here: the harness
// serves one thread.
class Training {
public:
    Training(const Setup &setup, uint64_t seed) : random_(seed) {
        ml_context_options options{};
        options.threads = setup.threads, options.isa = setup.isa.c_str();
        check(ml_context_create(&options, &context_));
        embedding_ = weight(kVocab), query_ = weight(kHidden);
        ids_ = ints(kTokens), target_ = ints(kTokens);
        sequences_ = array<int32_t>({0, 40, kTokens}), slots_ = array<int32_t>({0, kTokens});
        std::vector<int32_t> all(kTokens);
        for (int32_t i = 0; i < kTokens; i++) all[static_cast<size_t>(i)] = i;
        rows_ = array(all);
        norm_ = array(std::vector<float>(kHidden, 1)), scale_ = array(std::vector<float>(kTokens, 1.0f / kTokens));
        adapter_ = array(random_.normal(kAdapter, 0.1));
        mixture_ = array(random_.normal(kMixture, 0.1));
        mixture_gradient_ = array(std::vector<float>(kMixture, 0));
        for (float **zeros : {&gradient_, &m_, &v_}) *zeros = array(std::vector<float>(kAdapter, 0));
        for (float **pass : {&x_, &n_, &q_, &o_, &d_o_, &dq_, &dk_, &dv_}) *pass = array(std::vector<float>(kTokens * kHidden, 0));
        mixture_h_ = array(std::vector<float>(kTokens * kRank, 0)), weights_ = array(std::vector<float>(kTokens * kMixed, 0));
        k_ = array(std::vector<float>(kTokens * kHidden, 0));
        h_ = array(std::vector<float>(kTokens * kRank, 0)), lse_ = array(std::vector<float>(kTokens * kHeads, 0));
        logprob_ = array(std::vector<float>(kTokens, 0)), length_ = array(std::vector<float>(1, 0));
    }

    void step(int64_t number) {
        ml_embedding_desc embed{};
        embed.table = embedding_, embed.ids = ids_, embed.y = x_, embed.tokens = kTokens;
        check(ml_embedding_forward(context_, &embed));
        ml_rmsnorm_desc norm{};
        norm.x = x_, norm.weight = norm_, norm.y = n_, norm.rows = kTokens, norm.width = kHidden, norm.eps = 1e-5f;
        check(ml_rmsnorm_forward(context_, &norm));
        ml_lora_linear_desc linear{};
        linear.x = n_, linear.w = query_, linear.y = q_, linear.h = h_, linear.dy = dq_, linear.slot_offsets = slots_, linear.tokens = kTokens;
        linear.slots = 1, linear.slot_stride = kAdapter, linear.rank = kRank, linear.terms = 1, linear.scale = 2, linear.dropout = 0.1f;
        linear.seed = static_cast<uint64_t>(number);
        linear.term[0] = {adapter_, adapter_ + kRank * kHidden, gradient_, gradient_ + kRank * kHidden, 0, kHidden, 1};
        check(ml_lora_linear_forward(context_, &linear));
        ml_mixture_linear_desc mixed{};
        mixed.x = n_, mixed.w = query_, mixed.y = k_, mixed.h = mixture_h_, mixed.weights = weights_, mixed.dy = dk_;
        mixed.slot_offsets = slots_, mixed.tokens = kTokens, mixed.slots = 1, mixed.slot_stride = kMixture, mixed.rank = kRank;
        mixed.heads = kMixed, mixed.terms = 1, mixed.scale = 2, mixed.dropout = 0.1f, mixed.seed = static_cast<uint64_t>(number);
        constexpr int64_t b = kRank * kHidden, router = b + kHidden * kMixed * kRank;
        float *const p = mixture_, *const g = mixture_gradient_;
        mixed.term[0] = {p, p + b, p + router, g, g + b, g + router, 0, kHidden, 2};
        check(ml_mixture_linear_forward(context_, &mixed));
        ml_attention_desc attention{};
        attention.q = q_, attention.k = k_, attention.v = n_, attention.o = o_, attention.lse = lse_, attention.d_o = d_o_;
        attention.dq = dq_, attention.dk = dk_, attention.dv = dv_, attention.q_offsets = sequences_, attention.tokens = kTokens;
        attention.sequences = 2, attention.max_length = kTokens - 40, attention.heads = kHeads, attention.kv_heads = kHeads;
        attention.head_dim = kHidden / kHeads, attention.scale = 0.25f;
        check(ml_attention_forward(context_, &attention));
        ml_cross_entropy_desc loss{};
        loss.x = o_, loss.w = embedding_, loss.rows = rows_, loss.target = target_, loss.row_scale = scale_, loss.logprob = logprob_;
        loss.dx = d_o_, loss.tokens = kTokens, loss.count = kTokens;
        check(ml_cross_entropy(context_, &loss));
        check(ml_attention_backward(context_, &attention));
        check(ml_fill(context_, gradient_, kAdapter, 0));
        check(ml_lora_linear_backward(context_, &linear));
        check(ml_fill(context_, mixture_gradient_, kMixture, 0));
        check(ml_mixture_linear_backward(context_, &mixed));
        ml_sgd_desc sgd{};
        sgd.parameter = mixture_, sgd.grad = mixture_gradient_, sgd.count = sgd.stride = kMixture, sgd.slots = 1, sgd.lr = 0.1f;
        check(ml_sgd_step(context_, &sgd));
        ml_clip_desc clip{};
        clip.grad = gradient_, clip.norm = length_, clip.count = kAdapter, clip.stride = kAdapter, clip.slots = 1, clip.max_norm = 1;
        check(ml_clip_global_norm(context_, &clip));
        ml_adamw_desc adamw{};
        adamw.parameter = adapter_, adamw.grad = gradient_, adamw.m = m_, adamw.v = v_, adamw.norm = length_, adamw.count = kAdapter;
        adamw.stride = kAdapter, adamw.slots = 1, adamw.step = number, adamw.lr = 0.01f, adamw.beta1 = 0.9f, adamw.beta2 = 0.999f;
        adamw.eps = 1e-8f;
        check(ml_adamw_step(context_, &adamw));
    }

    std::vector<float> adapter() {
        std::vector<float> values(kAdapter);
        check(ml_download(context_, values.data(), adapter_, kAdapter * 4));
        return values;
    }

    // Frees everything; whether all calls were fine.
    bool close() {
        for (void *buffer : buffers_) check(ml_free(context_, buffer));
        for (ml_weight *one : {embedding_, query_}) check(ml_weight_destroy(context_, one));
        check(ml_context_destroy(context_));
        return fine_;
    }

private:
    static constexpr int64_t kVocab = 50, kHidden = 64, kHeads = 4, kRank = 4, kTokens = 96, kAdapter = 2 * kRank * kHidden;
    static constexpr int64_t kMixed = 3, kMixture = (kRank + kMixed * kRank + kMixed) * kHidden;  // heads, and parameters

    void check(int32_t status) { fine_ = fine_ && status == ML_OK; }

    template <class T>
    T *array(const std::vector<T> &values) {
        void *pointer = nullptr;
        const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
        check(ml_alloc(context_, bytes, &pointer));
        check(ml_upload(context_, pointer, values.data(), bytes));
        buffers_.push_back(pointer);
        return static_cast<T *>(pointer);
    }

    int32_t *ints(int64_t count) {
        std::vector<int32_t> values(static_cast<size_t>(count));
        for (auto &value : values) value = static_cast<int32_t>(random_.below(kVocab));
        return array(values);
    }

    ml_weight *weight(int64_t out) {
        const auto values = random_.normal(static_cast<size_t>(out * kHidden), 0.125);
        ml_weight_desc desc{};
        desc.data = values.data(), desc.source_dtype = ML_F32, desc.storage_dtype = ML_F32, desc.out_features = out, desc.in_features = kHidden;
        ml_weight *made = nullptr;
        check(ml_weight_create(context_, &desc, &made));
        return made;
    }

    Random random_;
    bool fine_ = true;
    ml_context *context_ = nullptr;
    std::vector<void *> buffers_;
    ml_weight *embedding_, *query_;
    int32_t *ids_, *target_, *sequences_, *slots_, *rows_;
    float *norm_, *scale_, *adapter_, *gradient_, *m_, *v_, *x_, *n_, *q_, *o_, *d_o_, *dq_, *dk_, *dv_, *h_, *lse_, *logprob_, *length_;
    float *mixture_, *mixture_gradient_, *mixture_h_, *weights_, *k_;
};

std::vector<float> trained(const Setup &setup, int thread, bool &fine) {
    Training training(setup, static_cast<uint64_t>(thread));
    for (int64_t step = 1; step <= 5; step++) training.step(step);
    auto adapter = training.adapter();
    fine = training.close();
    return adapter;
}

}  // namespace

// First in this program: what is made at first use (the plugin that is looked for, tables) is made by all threads at once.
TEST(first_use_by_several_threads) {
    std::atomic<int> right{0};
    std::vector<std::string> said(kThreads);
    together([&](int i) {
        const int32_t status = ml_backend_probe(ML_BACKEND_CUDA);
        if (status == ML_BACKEND_UNAVAILABLE) said[static_cast<size_t>(i)] = ml_last_error();
        ml_context_options options{};
        options.threads = 2;
        ml_context *context = nullptr;
        right += (status == ML_OK || !said[static_cast<size_t>(i)].empty()) && ml_context_create(&options, &context) == ML_OK
            && ml_context_destroy(context) == ML_OK;
    });
    EXPECT(right == kThreads);
    for (auto &one : said) EXPECT(one == said[0]);
}

TEST(error_texts_are_each_threads_own) {
    std::atomic<int> right{0};
    together([&](int i) {
        bool own = true;
        for (int again = 0; again < 200; again++) {
            ml_context_options options{};
            options.threads = -1 - i;
            ml_context *context = nullptr;
            own = own && ml_context_create(&options, &context) == ML_INVALID_ARGUMENT
                && std::strstr(ml_last_error(), format("threads: %d ", -1 - i).c_str()) != nullptr;
        }
        right += own;
    });
    EXPECT(right == kThreads);
}

TEST(trainings_side_by_side_give_the_bits_of_one_alone) {
    for (auto &setup : setups()) {
        Case name(format("%s, %d threads", setup.isa.c_str(), setup.threads));
        std::vector<std::vector<float>> beside(kThreads);
        std::atomic<int> fine{0};
        together([&](int i) {
            bool all = false;
            beside[static_cast<size_t>(i)] = trained(setup, i, all);
            fine += all;
        });
        EXPECT(fine == kThreads);
        for (int i = 0; i < kThreads; i++) {
            bool all = false;
            const auto alone = trained(setup, i, all);
            EXPECT(all);
            EXPECT_SAME_BITS("adapter", beside[static_cast<size_t>(i)], alone);
        }
    }
}

// One context from all threads: a call either runs or gives ML_BUSY, and what ran left nothing broken. It is destroyed by one.
TEST(one_context_by_several_threads) {
    ml_context_options options{};
    options.threads = 2;
    ml_context *context = nullptr;
    EXPECT_OK(ml_context_create(&options, &context));
    std::atomic<int> wrong{0}, ran{0};
    together([&](int i) {
        for (int again = 0; again < 100; again++) {
            void *memory = nullptr;
            int32_t status = ml_alloc(context, 4096 + i, &memory);
            if (status == ML_BUSY) continue;
            wrong += status != ML_OK;
            ran += status == ML_OK;
            while ((status = ml_fill(context, static_cast<float *>(memory), 1024, static_cast<float>(i))) == ML_BUSY) std::this_thread::yield();
            wrong += status != ML_OK;
            float last = -1;
            while ((status = ml_download(context, &last, static_cast<float *>(memory) + 1023, 4)) == ML_BUSY) std::this_thread::yield();
            wrong += status != ML_OK || last != static_cast<float>(i);
            ml_context_info info{};
            status = ml_context_get_info(context, &info);
            wrong += status != ML_OK && status != ML_BUSY;
            while ((status = ml_free(context, memory)) == ML_BUSY) std::this_thread::yield();
            wrong += status != ML_OK;
        }
    });
    EXPECT(wrong == 0 && ran > 0);
    ml_context_info info{};
    EXPECT_OK(ml_context_get_info(context, &info));
    EXPECT(info.memory_in_use == 0);
    EXPECT_OK(ml_context_destroy(context));
}

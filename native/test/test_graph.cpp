// Graphs: what may be recorded, what is refused, and when a graph is not launched any more. A whole model's is in test_model.
#include <cmath>
#include <thread>

#include "harness.h"
#include "weights.h"

using namespace test;

namespace {

const std::vector<float> kOnes(100, 1.0f);

// A graph that fills values.
ml_graph *recorded_fill(Device &device, Buffer<float> &values, float value) {
    ml_graph *graph = nullptr;
    EXPECT_OK(ml_graph_begin(device));
    EXPECT_OK(ml_fill(device, values, static_cast<int64_t>(values.size()), value));
    EXPECT_OK(ml_graph_end(device, &graph));
    EXPECT(graph != nullptr);
    return graph;
}

int32_t clip(Device &device, Buffer<float> &grad, Buffer<float> &norm) {  // takes scratch memory
    ml_clip_desc d{};
    d.grad = grad, d.norm = norm, d.count = d.stride = static_cast<int64_t>(grad.size()), d.slots = 1, d.max_norm = 1;
    return ml_clip_global_norm(device, &d);
}

}  // namespace

TEST(graph_is_unsupported_on_the_cpu) {
    ml_context_options options{};
    ml_context *context = nullptr;
    EXPECT_OK(ml_context_create(&options, &context));
    ml_graph *graph = nullptr;
    EXPECT_STATUS(ml_graph_begin(context), ML_UNSUPPORTED, "graph: the CPU");
    EXPECT_STATUS(ml_graph_end(context, &graph), ML_UNSUPPORTED, "graph: the CPU");
    EXPECT(graph == nullptr);
    EXPECT_STATUS(ml_graph_launch(context, graph), ML_INVALID_ARGUMENT, "graph");
    EXPECT_OK(ml_graph_destroy(context, nullptr));
    EXPECT_STATUS(ml_graph_begin(nullptr), ML_INVALID_ARGUMENT, "context");
    EXPECT_OK(ml_context_destroy(context));
}

TEST(graph_runs_at_its_launches) {
    if (!on_cuda()) return;
    on_every_device([&](Device &device) {
        Buffer<float> values(device, kOnes), copy(device, kOnes);
        ml_graph *graph = nullptr;
        EXPECT_OK(ml_graph_begin(device));
        EXPECT_OK(ml_fill(device, values, 50, 3));
        EXPECT_OK(ml_copy(device, copy, values, 400));
        EXPECT_OK(ml_copy(device, values, values.at(0), 0));
        EXPECT_OK(ml_graph_end(device, &graph));
        EXPECT_SAME_BITS("before a launch", values.read(), kOnes);
        std::vector<float> later = kOnes;
        later[77] = 7;
        values.write(later);
        EXPECT_OK(ml_graph_launch(device, graph));
        std::fill(later.begin(), later.begin() + 50, 3.0f);
        EXPECT_SAME_BITS("what was uploaded in between", copy.read(), later);
        EXPECT_OK(ml_fill(device, values, 100, 0));
        EXPECT_OK(ml_graph_launch(device, graph));
        EXPECT(copy.read()[0] == 3 && copy.read()[77] == 0);
        EXPECT_OK(ml_graph_destroy(device, graph));
        EXPECT_INVALID(ml_graph_launch(device, graph), "not a live graph");
        EXPECT_INVALID(ml_graph_destroy(device, graph), "not a live graph");
        EXPECT_OK(ml_graph_begin(device));
        EXPECT_OK(ml_graph_end(device, &graph));  // of nothing
        EXPECT_OK(ml_graph_launch(device, graph));
        EXPECT_OK(ml_graph_destroy(device, graph));
    });
}

TEST(calls_that_cannot_be_recorded_are_refused_and_spoil_nothing) {
    if (!on_cuda()) return;
    Random random(1);
    const FrozenMatrix matrix(random, 8, 8, ML_F32);
    on_every_device([&](Device &device) {
        Buffer<float> values(device, kOnes);
        Weight kept(device, matrix);
        ml_graph *other = recorded_fill(device, values, 5), *graph = nullptr;
        EXPECT_INVALID(ml_graph_end(device, &graph), "nothing is being recorded");
        EXPECT_OK(ml_graph_begin(device));
        EXPECT_OK(ml_fill(device, values, 100, 2));
        float host[4] = {};
        void *pointer = nullptr;
        ml_weight *weight = nullptr;
        const ml_weight_desc desc{matrix.source.data(), ML_F32, ML_F32, 8, 8, 0};
        const struct { int32_t status; const char *call; } refused[] = {
            {ml_synchronize(device), "ml_synchronize"},
            {ml_alloc(device, 64, &pointer), "ml_alloc"},
            {ml_free(device, values), "ml_free"},
            {ml_upload(device, values, host, 16), "ml_upload"},
            {ml_download(device, host, values, 16), "ml_download"},
            {ml_weight_create(device, &desc, &weight), "ml_weight_create"},
            {ml_weight_write(device, kept, 0, &desc), "ml_weight_write"},
            {ml_weight_destroy(device, kept), "ml_weight_destroy"},
            {ml_graph_begin(device), "ml_graph_begin"},
            {ml_graph_launch(device, other), "ml_graph_launch"},
            {ml_graph_destroy(device, other), "ml_graph_destroy"},
            {ml_context_destroy(device), "ml_context_destroy"},
        };
        for (const auto &one : refused) {
            Case name(one.call);
            EXPECT(one.status == ML_INVALID_ARGUMENT);
        }
        EXPECT(pointer == nullptr && weight == nullptr);
        ml_alloc(device, 64, &pointer);
        EXPECT(std::strstr(ml_last_error(), "ml_alloc: a graph is being recorded") != nullptr);
        ml_context_info info{};
        EXPECT_OK(ml_context_get_info(device, &info));
        EXPECT(ml_weight_bytes(device, &desc) > 0);
        EXPECT_OK(ml_graph_end(device, &graph));
        EXPECT_SAME_BITS("not run yet", values.read(), kOnes);
        EXPECT_OK(ml_graph_launch(device, graph));
        EXPECT(values.read()[99] == 2);
        EXPECT_OK(ml_graph_launch(device, other));
        EXPECT(values.read()[99] == 5);
        EXPECT_OK(ml_graph_destroy(device, graph));
        EXPECT_OK(ml_graph_destroy(device, other));
    });
}

// What another thread calls in between runs neither now nor whenever the graph does.
TEST(another_thread_is_told_that_the_context_is_busy_until_the_end) {
    if (!on_cuda()) return;
    on_every_device([&](Device &device) {
        Buffer<float> values(device, kOnes), theirs(device, kOnes);
        ml_graph *graph = nullptr;
        int64_t bytes = -1;
        auto others = [&](const char *text) {
            std::thread([&] {
                void *pointer = nullptr;
                ml_context_info info{};
                EXPECT_STATUS(ml_fill(device, theirs, 100, 9), ML_BUSY, text);
                EXPECT_STATUS(ml_copy(device, theirs, values, 4), ML_BUSY, text);
                EXPECT_STATUS(ml_alloc(device, 64, &pointer), ML_BUSY, text);
                EXPECT_STATUS(ml_plan_end(device, &bytes), ML_BUSY, text);
                EXPECT_STATUS(ml_context_destroy(device), ML_BUSY, text);
                EXPECT_OK(ml_context_get_info(device, &info));
            }).join();
        };
        EXPECT_OK(ml_plan_begin(device));
        others("in another thread scratch memory is being planned");
        EXPECT_OK(ml_plan_end(device, &bytes));
        EXPECT(bytes == 0);
        EXPECT_OK(ml_graph_begin(device));
        EXPECT_OK(ml_fill(device, values, 100, 2));
        std::thread([&] {
            EXPECT_STATUS(ml_fill(device, theirs, 100, 9), ML_BUSY, "in another thread a graph is being recorded");
            EXPECT_STATUS(ml_graph_begin(device), ML_BUSY, "ml_graph_end");
            EXPECT_STATUS(ml_graph_end(device, &graph), ML_BUSY, "ml_graph_end");
        }).join();
        EXPECT_OK(ml_graph_end(device, &graph));
        EXPECT_OK(ml_graph_launch(device, graph));
        EXPECT(values.read()[99] == 2);
        EXPECT_SAME_BITS("theirs", theirs.read(), kOnes);
        std::thread([&] { EXPECT_OK(ml_fill(device, theirs, 100, 9)); }).join();
        EXPECT(theirs.read()[99] == 9);
        EXPECT_OK(ml_graph_destroy(device, graph));
    });
}

TEST(a_plan_is_unsupported_on_the_cpu) {
    ml_context_options options{};
    ml_context *context = nullptr;
    EXPECT_OK(ml_context_create(&options, &context));
    EXPECT_STATUS(ml_plan_begin(context), ML_UNSUPPORTED, "plan: ops of the CPU");
    EXPECT_INVALID(ml_plan_end(context, nullptr), "nothing is being planned");
    EXPECT_OK(ml_context_destroy(context));
}

TEST(a_plan_holds_what_the_largest_op_takes_and_runs_none) {
    if (!on_cuda()) return;
    on_every_device([&](Device &device) {
        Buffer<float> values(device, std::vector<float>(300000, 1.0f)), norm(device, std::vector<float>{7});
        ml_context_info before{}, planned{}, after{};
        EXPECT_OK(ml_context_get_info(device, &before));
        int64_t bytes = -1;
        EXPECT_OK(ml_plan_begin(device));
        EXPECT_OK(ml_fill(device, values, 100, 3));
        EXPECT_OK(ml_copy(device, values.at(1), values, 1000000));  // takes as much, since the two overlap
        EXPECT_OK(clip(device, values, norm));
        EXPECT_OK(ml_plan_end(device, &bytes));
        EXPECT(bytes == 1000000);
        EXPECT_OK(ml_context_get_info(device, &planned));
        EXPECT(planned.memory_in_use == before.memory_in_use + bytes);
        EXPECT(planned.memory_peak >= planned.memory_in_use);
        EXPECT_SAME_BITS("nothing ran", values.read(), std::vector<float>(300000, 1.0f));
        EXPECT(norm.read()[0] == 7);
        ml_graph *graph = nullptr;  // recorded without a first run: its scratch memory is there
        EXPECT_OK(ml_graph_begin(device));
        EXPECT_OK(clip(device, values, norm));
        EXPECT_OK(ml_graph_end(device, &graph));
        EXPECT_OK(ml_copy(device, values.at(1), values, 1000000));
        EXPECT_OK(ml_graph_launch(device, graph));
        EXPECT_CLOSE("the norm of a recorded clip", norm.read(), std::vector<double>{std::sqrt(300000.0)}, 1e-5);
        EXPECT_OK(ml_context_get_info(device, &after));
        EXPECT(after.memory_in_use == planned.memory_in_use && after.memory_peak == planned.memory_peak);
        EXPECT_OK(ml_plan_begin(device));  // of less: what is held stays
        EXPECT_OK(clip(device, values, norm));
        EXPECT_OK(ml_plan_end(device, &bytes));
        EXPECT(bytes > 0 && bytes < 1000000);
        EXPECT_OK(ml_graph_launch(device, graph));
        EXPECT_OK(ml_graph_destroy(device, graph));
    });
}

// The block that older graphs use was given back for a larger one that there is no memory for.
TEST(a_plan_that_does_not_fit_keeps_what_was_held_and_leaves_no_older_graph) {
    if (!on_cuda()) return;
    Device device(setups().front());
    Buffer<float> values(device, std::vector<float>(300000, 1.0f)), norm(device, 1);
    EXPECT_OK(ml_plan_begin(device));
    EXPECT_OK(clip(device, values, norm));
    EXPECT_OK(ml_plan_end(device, nullptr));
    auto recorded_clip = [&] {
        ml_graph *graph = nullptr;
        EXPECT_OK(ml_graph_begin(device));
        EXPECT_OK(clip(device, values, norm));
        EXPECT_OK(ml_graph_end(device, &graph));
        return graph;
    };
    ml_graph *graph = recorded_clip();
    EXPECT_OK(ml_graph_launch(device, graph));
    ml_context_info before{}, after{};
    EXPECT_OK(ml_context_get_info(device, &before));
    // The stand-in clears memory slowly: there it is another program that leaves little of it.
    const auto hold_elsewhere = reinterpret_cast<void (*)(int64_t)>(standin("hostcuda_hold"));
    const int64_t most = hold_elsewhere != nullptr ? 1 << 20 : before.memory_free / 5 * 3;
    void *large = nullptr;
    EXPECT_OK(ml_alloc(device, most, &large));
    if (hold_elsewhere != nullptr) hold_elsewhere(before.memory_free - most / 2 * 3);
    int64_t bytes = -1;
    EXPECT_OK(ml_plan_begin(device));
    EXPECT_OK(clip(device, values, norm));
    EXPECT_OK(ml_copy(device, static_cast<char *>(large) + 64, large, most - 64));
    EXPECT_OK(clip(device, values, norm));
    EXPECT_STATUS(ml_plan_end(device, &bytes), ML_OUT_OF_MEMORY, format("which ml_copy (bytes %lld) takes", static_cast<long long>(most - 64)).c_str());
    EXPECT(bytes == 0);
    EXPECT_OK(ml_context_get_info(device, &after));
    EXPECT(after.memory_in_use == before.memory_in_use + most);
    EXPECT_INVALID(ml_graph_launch(device, graph), "record anew");
    EXPECT_OK(ml_graph_destroy(device, graph));
    graph = recorded_clip();  // without a run before: its scratch memory is there
    EXPECT_OK(ml_graph_launch(device, graph));
    EXPECT_CLOSE("the norm", norm.read(), std::vector<double>{1}, 1e-5);
    EXPECT_OK(ml_graph_destroy(device, graph));
    EXPECT_OK(ml_free(device, large));
    if (hold_elsewhere != nullptr) hold_elsewhere(0);
}

TEST(a_plan_refuses_what_a_recording_does_and_fails_with_its_ops) {
    if (!on_cuda()) return;
    on_every_device([&](Device &device) {
        Buffer<float> values(device, kOnes), norm(device, std::vector<float>{7});
        void *pointer = nullptr;
        ml_graph *graph = nullptr;
        int64_t bytes = -1;
        EXPECT_INVALID(ml_plan_end(device, &bytes), "nothing is being planned");
        EXPECT_OK(ml_plan_begin(device));
        EXPECT_STATUS(ml_alloc(device, 8, &pointer), ML_INVALID_ARGUMENT, "ml_alloc: scratch memory is being planned");
        EXPECT_STATUS(ml_synchronize(device), ML_INVALID_ARGUMENT, "ml_plan_end");
        EXPECT_STATUS(ml_graph_begin(device), ML_INVALID_ARGUMENT, "ml_plan_end");
        EXPECT_STATUS(ml_graph_end(device, &graph), ML_INVALID_ARGUMENT, "nothing is being recorded");
        EXPECT_OK(clip(device, values, norm));
        EXPECT_INVALID(ml_fill(device, nullptr, 100, 3), "values");
        EXPECT_STATUS(ml_plan_end(device, &bytes), ML_INVALID_ARGUMENT, "an op of the plan failed: ml_fill");
        EXPECT(bytes == 0);
        EXPECT_OK(ml_graph_begin(device));
        EXPECT_STATUS(ml_plan_end(device, &bytes), ML_INVALID_ARGUMENT, "nothing is being planned");
        EXPECT_OK(ml_fill(device, values, 100, 3));
        EXPECT_OK(ml_graph_end(device, &graph));
        EXPECT_OK(ml_graph_launch(device, graph));
        EXPECT(values.read()[99] == 3);
        EXPECT_OK(ml_graph_destroy(device, graph));
    });
}

TEST(an_op_that_fails_fails_the_recording_and_the_next_one_works) {
    if (!on_cuda()) return;
    on_every_device([&](Device &device) {
        Buffer<float> values(device, kOnes), norm(device, 1);
        ml_graph *graph = nullptr;
        auto refused = [&](const char *text, const std::function<void()> &body) {
            EXPECT_OK(ml_graph_begin(device));
            EXPECT_OK(ml_fill(device, values, 100, 2));
            body();
            EXPECT_OK(ml_fill(device, values, 100, 4));
            EXPECT_STATUS(ml_graph_end(device, &graph), ML_INVALID_ARGUMENT, text);
            EXPECT(graph == nullptr);
            EXPECT_SAME_BITS("nothing ran", values.read(), kOnes);
        };
        refused("ml_fill: count", [&] { ml_fill(device, values, -1, 0), ml_fill(device, nullptr, 1, 0); });
        // Scratch memory that no op has asked for before.
        refused("ml_clip_global_norm: needs scratch memory", [&] {
            EXPECT(clip(device, values, norm) == ML_INVALID_ARGUMENT);
            EXPECT(std::strstr(ml_last_error(), "run it once before it is recorded") != nullptr);
        });
        EXPECT_OK(ml_graph_begin(device));
        EXPECT_STATUS(ml_graph_end(device, nullptr), ML_INVALID_ARGUMENT, "graph is NULL");
        EXPECT_OK(clip(device, values, norm));
        values.write(kOnes);
        EXPECT_OK(ml_graph_begin(device));
        EXPECT_OK(clip(device, values, norm));
        EXPECT_OK(ml_graph_end(device, &graph));
        EXPECT_OK(ml_graph_launch(device, graph));
        EXPECT_CLOSE("norm", norm.read(), {10}, 1e-6);
        EXPECT_OK(ml_graph_destroy(device, graph));
    });
}

TEST(a_graph_whose_memory_may_have_gone_is_not_launched) {
    if (!on_cuda()) return;
    Random random(2);
    const FrozenMatrix matrix(random, 8, 8, ML_F32);
    on_every_device([&](Device &device) {
        Buffer<float> values(device, kOnes), many(device, 300000);
        void *buffer = nullptr;
        ml_weight *weight = nullptr;
        const ml_weight_desc desc{matrix.source.data(), ML_F32, ML_F32, 8, 8, 0};
        const std::pair<const char *, std::function<void()>> ways[] = {
            {"a freed buffer", [&] { EXPECT_OK(ml_free(device, buffer)); }},
            {"a freed weight", [&] { EXPECT_OK(ml_weight_destroy(device, weight)); }},
            {"scratch memory that grew", [&] { EXPECT_OK(ml_copy(device, many.at(1), many, 1000000)); }},
        };
        for (const auto &[name, gone] : ways) {
            Case way(name);
            if (buffer == nullptr) EXPECT_OK(ml_alloc(device, 64, &buffer));
            if (weight == nullptr) EXPECT_OK(ml_weight_create(device, &desc, &weight));
            ml_graph *graph = recorded_fill(device, values, 3);
            EXPECT_OK(ml_graph_launch(device, graph));
            void *more = nullptr;
            EXPECT_OK(ml_alloc(device, 64, &more));  // takes nothing away
            EXPECT_OK(ml_graph_launch(device, graph));
            EXPECT(values.read()[0] == 3);
            values.write(kOnes);
            gone();
            EXPECT_INVALID(ml_graph_launch(device, graph), "record anew");
            EXPECT_SAME_BITS("nothing ran", values.read(), kOnes);
            EXPECT_OK(ml_graph_destroy(device, graph));
            EXPECT_OK(ml_free(device, more));
            graph = recorded_fill(device, values, 4);
            EXPECT_OK(ml_graph_launch(device, graph));
            EXPECT(values.read()[0] == 4);
            EXPECT_OK(ml_graph_destroy(device, graph));
        }
    });
}

TEST(a_context_with_live_graphs_is_not_destroyed) {
    if (!on_cuda()) return;
    ml_context_options options{};
    options.backend = ML_BACKEND_CUDA;
    ml_context *context = nullptr, *other = nullptr;
    ml_graph *graph = nullptr;
    EXPECT_OK(ml_context_create(&options, &context));
    EXPECT_OK(ml_context_create(&options, &other));
    EXPECT_OK(ml_graph_begin(context));
    EXPECT_STATUS(ml_context_destroy(context), ML_INVALID_ARGUMENT, "being recorded");
    EXPECT_OK(ml_graph_end(context, &graph));
    EXPECT_STATUS(ml_context_destroy(context), ML_INVALID_ARGUMENT, "1 graphs are still live");
    EXPECT_STATUS(ml_graph_launch(other, graph), ML_INVALID_ARGUMENT, "not a live graph of this context");
    EXPECT_OK(ml_graph_destroy(context, graph));
    EXPECT_OK(ml_context_destroy(context));
    EXPECT_OK(ml_context_destroy(other));
}

// Which form of a product is faster is measured at its first run, for which the host has to wait.
TEST(a_product_that_was_not_measured_is_not_recorded) {
    if (!on_cuda() || activation_dtype() != ML_BF16) return;
    ml_context_options options{};
    options.backend = ML_BACKEND_CUDA, options.activation_dtype = ML_BF16, options.matmul = ML_MATMUL_MEASURED;
    ml_context *context = nullptr;
    EXPECT_OK(ml_context_create(&options, &context));
    ml_context_info info{};
    EXPECT_OK(ml_context_get_info(context, &info));
    const bool measures = std::strstr(info.blas, "own kernels (") == nullptr;
    const std::vector<float> ones(64 * 64, 1.0f);
    const ml_weight_desc desc{ones.data(), ML_F32, ML_BF16, 64, 64, 0};
    ml_weight *weight = nullptr;
    void *x = nullptr, *y = nullptr;
    EXPECT_OK(ml_weight_create(context, &desc, &weight));
    EXPECT_OK(ml_alloc(context, 16 * 64 * 2, &x));
    EXPECT_OK(ml_alloc(context, 16 * 64 * 2, &y));
    ml_lora_linear_desc linear{};
    linear.x = x, linear.w = weight, linear.y = y, linear.tokens = 16;
    ml_graph *graph = nullptr;
    // On a GPU this shape may have been measured by an earlier run.
    if (measures && standin("hostcuda_set_order") != nullptr) {
        EXPECT_OK(ml_graph_begin(context));
        EXPECT_STATUS(ml_lora_linear_forward(context, &linear), ML_INVALID_ARGUMENT, "needs a measurement");
        EXPECT_STATUS(ml_graph_end(context, &graph), ML_INVALID_ARGUMENT, "needs a measurement");
    }
    EXPECT_OK(ml_lora_linear_forward(context, &linear));
    EXPECT_OK(ml_graph_begin(context));
    EXPECT_OK(ml_lora_linear_forward(context, &linear));
    EXPECT_OK(ml_graph_end(context, &graph));
    EXPECT_OK(ml_graph_launch(context, graph));
    EXPECT_OK(ml_synchronize(context));
    EXPECT_OK(ml_graph_destroy(context, graph));
    EXPECT_OK(ml_weight_destroy(context, weight));
    EXPECT_OK(ml_free(context, x));
    EXPECT_OK(ml_free(context, y));
    EXPECT_OK(ml_context_destroy(context));
}

// What a kernel finds wrong with contents is reported at the next wait, as without a graph.
TEST(a_launch_reports_bad_contents) {
    if (!on_cuda()) return;
    Random random(3);
    const FrozenMatrix table(random, 10, 8, activation_dtype());
    on_every_device([&](Device &device) {
        Weight embedding(device, table);
        Buffer<int32_t> ids(device, {1, 2, 3});
        Activations y(device, 24);
        const ml_embedding_desc d{embedding, ids, y, 3};
        ml_graph *graph = nullptr;
        EXPECT_OK(ml_graph_begin(device));
        EXPECT_OK(ml_embedding_forward(device, &d));
        EXPECT_OK(ml_graph_end(device, &graph));
        EXPECT_OK(ml_graph_launch(device, graph));
        EXPECT_OK(ml_synchronize(device));
        ids.write({1, 10, 3});
        EXPECT_INVALID(ml_graph_launch(device, graph), "ids");
        ids.write({1, 9, 3});
        EXPECT_OK(ml_graph_launch(device, graph));
        EXPECT_OK(ml_synchronize(device));
        EXPECT_OK(ml_graph_destroy(device, graph));
    });
}

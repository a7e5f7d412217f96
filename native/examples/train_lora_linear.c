/*
 * Trains one LoRA linear with AdamW until it reproduces a low-rank change of a frozen weight, with nothing but
 * metalora.h: y = W x + scale * B A x is fitted to (W + D) x, D of the adapter's rank.
 *
 *   cc train_lora_linear.c $(pkg-config --cflags --libs metalora) -lm && ./a.out
 *
 * Exits 0 when the loss fell to a thousandth or less.
 */
#include <math.h>
#include <metalora.h>
#include <stdio.h>
#include <stdlib.h>

enum { IN = 96, OUT = 64, RANK = 4, TOKENS = 256, STEPS = 400 };

#define CHECK(call)                                                                                     \
    do {                                                                                                \
        int32_t status = (call);                                                                        \
        if (status != ML_OK) {                                                                          \
            fprintf(stderr, "%s: %s: %s\n", #call, ml_status_name(status), ml_last_error());            \
            exit(1);                                                                                    \
        }                                                                                               \
    } while (0)

static uint64_t state = 42;

/* Uniform in [-1, 1): splitmix64. */
static float uniform(void) {
    uint64_t z = state += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    return (float)(z >> 40) * 0x1p-23f - 1.0f;
}

static void *device_array(ml_context *context, size_t bytes, const void *values) {
    void *pointer;
    CHECK(ml_alloc(context, (int64_t)bytes, &pointer));
    if (values != NULL) CHECK(ml_upload(context, pointer, values, (int64_t)bytes));
    return pointer;
}

int main(void) {
    static float w[OUT][IN], d_a[RANK][IN], d_b[OUT][RANK], x[TOKENS][IN], target[TOKENS][OUT], y[TOKENS][OUT];
    /* One adapter: A [RANK, IN], then B [OUT, RANK]. B starts at zero, so training starts at the frozen weight. */
    static float adapter[RANK * IN + OUT * RANK];
    enum { PARAMETERS = RANK * IN + OUT * RANK };

    for (int o = 0; o < OUT; o++) for (int i = 0; i < IN; i++) w[o][i] = uniform() / sqrtf(IN);
    for (int r = 0; r < RANK; r++) for (int i = 0; i < IN; i++) d_a[r][i] = uniform() / sqrtf(IN);
    for (int o = 0; o < OUT; o++) for (int r = 0; r < RANK; r++) d_b[o][r] = uniform();
    for (int t = 0; t < TOKENS; t++) for (int i = 0; i < IN; i++) x[t][i] = 2 * uniform();
    for (int i = 0; i < RANK * IN; i++) adapter[i] = uniform() / sqrtf(IN);
    for (int t = 0; t < TOKENS; t++) {
        for (int o = 0; o < OUT; o++) {
            double sum = 0;
            for (int i = 0; i < IN; i++) {
                double changed = w[o][i];
                for (int r = 0; r < RANK; r++) changed += (double)d_b[o][r] * d_a[r][i];
                sum += changed * x[t][i];
            }
            target[t][o] = (float)sum;
        }
    }

    ml_context *context;
    ml_context_options options = {.backend = ML_BACKEND_CPU};
    CHECK(ml_context_create(&options, &context));
    ml_context_info info;
    CHECK(ml_context_get_info(context, &info));
    printf("metalora %s on %s, %s, %d threads\n", ml_version(), info.device_name, info.isa, info.threads);

    ml_weight *weight;
    ml_weight_desc weight_desc = {.data = w, .source_dtype = ML_F32, .storage_dtype = ML_F32, .out_features = OUT, .in_features = IN};
    CHECK(ml_weight_create(context, &weight_desc, &weight));
    const int32_t slot_offsets[] = {0, TOKENS};
    float *parameters = device_array(context, sizeof adapter, adapter);
    float *gradients = device_array(context, sizeof adapter, NULL);
    float *m = device_array(context, sizeof adapter, NULL), *v = device_array(context, sizeof adapter, NULL);
    void *device_x = device_array(context, sizeof x, x), *device_y = device_array(context, sizeof y, NULL);
    float *h = device_array(context, sizeof(float[TOKENS][RANK]), NULL);
    int32_t *offsets = device_array(context, sizeof slot_offsets, slot_offsets);
    void *device_dy = device_array(context, sizeof y, NULL);

    ml_lora_linear_desc linear = {
        .x = device_x, .w = weight, .y = device_y, .h = h, .dy = device_dy, .slot_offsets = offsets,
        .term = {{.a = parameters, .b = parameters + RANK * IN, .da = gradients, .db = gradients + RANK * IN, .rows = OUT}},
        .terms = 1, .tokens = TOKENS, .slots = 1, .slot_stride = PARAMETERS, .rank = RANK, .scale = 2.0f};
    ml_adamw_desc adamw = {.parameter = parameters, .grad = gradients, .m = m, .v = v, .count = PARAMETERS,
                           .stride = PARAMETERS, .slots = 1, .lr = 0.02f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f};
    double first = 0, loss = 0;
    for (int step = 0; step <= STEPS; step++) {
        CHECK(ml_lora_linear_forward(context, &linear));
        CHECK(ml_download(context, y, device_y, sizeof y));
        loss = 0; /* mean squared error; its gradient takes y's place */
        for (int t = 0; t < TOKENS; t++) {
            for (int o = 0; o < OUT; o++) {
                const double difference = (double)y[t][o] - target[t][o];
                loss += difference * difference / (TOKENS * OUT);
                y[t][o] = (float)(2 * difference / (TOKENS * OUT));
            }
        }
        if (step == 0) first = loss;
        if (step % 50 == 0) printf("step %3d  loss %.3e\n", step, loss);
        if (step == STEPS) break;
        CHECK(ml_upload(context, device_dy, y, sizeof y));
        CHECK(ml_fill(context, gradients, PARAMETERS, 0));
        CHECK(ml_lora_linear_backward(context, &linear));
        adamw.step = step + 1;
        adamw.lr = 0.02f * (1 - (float)step / STEPS);
        CHECK(ml_adamw_step(context, &adamw));
    }

    void *buffers[] = {parameters, gradients, m, v, device_x, device_y, h, offsets, device_dy};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) CHECK(ml_free(context, buffers[i]));
    CHECK(ml_weight_destroy(context, weight));
    CHECK(ml_context_destroy(context));
    printf("the loss fell by a factor of %.3g\n", first / loss);
    return loss <= first / 1000 ? 0 : 1;
}

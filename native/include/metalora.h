/*
 * metalora.h: the C ABI of the native core.
 *
 * Conventions
 *   - Every function returns ml_status; ml_last_error() gives the text of the calling thread's last failure.
 *   - Matrices are row-major and dense; where a descriptor has a stride for one, it is the elements from one row to the
 *     next, and 0 means dense. T = tokens of a pack, r = rank, n = adapter slots.
 *   - "act*" pointers are activations in the context's activation type (ml_context_info.activation_dtype: float on
 *     the CPU, float or bfloat16 on CUDA). Adapters, their gradients, optimizer state, losses and statistics are
 *     always float. Arithmetic is in float; products on tensor cores, and on a CPU that is asked
 *     for it (ml_context_options.arithmetic), take bfloat16 operands and accumulate in float.
 *   - All pointers in a descriptor are device memory of the context (from ml_alloc), the descriptor itself is host
 *     memory and may be reused as soon as the call returns. On the CPU backend device memory is ordinary memory.
 *   - Ops run in the order of the calls. On CUDA they are asynchronous: a result is visible to the host after ml_download
 *     or ml_synchronize. Errors in the contents of a descriptor's arrays (an id outside the vocabulary, offsets that
 *     decrease) are then found on the device: the op skips those rows or writes zeros, and the next ml_download or
 *     ml_synchronize returns ML_INVALID_ARGUMENT with the op and the field.
 *   - A pointer marked "nullable" may be NULL: that part of the op is then omitted.
 *   - "accumulate" != 0 adds to the output; 0 overwrites it.
 *   - A context serves one thread at a time; a call made while another is running returns ML_BUSY. From ml_graph_begin or
 *     ml_plan_begin to its end the context belongs to the thread that called it: calls of other threads return ML_BUSY and
 *     do nothing, except ml_context_get_info and ml_weight_bytes.
 *   - For a given backend, instruction set and number of threads, results are the same bits in every run.
 *
 * Packs
 *   Sequences of unequal length lie one after the other without padding. seq_offsets[sequences + 1] gives the first
 *   token of each sequence, slot_offsets[slots + 1] the first token of each adapter slot's segment; both start at 0,
 *   never decrease and end at T. A slot's segment may be empty.
 *
 * Adapter slots
 *   The parameters of one adapter form one flat vector of P floats; n slots are n such vectors, slot_stride floats
 *   apart. `a` and `b` point to A [r, in] and B [out, r] of one Linear inside slot 0; `da` and `db` likewise inside
 *   the gradients, which have the same layout. There are at most 65,000 slots. Slots may be
 *   computed in one product, so that a NaN or an infinity in one can spread to others; one in a slot without tokens cannot.
 */
#ifndef METALORA_H
#define METALORA_H

#include <stddef.h>
#include <stdint.h>

#if defined(METALORA_BUILD)
#define ML_API __attribute__((visibility("default")))
#else
#define ML_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Changes whenever a declaration below changes in a way that breaks a caller. */
#define ML_ABI_VERSION 9

typedef enum ml_status {
    ML_OK = 0,
    ML_INVALID_ARGUMENT = 1,   /* a value or a pointer of the descriptor; the text names the field */
    ML_OUT_OF_MEMORY = 2,
    ML_UNSUPPORTED = 3,        /* the backend has no such op, type or shape */
    ML_BACKEND_UNAVAILABLE = 4,/* the backend can't run here; the text says why */
    ML_BUSY = 5,               /* the context is in use by another thread */
    ML_NOT_FINITE = 6,         /* a NaN or an infinity where the op cannot go on */
    ML_INTERNAL = 7
} ml_status;

typedef enum ml_dtype { ML_F32 = 0, ML_BF16 = 1, ML_F16 = 2 } ml_dtype;

typedef enum ml_backend { ML_BACKEND_CPU = 0, ML_BACKEND_CUDA = 1 } ml_backend;

/* Which kernels multiply by frozen bf16 weights on CUDA: whichever was measured to be faster for the shape, always those of this
   library, or always cuBLASLt. cuBLASLt's form appends the adapters to the weight as a K-tail; what that cannot take goes to the
   library's own kernels: adapters without room beside the weight (adapter_columns), sizes that are no multiples of 8, dropout. */
typedef enum ml_matmul { ML_MATMUL_MEASURED = 0, ML_MATMUL_OWN = 1, ML_MATMUL_CUBLASLT = 2 } ml_matmul;

typedef struct ml_context ml_context;

/* A frozen matrix [out, in] in the layout that the backend's kernels use. Any number of ops may share it; only ml_weight_write
   changes it. */
typedef struct ml_weight ml_weight;

/* Recorded ops that are launched together: see ml_graph_begin. */
typedef struct ml_graph ml_graph;

/* ---- library ---------------------------------------------------------------------------------------------- */

ML_API int32_t ml_abi_version(void);
ML_API const char *ml_version(void);                       /* "major.minor.patch" */
ML_API const char *ml_status_name(int32_t status);         /* "ML_OUT_OF_MEMORY" */
ML_API const char *ml_last_error(void);                    /* of this thread; "" when none */

/* ---- context ---------------------------------------------------------------------------------------------- */

#define ML_MAX_THREADS 1024
#define ML_ACTIVATIONS_DEFAULT (-1)

typedef struct ml_context_options {
    int32_t backend;         /* ml_backend */
    int32_t threads;         /* CPU: threads that compute, the caller's included, up to ML_MAX_THREADS; 0: the physical cores that
                                this process may use */
    int32_t device;          /* CUDA device ordinal; 0 on the CPU */
    int32_t activation_dtype;/* ML_F32; on CUDA also ML_BF16, which takes tensor cores where weights are ML_BF16 too;
                                ML_ACTIVATIONS_DEFAULT: what the backend is fastest in, which ml_context_info then says */
    const char *isa;         /* nullable; CPU: "portable", "avx2" or "avx512" forces a path, NULL picks the fastest */
    int32_t matmul;          /* ml_matmul; CUDA */
    int32_t arithmetic;      /* ml_dtype; CPU: what operands of products with frozen ML_BF16 weights are rounded to. ML_F32: not
                                at all; ML_BF16: activations to bfloat16, in products of more speed where the processor has
                                AVX512_BF16. Sums, adapters and all else are in float. CUDA's follows activation_dtype */
} ml_context_options;

/* What a context can do, or is faster with: bits of ml_context_info.capabilities, so that no caller has to test the backend. */
typedef enum ml_capability {
    ML_CAN_RECORD = 1,             /* ml_graph_begin and ml_plan_begin work; elsewhere they return ML_UNSUPPORTED */
    ML_GAINS_BY_STACKING = 2,      /* Linears of one input are faster as one weight with several terms */
    ML_GAINS_BY_ADAPTER_ROOM = 4,  /* LoRA linears are faster with adapter_columns beside bf16 weights and `spare` behind rows */
    ML_HAS_OWN_MEMORY = 8,         /* device memory is not the system's: memory_free says how much of it is left */
    ML_GAINS_BY_BF16 = 16          /* products of ML_BF16 operands are the hardware's own: by AVX512_BF16, by tensor cores */
} ml_capability;

typedef struct ml_context_info {
    int32_t backend;
    int32_t threads;
    int32_t activation_dtype;
    int32_t capabilities;    /* bits of ml_capability */
    int64_t memory_total;    /* bytes of the device */
    int64_t memory_in_use;   /* bytes held through this context */
    int64_t memory_peak;     /* highest memory_in_use so far */
    int64_t memory_free;     /* bytes of the device that are free; -1 where unknown, and without ML_HAS_OWN_MEMORY */
    char device_name[128];
    char isa[32];            /* instruction set or compute capability in use */
    char isa_reason[128];    /* why that one */
    char blas[128];          /* what multiplies by frozen weights: a BLAS with its version, or own kernels */
} ml_context_info;

/* ML_OK when the backend can run here; else ML_BACKEND_UNAVAILABLE with the reason in ml_last_error(). */
ML_API int32_t ml_backend_probe(int32_t backend);

ML_API int32_t ml_context_create(const ml_context_options *options, ml_context **context);
/* NULL is ignored. Buffers, weights and graphs of the context have to be freed first. */
ML_API int32_t ml_context_destroy(ml_context *context);
ML_API int32_t ml_context_get_info(ml_context *context, ml_context_info *info);
ML_API int32_t ml_synchronize(ml_context *context);

/* ---- memory ----------------------------------------------------------------------------------------------- */

/* 64-byte aligned, zeroed. bytes = 0 gives a valid, unique pointer. */
ML_API int32_t ml_alloc(ml_context *context, int64_t bytes, void **pointer);
ML_API int32_t ml_free(ml_context *context, void *pointer);
ML_API int32_t ml_upload(ml_context *context, void *device, const void *host, int64_t bytes);
ML_API int32_t ml_download(ml_context *context, void *host, const void *device, int64_t bytes);
ML_API int32_t ml_copy(ml_context *context, void *to, const void *from, int64_t bytes);   /* device to device */
/* The same for `rows` of so many bytes each, to_stride and from_stride bytes apart; the rows may not overlap. */
ML_API int32_t ml_copy_rows(ml_context *context, void *to, int64_t to_stride, const void *from, int64_t from_stride,
                            int64_t bytes, int64_t rows);

/* ---- frozen weights --------------------------------------------------------------------------------------- */

typedef struct ml_weight_desc {
    const void *data;        /* HOST memory, [out, in] row-major, any alignment; not kept after the call; nullable for
                                ml_weight_create: rows then start as zeros, for ml_weight_write */
    int32_t source_dtype;    /* ml_dtype of data */
    int32_t storage_dtype;   /* ML_F32 or ML_BF16: how it is held; arithmetic is the context's */
    int64_t out_features;
    int64_t in_features;
    int64_t adapter_columns; /* CUDA: room beside the weight for the adapters of one product (the K-tail): slots * terms * (r
                                rounded up to 8), or of mixtures slots * terms * (the larger one of heads * r and r + heads,
                                rounded up to 8); 0: 64. Adapters beyond it are slower, not wrong. The CPU ignores it */
} ml_weight_desc;

ML_API int32_t ml_weight_create(ml_context *context, const ml_weight_desc *desc, ml_weight **weight);
/* Fills rows [first, first + desc->out_features): so several Linears of one input become one weight. desc has the weight's
   storage_dtype and in_features. */
ML_API int32_t ml_weight_write(ml_context *context, ml_weight *weight, int64_t first, const ml_weight_desc *desc);
ML_API int32_t ml_weight_destroy(ml_context *context, ml_weight *weight);
/* Bytes that such a weight will hold, for estimates before anything is loaded; -1 where the descriptor is wrong. */
ML_API int64_t ml_weight_bytes(ml_context *context, const ml_weight_desc *desc);

/* ---- embedding -------------------------------------------------------------------------------------------- */

/* y[t, :] = table[ids[t], :]. The table is frozen, so there is no backward. */
typedef struct ml_embedding_desc {
    const ml_weight *table;  /* [vocab, hidden] */
    const int32_t *ids;      /* [T], each in [0, vocab) */
    void *y;                 /* act [T, hidden] */
    int64_t tokens;
} ml_embedding_desc;
ML_API int32_t ml_embedding_forward(ml_context *context, const ml_embedding_desc *desc);

/* ---- RMSNorm ---------------------------------------------------------------------------------------------- */

/* y = x * rstd * weight with rstd = 1 / sqrt(mean(x^2) + eps), a row at a time (Zhang and Sennrich 2019).
   For a norm per head: rows = T * heads, width = head_dim, group = heads. `group` rows then lie side by side, and a stride is from
   one group to the next. y may be x, and dx may be dy, where both have the same stride. */
typedef struct ml_rmsnorm_desc {
    const void *x;           /* act [rows, width] */
    const float *weight;     /* [width], frozen */
    void *y;                 /* act [rows, width]; forward only; may be x */
    float *rstd;             /* [rows]; forward: written, nullable; backward: read */
    const void *dy;          /* act [rows, width]; backward only */
    void *dx;                /* act [rows, width]; backward only; may be dy when accumulate = 0 */
    int64_t rows;            /* a multiple of group */
    int64_t width;
    float eps;
    int32_t accumulate;      /* backward: dx += instead of = */
    int64_t group;           /* rows side by side; 0: 1 */
    int64_t x_stride;
    int64_t dy_stride;
    int64_t out_stride;      /* of y and of dx */
} ml_rmsnorm_desc;
ML_API int32_t ml_rmsnorm_forward(ml_context *context, const ml_rmsnorm_desc *desc);
ML_API int32_t ml_rmsnorm_backward(ml_context *context, const ml_rmsnorm_desc *desc);

/* ---- rotary embedding ------------------------------------------------------------------------------------- */

typedef enum ml_rope_scaling { ML_ROPE_PLAIN = 0, ML_ROPE_LINEAR = 1, ML_ROPE_LLAMA3 = 2 } ml_rope_scaling;

/* cos[p, j] and sin[p, j] of p * inverse frequency j, j < head_dim / 2, computed in double (Su et al. 2021;
   llama3 scaling as in the Llama 3.1 release). */
typedef struct ml_rope_table_desc {
    float *cos;              /* [positions, head_dim / 2] */
    float *sin;              /* [positions, head_dim / 2] */
    int64_t positions;
    int64_t head_dim;        /* even */
    double theta;
    int32_t scaling;         /* ml_rope_scaling */
    int32_t reserved;
    double factor;           /* linear, llama3 */
    double low_freq_factor;  /* llama3 */
    double high_freq_factor; /* llama3 */
    double original_max_positions; /* llama3 */
} ml_rope_table_desc;
ML_API int32_t ml_rope_table(ml_context *context, const ml_rope_table_desc *desc);

/* Rotates the pair (j, j + head_dim / 2) of every head in place (half-split layout). Backward rotates back. */
typedef struct ml_rope_desc {
    void *x;                 /* act [T, heads, head_dim], in place: values forward, gradients backward */
    const float *cos;        /* [positions, head_dim / 2] */
    const float *sin;
    const int32_t *position; /* [T], each in [0, positions) */
    int64_t tokens;
    int64_t positions;
    int64_t heads;
    int64_t head_dim;
    int64_t stride;          /* of x, from token to token */
} ml_rope_desc;
ML_API int32_t ml_rope_forward(ml_context *context, const ml_rope_desc *desc);
ML_API int32_t ml_rope_backward(ml_context *context, const ml_rope_desc *desc);

/* ---- attention -------------------------------------------------------------------------------------------- */

/* Causal grouped-query attention over packed sequences: query head h attends with key/value head
   h / (heads / kv_heads). Query i of a sequence with q queries and k keys sees keys j <= i + (k - q), and with
   window > 0 only j > i + (k - q) - window. Online softmax (Milakov and Gimelshein 2018; Dao 2022): memory is
   linear in length. kv_offsets NULL means the keys are those of q_offsets; a key/value cache passes its own. */
typedef struct ml_attention_desc {
    const void *q;           /* act [T, heads, head_dim] */
    const void *k;           /* act [Tk, kv_heads, head_dim] */
    const void *v;           /* act [Tk, kv_heads, head_dim] */
    void *o;                 /* act [T, heads, head_dim]; forward: written; backward: read */
    float *lse;              /* [T, heads], log-sum-exp of the scaled scores; forward: written, nullable */
    const void *d_o;         /* act [T, heads, head_dim]; backward only */
    void *dq;                /* act; backward only, overwritten, as are dk and dv */
    void *dk;
    void *dv;
    const int32_t *q_offsets;  /* [sequences + 1] */
    const int32_t *kv_offsets; /* [sequences + 1]; nullable; forward only */
    int64_t tokens;
    int64_t sequences;
    int64_t max_length;      /* the longest query segment of the pack */
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t window;          /* 0 = unlimited */
    float scale;             /* usually 1 / sqrt(head_dim) */
    int32_t reserved;
    int64_t q_stride;        /* of q and dq, from token to token */
    int64_t kv_stride;       /* of k, v, dk and dv */
    int64_t o_stride;        /* of o; d_o is dense */
} ml_attention_desc;
ML_API int32_t ml_attention_forward(ml_context *context, const ml_attention_desc *desc);
ML_API int32_t ml_attention_backward(ml_context *context, const ml_attention_desc *desc);

/* ---- LoRA linear ------------------------------------------------------------------------------------------ */

/* Forward, for the tokens t of slot i (Hu et al. 2021):
     h[t] = A_i drop(x[t])                                    [r], kept for backward
     y[t] = W x[t] + bias + residual[t] + scale * B_i h[t]
   Backward:
     u[t] = scale * B_i^T dy[t];  dA_i += sum_t u[t] drop(x[t])^T;  dB_i += sum_t scale * dy[t] h[t]^T
     dx[t] (+)= W^T dy[t] + drop'(A_i^T u[t])
   The gradient of residual is dy itself and that of bias is not needed: both are frozen or the caller's.
   rank = 0 is the frozen Linear alone; h and the terms are then ignored.
   drop() is inverted dropout with keep probability 1 - dropout; its mask is a function of (seed, the term's stream, t, column).

   Several Linears of one input (q, k and v; gate and up) can be one op: W is their weights one below the other, y their outputs
   side by side. Each Linear that is adapted has a term, which adapts its rows of W alone; h[t] is the terms' h side by side. */
#define ML_LORA_TERMS 3
typedef struct ml_lora_term {
    const float *a;          /* [r, in] in slot 0 */
    const float *b;          /* [rows, r] in slot 0 */
    float *da;               /* [r, in] in slot 0 of the gradients; backward only; always accumulated into; nullable, then in all
                                terms: A is held fixed */
    float *db;               /* [rows, r] likewise */
    int64_t first;           /* the first row of W that it adapts; terms are in the order of their rows and do not overlap */
    int64_t rows;
    uint64_t stream;         /* of its dropout: another one for each Linear and micro-batch */
} ml_lora_term;

typedef struct ml_lora_linear_desc {
    const void *x;           /* act [T, in]; backward: nullable when rank = 0 */
    const ml_weight *w;      /* [out, in] */
    const float *bias;       /* [out], frozen; nullable; forward only */
    const void *residual;    /* act [T, out]; nullable; forward only; may be y */
    void *y;                 /* act [T, out]; forward only */
    float *h;                /* [T, terms * r]; forward: written; backward: read */
    const void *dy;          /* act [T, out]; backward only */
    void *dx;                /* act [T, in]; backward only; nullable: no input gradient is needed; neither x nor dy */
    const int32_t *slot_offsets; /* [slots + 1] */
    int64_t tokens;
    int64_t slots;
    int64_t slot_stride;     /* floats between slots of a and b, and of da and db */
    int64_t rank;            /* r, of every term */
    ml_lora_term term[ML_LORA_TERMS];
    int64_t terms;           /* 1 to ML_LORA_TERMS */
    float scale;             /* alpha / r, or alpha / sqrt(r) */
    float dropout;           /* in [0, 1); 0 at evaluation */
    uint64_t seed;
    int32_t accumulate;      /* backward: dx += instead of = */
    int32_t reserved;        /* 0 */
    int64_t x_stride;
    int64_t y_stride;        /* of y, residual and dy */
    int64_t spare;           /* columns behind each row of x (forward) and dy (backward) that the op may overwrite. With
                                adapter_columns of them, CUDA puts the K-tail there and need not copy the rows */
} ml_lora_linear_desc;
ML_API int32_t ml_lora_linear_forward(ml_context *context, const ml_lora_linear_desc *desc);
ML_API int32_t ml_lora_linear_backward(ml_context *context, const ml_lora_linear_desc *desc);

/* ml_rmsnorm_forward, then ml_lora_linear_forward of what it wrote, as one op: without dropout, h is computed while the rows are
   in registers or cache, so that they are read once less. linear->x is norm->y: as many tokens as the norm has rows, in_features
   equal to its width, the same stride; group is at most 1. There is no fused backward: call those of the two ops. */
ML_API int32_t ml_rmsnorm_linear_forward(ml_context *context, const ml_rmsnorm_desc *norm, const ml_lora_linear_desc *linear);

/* ---- mixture linear ---------------------------------------------------------------------------------------- */

/* Mixtures of asymmetric low-rank adapters (HydraLoRA, Tian et al. 2024): one A, a B for each head, and a router that weighs the
   heads token by token. Forward, for the tokens t of slot i:
     w[t] = softmax(R_i x[t])                                 [heads], kept for backward; x before dropout, in float
     h[t] = A_i drop(x[t])                                    [r], kept for backward: one mask and one product for all heads
     y[t] = W x[t] + bias + residual[t] + scale * sum_j w[t, j] B_ij h[t]
   Backward, with u[t, j] = scale * B_ij^T dy[t]:
     dB_ij += sum_t scale * w[t, j] dy[t] h[t]^T;  d_h[t] = sum_j w[t, j] u[t, j];  dA_i += sum_t d_h[t] drop(x[t])^T
     d_w[t, j] = u[t, j] . h[t];  d_z[t] = w[t] * (d_w[t] - w[t] . d_w[t]);  dR_i += sum_t d_z[t] x[t]^T
     dx[t] (+)= W^T dy[t] + drop'(A_i^T d_h[t]) + R_i^T d_z[t]
   With one head w is 1 and the op is the LoRA linear's. The B of all heads lie side by side, so that they are one matrix which
   w (x) h meets: one pass over W serves the heads of all slots. Everything else is as for the LoRA linear. */
typedef struct ml_mixture_term {
    const float *a;          /* [r, in] in slot 0 */
    const float *b;          /* [rows, heads * r] in slot 0: element (row, i) of B_j in column j * r + i */
    const float *router;     /* [heads, in] in slot 0 */
    float *da;               /* [r, in] in slot 0 of the gradients; backward only; always accumulated into; nullable in all terms
                                together: A is held fixed */
    float *db;               /* [rows, heads * r] likewise */
    float *drouter;          /* [heads, in] likewise; nullable as da is: the router is held fixed. No two gradients overlap */
    int64_t first;           /* the first row of W that it adapts; terms are in the order of their rows and do not overlap */
    int64_t rows;
    uint64_t stream;         /* of its dropout: another one for each Linear and micro-batch */
} ml_mixture_term;

typedef struct ml_mixture_linear_desc {
    const void *x;           /* act [T, in] */
    const ml_weight *w;      /* [out, in] */
    const float *bias;       /* [out], frozen; nullable; forward only */
    const void *residual;    /* act [T, out]; nullable; forward only; may be y */
    void *y;                 /* act [T, out]; forward only */
    float *h;                /* [T, terms * r]; forward: written; backward: read */
    float *weights;          /* [T, terms * heads], w of each term; forward: written; backward: read */
    const void *dy;          /* act [T, out]; backward only */
    void *dx;                /* act [T, in]; backward only; nullable: no input gradient is needed; neither x nor dy */
    const int32_t *slot_offsets; /* [slots + 1] */
    int64_t tokens;
    int64_t slots;
    int64_t slot_stride;     /* floats between slots of a, b and router, and of their gradients */
    int64_t rank;            /* r, of every term; at least 1 */
    int64_t heads;           /* of every term; at least 1, and heads * r at most 65,536 */
    ml_mixture_term term[ML_LORA_TERMS];
    int64_t terms;           /* 1 to ML_LORA_TERMS */
    float scale;             /* alpha / r, or alpha / sqrt(r) */
    float dropout;           /* in [0, 1); 0 at evaluation */
    uint64_t seed;
    int32_t accumulate;      /* backward: dx += instead of = */
    int32_t reserved;        /* 0 */
    int64_t x_stride;
    int64_t y_stride;        /* of y, residual and dy */
    int64_t spare;           /* columns behind each row of x (forward) and dy (backward) that the op may overwrite. With
                                adapter_columns of them, CUDA puts the K-tail there and need not copy the rows */
} ml_mixture_linear_desc;
ML_API int32_t ml_mixture_linear_forward(ml_context *context, const ml_mixture_linear_desc *desc);
ML_API int32_t ml_mixture_linear_backward(ml_context *context, const ml_mixture_linear_desc *desc);

/* ---- SwiGLU ----------------------------------------------------------------------------------------------- */

/* y = silu(gate) * up (Shazeer 2020); y may be the buffer of gate or up where both have the same stride. Backward overwrites dgate
   and dup; each may be the buffer of gate, up or dy, likewise. */
typedef struct ml_swiglu_desc {
    const void *gate;        /* act [rows, width] */
    const void *up;          /* act [rows, width] */
    void *y;                 /* act [rows, width]; forward only */
    const void *dy;          /* act [rows, width]; backward only; dense */
    void *dgate;
    void *dup;
    int64_t rows;
    int64_t width;
    int64_t gate_stride;     /* of gate, up, dgate and dup */
    int64_t y_stride;
} ml_swiglu_desc;
ML_API int32_t ml_swiglu_forward(ml_context *context, const ml_swiglu_desc *desc);
ML_API int32_t ml_swiglu_backward(ml_context *context, const ml_swiglu_desc *desc);

/* The same for ml_swiglu_forward: linear->x is swiglu->y. */
ML_API int32_t ml_swiglu_linear_forward(ml_context *context, const ml_swiglu_desc *swiglu, const ml_lora_linear_desc *linear);

/* ---- lm_head + cross-entropy ------------------------------------------------------------------------------ */

/* For each loss-bearing row i: logits = W x[rows[i]]; logprob[i] = log softmax(logits)[target[i]].
   With dx: dx[rows[i], :] = row_scale[i] * W^T (softmax(logits) - onehot(target[i])); every other row of dx becomes 0.
   With dx, rows are distinct and ascending; without it they may repeat (alternatives after one token) in any order.
   Logits are held for a chunk of rows at a time. */
typedef struct ml_cross_entropy_desc {
    const void *x;           /* act [T, hidden], after the final norm */
    const ml_weight *w;      /* [vocab, hidden] */
    const int32_t *rows;     /* [count] */
    const int32_t *target;   /* [count], each in [0, vocab) */
    const float *row_scale;  /* [count]; d loss / d (-logprob[i]); needed with dx */
    float *logprob;          /* [count], written */
    int32_t *argmax;         /* [count], written; nullable: the most probable token of each row, lowest id on ties */
    void *dx;                /* act [T, hidden]; nullable: losses only */
    int64_t tokens;
    int64_t count;
} ml_cross_entropy_desc;
ML_API int32_t ml_cross_entropy(ml_context *context, const ml_cross_entropy_desc *desc);

/* ---- vectors: optimizers, clipping, cross-task reduction --------------------------------------------------- */

/* value[0 .. count) = constant */
ML_API int32_t ml_fill(ml_context *context, float *values, int64_t count, float value);

/* to[i * stride .. + count) = from[0 .. count) for every slot i: the shared adapter into all task slots. */
ML_API int32_t ml_broadcast(ml_context *context, float *to, const float *from, int64_t count, int64_t stride, int64_t slots);

/* norm[i] = Euclidean norm of slot i's gradient, summed in double; with max_norm > 0 each slot whose norm exceeds it
   is scaled to max_norm (torch.nn.utils.clip_grad_norm_: g *= min(1, max_norm / (norm + 1e-6))). */
typedef struct ml_clip_desc {
    float *grad;             /* [slots] vectors of count floats, stride apart */
    float *norm;             /* [slots], written */
    int64_t count;
    int64_t stride;
    int64_t slots;
    float max_norm;          /* 0 = measure only */
    int32_t reserved;
} ml_clip_desc;
ML_API int32_t ml_clip_global_norm(ml_context *context, const ml_clip_desc *desc);

/* parameter -= lr * (gradient + weight_decay * parameter) */
typedef struct ml_sgd_desc {
    float *parameter;        /* [slots] vectors of count floats, stride apart */
    const float *grad;       /* same layout */
    int64_t count;
    int64_t stride;
    int64_t slots;
    float lr;
    float weight_decay;
} ml_sgd_desc;
ML_API int32_t ml_sgd_step(ml_context *context, const ml_sgd_desc *desc);

/* Loshchilov and Hutter 2019, as torch.optim.AdamW: parameter *= 1 - lr * weight_decay;
   m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; parameter -= lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps). */
typedef struct ml_adamw_desc {
    float *parameter;        /* [slots] vectors of count floats, stride apart; grad, m and v have the same layout */
    const float *grad;
    float *m;
    float *v;
    float *norm;             /* [slots], as ml_clip_global_norm wrote them; nullable. A slot whose norm is not finite is not
                                changed, nor are its m and v: the host need not read the norm first. The same holds for a slot
                                whose step would give a parameter, m or v that is not finite; its norm becomes NaN */
    int64_t count;
    int64_t stride;
    int64_t slots;
    int64_t step;            /* t, from 1 */
    float lr;
    float beta1;
    float beta2;
    float eps;
    float weight_decay;
    int32_t reserved;
} ml_adamw_desc;
ML_API int32_t ml_adamw_step(ml_context *context, const ml_adamw_desc *desc);

/* Cross-task reduction: out = sum_i weight[i] g_i, and with gram the n x n matrix gram[i, j] = g_i . g_j, summed in
   double. Mean, weighted, PCGrad, CAGrad and MGDA aggregation are all of this form. */
typedef struct ml_task_reduce_desc {
    const float *grad;       /* [slots] vectors of count floats, stride apart */
    const float *weight;     /* [slots]; needed with out */
    float *out;              /* [count]; nullable: the Gram matrix alone; may be slot 0 of grad */
    double *gram;            /* [slots, slots]; nullable */
    int64_t count;
    int64_t stride;
    int64_t slots;
} ml_task_reduce_desc;
ML_API int32_t ml_task_reduce(ml_context *context, const ml_task_reduce_desc *desc);

/* ---- scratch memory (workspace) --------------------------------------------------------------------------- */

/* Needs ML_CAN_RECORD, else ML_UNSUPPORTED. Ops between begin and end are checked and the scratch memory that they take is
   counted; none runs. ml_plan_end then reserves as much as the largest of them takes, in one piece, so that none of them
   allocates when it runs, and a lack of memory shows before the first one. In between the same calls are refused as while a
   graph is recorded. Where products are measured (ml_matmul), the plan has room for both forms and for the measurement.

   scratch_bytes, nullable: what the largest op takes; earlier ops may have reserved more. After an op that failed in between,
   ml_plan_end fails with that op's text and reserves nothing. Where memory does not suffice it keeps what was reserved before,
   but at another address: older graphs have to be recorded again. */
ML_API int32_t ml_plan_begin(ml_context *context);
ML_API int32_t ml_plan_end(ml_context *context, int64_t *scratch_bytes);

/* ---- graphs ----------------------------------------------------------------------------------------------- */

/* Needs ML_CAN_RECORD, else ML_UNSUPPORTED. Ops between begin and end, ml_copy among them, are checked and recorded, not run; a
   launch queues them all at once. The values of a descriptor are recorded (pointers, sizes, scales, the seed of a dropout); the
   contents of device memory are read when the graph runs: upload other ids into the same buffers and launch again.

   - Run the ops once, or plan them, before they are recorded: an op that needs more scratch memory than is reserved, or a
     measurement (ml_matmul) that was not made yet, fails with ML_INVALID_ARGUMENT.
   - Between begin and end, calls that wait, allocate, free, copy from or to the host, or concern graphs are refused with
     ML_INVALID_ARGUMENT and do not affect the recording. Other CUDA contexts of the same thread must not allocate or free either.
   - After an op that failed in between, ml_graph_end fails with that op's text and there is no graph.
   - ml_graph_end ends the recording, whatever it returns, except ML_BUSY.
   - A graph holds addresses. Once a buffer or a weight of the context was freed, or its scratch memory moved (because it grew),
     older graphs can no longer be launched: ML_INVALID_ARGUMENT; destroy them and record again. */
ML_API int32_t ml_graph_begin(ml_context *context);
ML_API int32_t ml_graph_end(ml_context *context, ml_graph **graph);
ML_API int32_t ml_graph_launch(ml_context *context, ml_graph *graph);
ML_API int32_t ml_graph_destroy(ml_context *context, ml_graph *graph);   /* NULL is ignored */

#ifdef __cplusplus
}
#endif
#endif /* METALORA_H */

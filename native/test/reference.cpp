#include "reference.h"

#include <algorithm>
#include <cmath>

namespace reference {

static const double kPi = 3.14159265358979323846;

// ---- rmsnorm ----------------------------------------------------------------------------------------------------

Vec rmsnorm_rstd(const Vec &x, int64_t width, double eps) {
    Vec rstd(x.size() / width);
    for (size_t row = 0; row < rstd.size(); row++) {
        double squares = 0;
        for (int64_t i = 0; i < width; i++) squares += x[row * width + i] * x[row * width + i];
        rstd[row] = 1 / std::sqrt(squares / width + eps);
    }
    return rstd;
}

Vec rmsnorm(const Vec &x, const Vec &weight, double eps) {
    const size_t width = weight.size();
    const Vec rstd = rmsnorm_rstd(x, width, eps);
    Vec y(x.size());
    for (size_t i = 0; i < x.size(); i++) y[i] = x[i] * rstd[i / width] * weight[i % width];
    return y;
}

// With s = mean(x^2) + eps, y_j = w_j x_j s^(-1/2): dy_j/dx_i = w_j (delta_ij s^(-1/2) - x_j x_i s^(-3/2) / width)
Vec rmsnorm_dx(const Vec &x, const Vec &weight, double eps, const Vec &dy) {
    const size_t width = weight.size();
    const Vec rstd = rmsnorm_rstd(x, width, eps);
    Vec dx(x.size());
    for (size_t row = 0; row < rstd.size(); row++) {
        double along = 0;
        for (size_t j = 0; j < width; j++) along += dy[row * width + j] * weight[j] * x[row * width + j];
        for (size_t i = 0; i < width; i++) {
            dx[row * width + i] = dy[row * width + i] * weight[i] * rstd[row] -
                                  x[row * width + i] * along * std::pow(rstd[row], 3) / width;
        }
    }
    return dx;
}

// ---- rope -------------------------------------------------------------------------------------------------------

Vec rope_plain_frequencies(int64_t head_dim, double theta) {
    Vec frequencies(head_dim / 2);
    for (int64_t j = 0; j < head_dim / 2; j++) frequencies[j] = 1 / std::pow(theta, 2.0 * j / head_dim);
    return frequencies;
}

Vec rope_linear_frequencies(int64_t head_dim, double theta, double factor) {
    Vec frequencies = rope_plain_frequencies(head_dim, theta);
    for (double &f : frequencies) f /= factor;
    return frequencies;
}

// Llama 3.1: long wavelengths are slowed down by `factor`, short ones kept, those between are interpolated.
Vec rope_llama3_frequencies(int64_t head_dim, double theta, double factor, double low, double high, double original) {
    Vec frequencies = rope_plain_frequencies(head_dim, theta);
    for (double &f : frequencies) {
        const double wavelength = 2 * kPi / f;
        if (wavelength < original / high) continue;
        if (wavelength > original / low) {
            f /= factor;
        } else {
            const double smooth = (original / wavelength - low) / (high - low);
            f = (1 - smooth) * f / factor + smooth * f;
        }
    }
    return frequencies;
}

Vec rope(const Vec &x, const Vec &frequencies, const Ints &position, int64_t heads, int64_t head_dim, bool backward) {
    Vec y(x.size());
    const int64_t half = head_dim / 2;
    for (size_t t = 0; t < position.size(); t++) {
        for (int64_t h = 0; h < heads; h++) {
            for (int64_t j = 0; j < half; j++) {
                const double angle = (backward ? -1 : 1) * position[t] * frequencies[j];
                const size_t first = (t * heads + h) * head_dim + j, second = first + half;
                y[first] = x[first] * std::cos(angle) - x[second] * std::sin(angle);
                y[second] = x[second] * std::cos(angle) + x[first] * std::sin(angle);
            }
        }
    }
    return y;
}

// ---- attention --------------------------------------------------------------------------------------------------

// Softmax weights of one query row over all keys of its sequence; masked keys have weight 0.
static Vec attention_weights(const Heads &s, const Vec &q, const Vec &k, int64_t query, int64_t i, int64_t shift,
                             int64_t key0, int64_t keys, int64_t head, double *lse) {
    const int64_t kv_head = head / (s.heads / s.kv_heads);
    Vec score(keys, -INFINITY);
    double highest = -INFINITY;
    for (int64_t j = 0; j < keys; j++) {
        if (j > i + shift) continue;
        if (s.window > 0 && j <= i + shift - s.window) continue;
        double product = 0;
        for (int64_t c = 0; c < s.head_dim; c++) {
            product += q[(query * s.heads + head) * s.head_dim + c] * k[((key0 + j) * s.kv_heads + kv_head) * s.head_dim + c];
        }
        score[j] = product * s.scale;
        highest = std::max(highest, score[j]);
    }
    double sum = 0;
    for (double &one : score) sum += one = std::exp(one - highest);
    for (double &one : score) one /= sum;
    *lse = highest + std::log(sum);
    return score;
}

AttentionResult attention(const Heads &s, const Vec &q, const Vec &k, const Vec &v, const Ints &q_offsets,
                          const Ints &kv_offsets) {
    AttentionResult result{Vec(q.size()), Vec(q.size() / s.head_dim)};
    for (size_t sequence = 0; sequence + 1 < q_offsets.size(); sequence++) {
        const int64_t queries = q_offsets[sequence + 1] - q_offsets[sequence];
        const int64_t key0 = kv_offsets[sequence], keys = kv_offsets[sequence + 1] - key0;
        for (int64_t i = 0; i < queries; i++) {
            const int64_t query = q_offsets[sequence] + i;
            for (int64_t head = 0; head < s.heads; head++) {
                const int64_t kv_head = head / (s.heads / s.kv_heads);
                const Vec p = attention_weights(s, q, k, query, i, keys - queries, key0, keys, head,
                                                &result.lse[query * s.heads + head]);
                for (int64_t j = 0; j < keys; j++) {
                    for (int64_t c = 0; c < s.head_dim; c++) {
                        result.o[(query * s.heads + head) * s.head_dim + c] +=
                            p[j] * v[((key0 + j) * s.kv_heads + kv_head) * s.head_dim + c];
                    }
                }
            }
        }
    }
    return result;
}

AttentionGradient attention_gradient(const Heads &s, const Vec &q, const Vec &k, const Vec &v, const Ints &offsets,
                                     const Vec &d_o) {
    AttentionGradient g{Vec(q.size()), Vec(k.size()), Vec(v.size())};
    for (size_t sequence = 0; sequence + 1 < offsets.size(); sequence++) {
        const int64_t first = offsets[sequence], length = offsets[sequence + 1] - first;
        for (int64_t i = 0; i < length; i++) {
            for (int64_t head = 0; head < s.heads; head++) {
                const int64_t kv_head = head / (s.heads / s.kv_heads);
                const size_t row = ((first + i) * s.heads + head) * s.head_dim;
                double lse;
                const Vec p = attention_weights(s, q, k, first + i, i, 0, first, length, head, &lse);
                Vec dp(length);
                double mean = 0;
                for (int64_t j = 0; j < length; j++) {
                    const size_t key = ((first + j) * s.kv_heads + kv_head) * s.head_dim;
                    for (int64_t c = 0; c < s.head_dim; c++) {
                        dp[j] += d_o[row + c] * v[key + c];
                        g.dv[key + c] += p[j] * d_o[row + c];
                    }
                    mean += p[j] * dp[j];
                }
                for (int64_t j = 0; j < length; j++) {
                    const size_t key = ((first + j) * s.kv_heads + kv_head) * s.head_dim;
                    const double ds = p[j] * (dp[j] - mean) * s.scale;
                    for (int64_t c = 0; c < s.head_dim; c++) {
                        g.dq[row + c] += ds * k[key + c];
                        g.dk[key + c] += ds * q[row + c];
                    }
                }
            }
        }
    }
    return g;
}

// ---- lora linear ------------------------------------------------------------------------------------------------

static const double *mask_of(const Lora &s, const Vec &mask, int64_t r) {
    const int64_t each = static_cast<int64_t>(s.slot_offsets.back()) * s.in, masks = static_cast<int64_t>(mask.size()) / each;
    return mask.data() + r * masks / s.rank * each;
}

LoraResult lora_linear(const Lora &s, const Vec &x, const Vec &w, const Vec &bias, const Vec &residual, const Vec &a,
                       const Vec &b, const Vec &mask) {
    const int64_t tokens = static_cast<int64_t>(x.size()) / s.in;
    LoraResult result{Vec(tokens * s.out), Vec(tokens * s.rank)};
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t o = 0; o < s.out; o++) {
            double sum = (bias.empty() ? 0 : bias[o]) + (residual.empty() ? 0 : residual[t * s.out + o]);
            for (int64_t i = 0; i < s.in; i++) sum += w[o * s.in + i] * x[t * s.in + i];
            result.y[t * s.out + o] = sum;
        }
    }
    if (s.rank == 0) return result;
    for (size_t slot = 0; slot + 1 < s.slot_offsets.size(); slot++) {
        const double *slot_a = a.data() + slot * s.rank * s.in, *slot_b = b.data() + slot * s.out * s.rank;
        for (int64_t t = s.slot_offsets[slot]; t < s.slot_offsets[slot + 1]; t++) {
            for (int64_t r = 0; r < s.rank; r++) {
                double sum = 0;
                for (int64_t i = 0; i < s.in; i++) sum += slot_a[r * s.in + i] * x[t * s.in + i] * mask_of(s, mask, r)[t * s.in + i];
                result.h[t * s.rank + r] = sum;
            }
            for (int64_t o = 0; o < s.out; o++) {
                double sum = 0;
                for (int64_t r = 0; r < s.rank; r++) sum += slot_b[o * s.rank + r] * result.h[t * s.rank + r];
                result.y[t * s.out + o] += s.scale * sum;
            }
        }
    }
    return result;
}

LoraGradient lora_linear_gradient(const Lora &s, const Vec &x, const Vec &w, const Vec &a, const Vec &b, const Vec &mask,
                                  const Vec &dy) {
    const int64_t tokens = static_cast<int64_t>(dy.size()) / s.out;
    LoraGradient g{Vec(tokens * s.in), Vec(a.size()), Vec(b.size())};
    for (int64_t t = 0; t < tokens; t++) {
        for (int64_t o = 0; o < s.out; o++) {
            for (int64_t i = 0; i < s.in; i++) g.dx[t * s.in + i] += w[o * s.in + i] * dy[t * s.out + o];
        }
    }
    if (s.rank == 0) return g;
    const Vec h = lora_linear(s, x, w, {}, {}, a, b, mask).h;
    for (size_t slot = 0; slot + 1 < s.slot_offsets.size(); slot++) {
        const size_t at_a = slot * s.rank * s.in, at_b = slot * s.out * s.rank;
        for (int64_t t = s.slot_offsets[slot]; t < s.slot_offsets[slot + 1]; t++) {
            for (int64_t r = 0; r < s.rank; r++) {
                double u = 0;
                for (int64_t o = 0; o < s.out; o++) {
                    u += s.scale * b[at_b + o * s.rank + r] * dy[t * s.out + o];
                    g.db[at_b + o * s.rank + r] += s.scale * dy[t * s.out + o] * h[t * s.rank + r];
                }
                for (int64_t i = 0; i < s.in; i++) {
                    g.da[at_a + r * s.in + i] += u * x[t * s.in + i] * mask_of(s, mask, r)[t * s.in + i];
                    g.dx[t * s.in + i] += u * a[at_a + r * s.in + i] * mask_of(s, mask, r)[t * s.in + i];
                }
            }
        }
    }
    return g;
}

// ---- mixture linear ---------------------------------------------------------------------------------------------

namespace {

// Where a term's matrices of a slot begin.
struct Places {
    size_t a, b, router;
};

Places places(const Mixture &s, size_t term, size_t slot) {
    const size_t slots = s.slot_offsets.size() - 1, at = term * slots + slot;
    size_t rows = slot * s.terms[term].rows;
    for (size_t i = 0; i < term; i++) rows += slots * s.terms[i].rows;
    return {at * s.rank * s.in, rows * s.heads * s.rank, at * s.heads * s.in};
}

}  // namespace

MixtureResult mixture_linear(const Mixture &s, const Vec &x, const Vec &w, const Vec &bias, const Vec &residual,
                             const MixtureParameters &p, const Vec &mask) {
    const size_t tokens = s.slot_offsets.back(), terms = s.terms.size();
    MixtureResult result{Vec(tokens * s.out), Vec(tokens * terms * s.rank), Vec(tokens * terms * s.heads)};
    for (size_t t = 0; t < tokens; t++) {
        for (int64_t o = 0; o < s.out; o++) {
            double &y = result.y[t * s.out + o];
            y = (bias.empty() ? 0 : bias[o]) + (residual.empty() ? 0 : residual[t * s.out + o]);
            for (int64_t i = 0; i < s.in; i++) y += w[o * s.in + i] * x[t * s.in + i];
        }
    }
    for (size_t term = 0; term < terms; term++) {
        for (size_t slot = 0; slot + 1 < s.slot_offsets.size(); slot++) {
            const Places at = places(s, term, slot);
            for (size_t t = s.slot_offsets[slot]; t < size_t(s.slot_offsets[slot + 1]); t++) {
                double *weight = &result.weights[(t * terms + term) * s.heads], *h = &result.h[(t * terms + term) * s.rank];
                for (int64_t j = 0; j < s.heads; j++) {
                    for (int64_t i = 0; i < s.in; i++) weight[j] += p.router[at.router + j * s.in + i] * x[t * s.in + i];
                }
                const double most = *std::max_element(weight, weight + s.heads);
                double total = 0;
                for (int64_t j = 0; j < s.heads; j++) total += weight[j] = std::exp(weight[j] - most);
                for (int64_t j = 0; j < s.heads; j++) weight[j] /= total;
                for (int64_t r = 0; r < s.rank; r++) {
                    for (int64_t i = 0; i < s.in; i++) {
                        h[r] += p.a[at.a + r * s.in + i] * mask[(term * tokens + t) * s.in + i] * x[t * s.in + i];
                    }
                }
                for (int64_t row = 0; row < s.terms[term].rows; row++) {
                    for (int64_t j = 0; j < s.heads; j++) {
                        for (int64_t r = 0; r < s.rank; r++) {
                            result.y[t * s.out + s.terms[term].first + row] +=
                                s.scale * weight[j] * p.b[at.b + (row * s.heads + j) * s.rank + r] * h[r];
                        }
                    }
                }
            }
        }
    }
    return result;
}

MixtureGradient mixture_linear_gradient(const Mixture &s, const Vec &x, const Vec &w, const MixtureParameters &p, const Vec &mask,
                                        const Vec &dy) {
    const size_t tokens = s.slot_offsets.back(), terms = s.terms.size();
    MixtureGradient g{Vec(tokens * s.in), {Vec(p.a.size()), Vec(p.b.size()), Vec(p.router.size())}};
    for (size_t t = 0; t < tokens; t++) {
        for (int64_t o = 0; o < s.out; o++) {
            for (int64_t i = 0; i < s.in; i++) g.dx[t * s.in + i] += w[o * s.in + i] * dy[t * s.out + o];
        }
    }
    const MixtureResult forward = mixture_linear(s, x, w, {}, {}, p, mask);
    for (size_t term = 0; term < terms; term++) {
        for (size_t slot = 0; slot + 1 < s.slot_offsets.size(); slot++) {
            const Places at = places(s, term, slot);
            for (size_t t = s.slot_offsets[slot]; t < size_t(s.slot_offsets[slot + 1]); t++) {
                const double *weight = &forward.weights[(t * terms + term) * s.heads];
                const double *h = &forward.h[(t * terms + term) * s.rank];
                const double *of_y = &dy[t * s.out + s.terms[term].first];
                Vec dh(s.rank), dweight(s.heads);
                for (int64_t row = 0; row < s.terms[term].rows; row++) {
                    for (int64_t j = 0; j < s.heads; j++) {
                        for (int64_t r = 0; r < s.rank; r++) {
                            const size_t b = at.b + (row * s.heads + j) * s.rank + r;
                            g.parameters.b[b] += s.scale * weight[j] * h[r] * of_y[row];
                            dh[r] += s.scale * weight[j] * p.b[b] * of_y[row];
                            dweight[j] += s.scale * h[r] * p.b[b] * of_y[row];
                        }
                    }
                }
                for (int64_t r = 0; r < s.rank; r++) {
                    for (int64_t i = 0; i < s.in; i++) {
                        const double kept = mask[(term * tokens + t) * s.in + i];
                        g.parameters.a[at.a + r * s.in + i] += dh[r] * kept * x[t * s.in + i];
                        g.dx[t * s.in + i] += dh[r] * kept * p.a[at.a + r * s.in + i];
                    }
                }
                // d weight_j / d logit_k = weight_j (delta_jk - weight_k)
                for (int64_t k = 0; k < s.heads; k++) {
                    double dlogit = 0;
                    for (int64_t j = 0; j < s.heads; j++) dlogit += dweight[j] * weight[j] * ((j == k ? 1 : 0) - weight[k]);
                    for (int64_t i = 0; i < s.in; i++) {
                        g.parameters.router[at.router + k * s.in + i] += dlogit * x[t * s.in + i];
                        g.dx[t * s.in + i] += dlogit * p.router[at.router + k * s.in + i];
                    }
                }
            }
        }
    }
    return g;
}

// ---- swiglu -----------------------------------------------------------------------------------------------------

static double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

Vec swiglu(const Vec &gate, const Vec &up) {
    Vec y(gate.size());
    for (size_t i = 0; i < y.size(); i++) y[i] = gate[i] * sigmoid(gate[i]) * up[i];
    return y;
}

SwigluGradient swiglu_gradient(const Vec &gate, const Vec &up, const Vec &dy) {
    SwigluGradient g{Vec(gate.size()), Vec(gate.size())};
    for (size_t i = 0; i < gate.size(); i++) {
        const double s = sigmoid(gate[i]);
        g.dup[i] = dy[i] * gate[i] * s;
        g.dgate[i] = dy[i] * up[i] * (s + gate[i] * s * (1 - s));
    }
    return g;
}

// ---- cross-entropy ----------------------------------------------------------------------------------------------

CrossEntropyResult cross_entropy(const Vec &x, const Vec &w, int64_t hidden, const Ints &rows, const Ints &target,
                                 const Vec &row_scale) {
    const size_t vocab = w.size() / hidden;
    CrossEntropyResult result{Vec(rows.size()), Vec(x.size()), Ints(rows.size())};
    for (size_t i = 0; i < rows.size(); i++) {
        Vec logit(vocab);
        for (size_t id = 0; id < vocab; id++) {
            for (int64_t c = 0; c < hidden; c++) logit[id] += w[id * hidden + c] * x[rows[i] * hidden + c];
        }
        const double highest = *std::max_element(logit.begin(), logit.end());
        double sum = 0;
        for (double one : logit) sum += std::exp(one - highest);
        const double lse = highest + std::log(sum);
        result.logprob[i] = logit[target[i]] - lse;
        result.argmax[i] = static_cast<int32_t>(std::max_element(logit.begin(), logit.end()) - logit.begin());
        if (row_scale.empty()) continue;
        for (size_t id = 0; id < vocab; id++) {
            const double d = row_scale[i] * (std::exp(logit[id] - lse) - (static_cast<int32_t>(id) == target[i] ? 1 : 0));
            for (int64_t c = 0; c < hidden; c++) result.dx[rows[i] * hidden + c] += d * w[id * hidden + c];
        }
    }
    return result;
}

}  // namespace reference

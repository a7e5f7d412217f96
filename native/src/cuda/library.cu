// cuBLASLt, loaded at run time.
#include "cuda/library.h"

#ifdef METALORA_CUBLASLT
#include <cublasLt.h>
#include <dlfcn.h>

#include <map>
#include <tuple>
#include <type_traits>
#include <vector>
#endif

namespace metalora {
namespace cuda {

#ifdef METALORA_CUBLASLT

namespace {

constexpr size_t kWorkspace = size_t(32) << 20;  // what Hopper's kernels ask for
constexpr int kMostAlgorithms = 8;

struct Api {
    decltype(&cublasLtCreate) create;
    decltype(&cublasLtDestroy) destroy;
    decltype(&cublasLtGetVersion) version;
    decltype(&cublasLtMatmul) matmul;
    decltype(&cublasLtMatmulDescCreate) desc_create;
    decltype(&cublasLtMatmulDescSetAttribute) desc_set;
    decltype(&cublasLtMatmulDescDestroy) desc_destroy;
    decltype(&cublasLtMatrixLayoutCreate) layout_create;
    decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
    decltype(&cublasLtMatmulPreferenceCreate) preference_create;
    decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
    decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
    decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
    decltype(&cublasLtGetStatusString) text;
};

// The functions of the library that this was built for; it stays loaded where it has all of them.
bool load(Api &api, std::string &why) {
    const std::string names[] = {"libcublasLt.so." + std::to_string(CUBLAS_VER_MAJOR), "libcublasLt.so"};
    void *library = nullptr;
    for (const std::string &name : names) {
        if (library == nullptr) library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    }
    if (library == nullptr) {
        const char *error = dlerror();
        why = error == nullptr ? "libcublasLt.so is not there" : error;
        return false;
    }
    auto find = [&](auto &function, const char *name) {
        function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
        if (function == nullptr) why = std::string("libcublasLt.so has no ") + name;
        return function != nullptr;
    };
    const bool complete = find(api.create, "cublasLtCreate") && find(api.destroy, "cublasLtDestroy") && find(api.version, "cublasLtGetVersion")
        && find(api.matmul, "cublasLtMatmul") && find(api.desc_create, "cublasLtMatmulDescCreate")
        && find(api.desc_set, "cublasLtMatmulDescSetAttribute") && find(api.desc_destroy, "cublasLtMatmulDescDestroy")
        && find(api.layout_create, "cublasLtMatrixLayoutCreate") && find(api.layout_destroy, "cublasLtMatrixLayoutDestroy")
        && find(api.preference_create, "cublasLtMatmulPreferenceCreate") && find(api.preference_set, "cublasLtMatmulPreferenceSetAttribute")
        && find(api.preference_destroy, "cublasLtMatmulPreferenceDestroy") && find(api.heuristic, "cublasLtMatmulAlgoGetHeuristic")
        && find(api.text, "cublasLtGetStatusString");
    const bool fits = complete && api.version() / 10000 == CUBLAS_VER_MAJOR;
    if (complete && !fits) {
        why = "libcublasLt.so is of version " + std::to_string(api.version() / 10000) + ", and version " + std::to_string(CUBLAS_VER_MAJOR) + " is needed";
    }
    if (!fits) dlclose(library);
    return fits;
}

// cuBLASLt is column-major: what is [m, n] here is its [n, m], so that the right operand comes first.
struct Plan {
    cublasLtMatmulDesc_t desc = nullptr;
    cublasLtMatrixLayout_t right = nullptr, left = nullptr, out = nullptr;
    std::vector<cublasLtMatmulAlgo_t> algorithms;
};

class CublasLt final : public Library {
public:
    CublasLt(const Api &api, cublasLtHandle_t handle, void *workspace) : api_(api), handle_(handle), workspace_(workspace) {}
    ~CublasLt() override {
        for (auto &[key, plan] : plans_) release(plan);
        cudaFree(workspace_);
        api_.destroy(handle_);
    }

    std::string name() const override {
        const size_t version = api_.version();
        return "cuBLASLt " + std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
    }

    int algorithms(const Product &p, bool has_bias) override { return static_cast<int>(plan_of(p, has_bias)->algorithms.size()); }

    cudaError_t product(const Product &p, const bf16 *bias, int algorithm, cudaStream_t stream) override {
        const Plan *plan = plan_of(p, bias != nullptr);
        if (plan->algorithms.empty()) return said("it has no kernel for this shape", cudaErrorNotSupported);
        if (algorithm >= static_cast<int>(plan->algorithms.size())) algorithm = 0;
        cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
        if (bias != nullptr) status = api_.desc_set(plan->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
        const float beta = p.residual != nullptr || p.accumulate ? 1.0f : 0.0f;
        const void *added = p.residual != nullptr ? p.residual : p.out;
        const Factor &f = p.factor[0];
        if (status == CUBLAS_STATUS_SUCCESS) {
            status = api_.matmul(handle_, plan->desc, &p.alpha, f.right.data, plan->right, f.left.data, plan->left, &beta, added, plan->out, p.out,
                                 plan->out, &plan->algorithms[algorithm], workspace_, kWorkspace, stream);
        }
        if (status == CUBLAS_STATUS_SUCCESS) return cudaSuccess;
        return said(api_.text(status), status == CUBLAS_STATUS_NOT_SUPPORTED ? cudaErrorNotSupported : cudaErrorUnknown);
    }

    const char *problem() const override { return problem_; }
    void forget_problem() override { problem_ = ""; }

private:
    using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool, bool, int32_t, bool, bool>;

    cudaError_t said(const char *problem, cudaError_t error) {
        problem_ = problem;
        return error;
    }

    void release(Plan &plan) {
        if (plan.desc != nullptr) api_.desc_destroy(plan.desc);
        for (auto *layout : {plan.right, plan.left, plan.out}) {
            if (layout != nullptr) api_.layout_destroy(layout);
        }
    }

    // A plan without algorithms: there is no kernel for it.
    const Plan *plan_of(const Product &p, bool has_bias) {
        const Factor &f = p.factor[0];
        const bool left_along_k = f.left.k_stride == 1, right_along_k = f.right.k_stride == 1;
        const int64_t left_stride = left_along_k ? f.left.row_stride : f.left.k_stride;
        const int64_t right_stride = right_along_k ? f.right.row_stride : f.right.k_stride;
        const bool adds = p.residual != nullptr || p.accumulate;
        const Key key{p.m, p.n, f.k, left_stride, right_stride, p.out_stride, left_along_k, right_along_k, p.out_dtype, adds, has_bias};
        if (const auto found = plans_.find(key); found != plans_.end()) return &found->second;
        Plan plan;
        const cublasOperation_t none = CUBLAS_OP_N, transposed = CUBLAS_OP_T;
        const cudaDataType_t out = p.out_dtype == ML_BF16 ? CUDA_R_16BF : CUDA_R_32F;
        auto layout = [&](cublasLtMatrixLayout_t &to, cudaDataType_t type, int64_t rows, int64_t columns, int64_t stride) {
            return api_.layout_create(&to, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), stride) == CUBLAS_STATUS_SUCCESS;
        };
        bool made = api_.desc_create(&plan.desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS;
        made = made && api_.desc_set(plan.desc, CUBLASLT_MATMUL_DESC_TRANSA, right_along_k ? &transposed : &none, sizeof none) == CUBLAS_STATUS_SUCCESS;
        made = made && api_.desc_set(plan.desc, CUBLASLT_MATMUL_DESC_TRANSB, left_along_k ? &none : &transposed, sizeof none) == CUBLAS_STATUS_SUCCESS;
        const cublasLtEpilogue_t epilogue = has_bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
        made = made && api_.desc_set(plan.desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue) == CUBLAS_STATUS_SUCCESS;
        if (has_bias) {  // its type, and some address, by whose alignment kernels are chosen
            const cudaDataType_t type = CUDA_R_16BF;
            const void *aligned = workspace_;
            made = made && api_.desc_set(plan.desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type) == CUBLAS_STATUS_SUCCESS
                && api_.desc_set(plan.desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &aligned, sizeof aligned) == CUBLAS_STATUS_SUCCESS;
        }
        made = made && layout(plan.right, CUDA_R_16BF, right_along_k ? f.k : p.n, right_along_k ? p.n : f.k, right_stride);
        made = made && layout(plan.left, CUDA_R_16BF, left_along_k ? f.k : p.m, left_along_k ? p.m : f.k, left_stride);
        made = made && layout(plan.out, out, p.n, p.m, p.out_stride);
        cublasLtMatmulPreference_t preference = nullptr;
        made = made && api_.preference_create(&preference) == CUBLAS_STATUS_SUCCESS;
        const size_t workspace = kWorkspace;
        made = made && api_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace) == CUBLAS_STATUS_SUCCESS;
        // Sums that several blocks share are not rounded to the output's type on the way.
        const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | (p.out_dtype == ML_F32 ? CUBLASLT_REDUCTION_SCHEME_INPLACE : 0);
        made = made && api_.preference_set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes) == CUBLAS_STATUS_SUCCESS;
        // Operands begin at multiples of 16 bytes, not of the 256 that it takes for granted.
        const uint32_t alignment = 16;
        for (auto attribute : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                               CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
            made = made && api_.preference_set(preference, attribute, &alignment, sizeof alignment) == CUBLAS_STATUS_SUCCESS;
        }
        cublasLtMatmulHeuristicResult_t results[kMostAlgorithms] = {};
        int found = 0;
        made = made && api_.heuristic(handle_, plan.desc, plan.right, plan.left, plan.out, plan.out, preference, kMostAlgorithms, results, &found)
            == CUBLAS_STATUS_SUCCESS;
        if (preference != nullptr) api_.preference_destroy(preference);
        for (int i = 0; made && i < found; i++) {
            if (results[i].state == CUBLAS_STATUS_SUCCESS) plan.algorithms.push_back(results[i].algo);
        }
        if (plan.algorithms.empty()) {
            release(plan);
            plan = {};
        }
        return &plans_.emplace(key, plan).first->second;
    }

    Api api_;
    cublasLtHandle_t handle_;
    void *workspace_;
    std::map<Key, Plan> plans_;
    const char *problem_ = "";
};

}  // namespace

std::unique_ptr<Library> open_library(std::string &why) {
    Api api{};
    if (!load(api, why)) return nullptr;
    cublasLtHandle_t handle = nullptr;
    if (api.create(&handle) != CUBLAS_STATUS_SUCCESS) {
        why = "cublasLtCreate failed";
        return nullptr;
    }
    void *workspace = nullptr;
    if (cudaMalloc(&workspace, kWorkspace) != cudaSuccess) {
        cudaGetLastError();
        api.destroy(handle);
        why = "no device memory for its workspace";
        return nullptr;
    }
    try {
        return std::make_unique<CublasLt>(api, handle, workspace);
    } catch (...) {
        cudaFree(workspace);
        api.destroy(handle);
        throw;
    }
}

#else

std::unique_ptr<Library> open_library(std::string &why) {
    why = "cublasLt.h was not there when this was built";
    return nullptr;
}

#endif

}  // namespace cuda
}  // namespace metalora

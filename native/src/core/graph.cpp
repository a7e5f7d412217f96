#include "core/graph.h"

#include "core/error.h"

namespace metalora {

void Recording::start(bool of_plan) {
    *this = {};
    active = true;
    plan = of_plan;
    thread = std::this_thread::get_id();
}

ml_status Recording::note(const char *op, ml_status outcome) {
    if (outcome != ML_OK && missing != nullptr) {
        outcome = fail(ML_INVALID_ARGUMENT, "%s: needs %s, which a first run would have brought: run it once before it is recorded", op, missing);
    }
    missing = nullptr;
    if (outcome != ML_OK && status == ML_OK) {
        status = outcome;
        text = last_error();
    }
    return outcome;
}

}  // namespace metalora

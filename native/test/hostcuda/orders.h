// Runs a body in several orders of blocks and threads.
#pragma once

#include "harness.h"
#include "hostcuda/hostcuda.h"

namespace test {

inline void in_every_order(const std::function<void()> &body) {
    for (auto order : {hostcuda::Order::kForward, hostcuda::Order::kReverse, hostcuda::Order::kShuffled}) {
        Case name(format("order %d", static_cast<int>(order)));
        hostcuda::set_order(order, 7);
        body();
    }
    hostcuda::set_order(hostcuda::Order::kForward);
}

}  // namespace test

// SPDX-License-Identifier: MIT
// The one way to the core, which is for one thread at a time: calls are served in the order in
// which they came, so a call waits for at most one of each other connection.
#pragma once

#include <functional>
#include <mutex>

#include "hypervisor/core/core.hpp"
#include "hypervisor/qemu/fair_mutex.hpp"

namespace sgm::qemu {

class CoreGate final {
  public:
    // `after_call` sees each reply's status and size, before another call begins.
    using AfterCall = std::function<void(wire::Status, std::size_t)>;
    explicit CoreGate(
        hypervisor::Core& core, AfterCall after_call = [](wire::Status, std::size_t) {})
        : core_{core}, after_call_{std::move(after_call)} {}

    // As Core::sgm_op. `status` is what the reply says, read before others can write to it.
    struct Outcome {
        std::size_t size;
        wire::Status status;
    };
    [[nodiscard]] Outcome sgm_op(Bytes call, MutableBytes reply) {
        const std::lock_guard turn{turns_};
        const std::size_t size = core_.sgm_op(call, reply);
        const auto header = Reader{Bytes{reply}.first(size)}.take<wire::OpHeader>();
        const auto status =
            header ? static_cast<wire::Status>(header->status) : wire::Status::internal;
        after_call_(status, size);
        return {size, status};
    }
    // Something else that no call may run beside.
    template <typename Action>
    decltype(auto) alone(Action action) {
        const std::lock_guard turn{turns_};
        return action(core_);
    }

  private:
    hypervisor::Core& core_;
    AfterCall after_call_;
    FairMutex turns_;
};

}  // namespace sgm::qemu

// SPDX-License-Identifier: MIT
// VMs that this process has stopped for a consistent batch go on even if it is killed: a small
// process of our own has a duplicate of each QMP connection and a page of shared memory that says
// which VM is owed its `cont`. It has no keys and no guest memory; it acts only when we are gone.
#pragma once

#include <sys/types.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>

#include "config/descriptor.hpp"
#include "config/error.hpp"

namespace sgm::qemu {

class ContinueGuard final {
  public:
    static constexpr std::size_t kMaxVms = 4096;

    // Forks: to be called before the first thread, the first key and the first guest memory.
    [[nodiscard]] static config::Result<std::unique_ptr<ContinueGuard>> start();
    // The guard ends with this process, or with this.
    ~ContinueGuard();
    ContinueGuard(const ContinueGuard&) = delete;
    ContinueGuard& operator=(const ContinueGuard&) = delete;

    // One VM's place with the guard; false: it is full, or has been killed. Then nothing may be
    // held.
    class Slot final {
      public:
        Slot(ContinueGuard* guard, int qmp);
        ~Slot();
        Slot(const Slot&) = delete;
        Slot& operator=(const Slot&) = delete;

        [[nodiscard]] bool guarded() const { return taken_ && guard_->is_alive(); }
        // Before `stop` is sent, and after `cont` has been answered.
        void owe(bool value);

      private:
        ContinueGuard* guard_;
        std::size_t index_ = 0;
        bool taken_ = false;
    };

  private:
    struct Owed {
        std::array<std::atomic<bool>, kMaxVms> vm;
    };
    ContinueGuard(config::Descriptor socket, Owed* owed, pid_t child)
        : socket_{std::move(socket)}, owed_{owed}, child_{child} {}
    [[nodiscard]] bool is_alive() const;
    // Hands over a connection for this place; -1: the place is free again.
    [[nodiscard]] bool tell(std::size_t index, int qmp);
    // The guard's own code.
    struct Child;

    config::Descriptor socket_;
    Owed* owed_;
    pid_t child_;
    std::mutex mutex_;
    std::array<bool, kMaxVms> taken_{};
};

}  // namespace sgm::qemu

// SPDX-License-Identifier: MIT
// A mutex that serves in the order of asking: nobody waits for more than one turn of each other.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>

namespace sgm::qemu {

class FairMutex final {
  public:
    void lock() {
        std::unique_lock lock{mutex_};
        if (!taken_) {
            taken_ = true;
            return;
        }
        Waiter self;
        waiters_.push_back(&self);
        self.ready.wait(lock, [&] { return self.has_turn; });
    }
    void unlock() {
        const std::lock_guard lock{mutex_};
        if (waiters_.empty()) {
            taken_ = false;
            return;
        }
        // Handed over: whoever asks now stands behind.
        waiters_.front()->has_turn = true;
        waiters_.front()->ready.notify_one();
        waiters_.pop_front();
    }

    [[nodiscard]] std::size_t waiting() const {
        const std::lock_guard lock{mutex_};
        return waiters_.size();
    }

  private:
    struct Waiter {
        std::condition_variable ready;
        bool has_turn = false;
    };
    mutable std::mutex mutex_;
    bool taken_ = false;
    std::deque<Waiter*> waiters_;
};

}  // namespace sgm::qemu

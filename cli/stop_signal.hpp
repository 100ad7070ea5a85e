// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>

namespace sgm::cli {

// SIGTERM and SIGINT as something to wait for, so that `run` ends in its own code. Make one before
// the first thread: the signals are blocked in this thread and in those that it starts (a child
// process inherits that too and must unblock them). SIGPIPE is ignored, so that writing to a
// connection that is gone gives an error.
class StopSignal final {
  public:
    StopSignal();
    ~StopSignal();
    StopSignal(const StopSignal&) = delete;
    StopSignal& operator=(const StopSignal&) = delete;

    void wait() const;
    // True when the signal came, now or before.
    [[nodiscard]] bool wait_for(std::chrono::milliseconds time) const;
    // Readable once the signal has come: for poll loops. Not to be read.
    [[nodiscard]] int descriptor() const { return fd_; }

  private:
    int fd_;
};

}  // namespace sgm::cli

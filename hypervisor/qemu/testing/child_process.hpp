// SPDX-License-Identifier: MIT
// A program that a test runs: it ends with the test, however that ends, and has none of its
// descriptors but those it is given.
#pragma once

#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

namespace sgm::qemu::testing {

class ChildProcess final {
  public:
    // words[0]: the program, looked for in PATH; it runs once this returns. `listeners` are sockets
    // that become 3, 4, ... of it, and on which it listens (SO_PEERCRED names who did that last);
    // `output`, unless it is -1, its standard output and error.
    explicit ChildProcess(const std::vector<std::string>& words,
                          std::span<const int> listeners = {}, int output = -1);
    ~ChildProcess();
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }  // -1: it was not started
    [[nodiscard]] bool has_ended() const;

  private:
    pid_t pid_ = -1;
};

}  // namespace sgm::qemu::testing

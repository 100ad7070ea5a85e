// SPDX-License-Identifier: MIT
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>

#include "config/descriptor.hpp"

namespace sgm::bench {

// A directory on tmpfs, where RAM files must lie. It is gone when the program ends, however it
// ends: a process of its own waits for that and removes it. Made before the first thread.
class Workplace final {
  public:
    Workplace();
    ~Workplace();
    Workplace(const Workplace&) = delete;
    Workplace& operator=(const Workplace&) = delete;
    [[nodiscard]] std::filesystem::path operator/(const std::string& name) const {
        return path_ / name;
    }

  private:
    std::filesystem::path path_;   // empty: it could not be made, and no file will be either
    config::Descriptor lifeline_;  // a pipe that the kernel closes for a program that is killed
    pid_t cleaner_ = -1;
};

}  // namespace sgm::bench

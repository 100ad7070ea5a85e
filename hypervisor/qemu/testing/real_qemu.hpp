// SPDX-License-Identifier: MIT
// A QEMU of this machine, its guest stopped before its first instruction (-S) and without a kernel.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace sgm::qemu::testing {

[[nodiscard]] bool has_qemu();

class RealQemu final {
  public:
    // Listens on directory/qmp and directory/admin; `options` come after those that all have.
    RealQemu(const std::filesystem::path& directory, std::vector<std::string> options);
    ~RealQemu();
    RealQemu(const RealQemu&) = delete;
    RealQemu& operator=(const RealQemu&) = delete;

    [[nodiscard]] bool runs() const { return pid_ > 0; }

  private:
    pid_t pid_ = -1;
};

}  // namespace sgm::qemu::testing

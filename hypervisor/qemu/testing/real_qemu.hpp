// SPDX-License-Identifier: MIT
// A QEMU of this machine, its guest stopped before its first instruction (-S) and without a kernel.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/qemu/testing/child_process.hpp"

namespace sgm::qemu::testing {

[[nodiscard]] bool has_qemu();

class RealQemu final {
  public:
    // Listens on directory/qmp and directory/admin; `options` come after those that all have.
    RealQemu(const std::filesystem::path& directory, const std::vector<std::string>& options);

    // It was started; options that it does not like end it.
    [[nodiscard]] bool was_started() const { return process_ && process_->pid() > 0; }
    [[nodiscard]] bool has_ended() const { return !process_ || process_->has_ended(); }

  private:
    std::optional<ChildProcess> process_;
};

}  // namespace sgm::qemu::testing

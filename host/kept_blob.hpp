// SPDX-License-Identifier: MIT
// What the enclave gave to be kept for its next start: one sealed blob for each VM, in a file. This
// host cannot read or change it unnoticed. Losing it costs the IDS its memory, and an older one in
// its place makes the owner raise an alarm.
#pragma once

#include <filesystem>
#include <optional>

#include "config/error.hpp"
#include "host/messages.hpp"
#include "wire/ids.hpp"

namespace sgm::host {

class KeptBlob final {
  public:
    // A file in `directory`, which is made when there is something to keep.
    KeptBlob(const std::filesystem::path& directory, const wire::Uuid& domain);

    // In place of the one before; on the disk when this returns.
    [[nodiscard]] config::Result<void> keep(const Message& blob) const;
    // nullopt: there is none.
    [[nodiscard]] config::Result<std::optional<Message>> recall() const;

  private:
    std::filesystem::path file_;
};

}  // namespace sgm::host

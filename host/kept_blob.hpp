// SPDX-License-Identifier: MIT
// What the enclave gave to be kept for its next start: one sealed blob for each VM, in a file. This
// host cannot read or change it unnoticed. Losing it costs the IDS its memory, and an older one in
// its place makes the owner raise an alarm. Another program (an update) cannot open it, and does
// not get it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "config/error.hpp"
#include "host/messages.hpp"
#include "wire/ids.hpp"

namespace sgm::host {

class KeptBlob final {
  public:
    // A file in `directory`, which is made when there is something to keep.
    KeptBlob(const std::filesystem::path& directory, const wire::Uuid& domain,
             const wire::Digest& mrenclave);

    // In place of the one before, also of another program's for this VM; on the disk when this
    // returns.
    [[nodiscard]] config::Result<void> keep(const Message& blob) const;
    // nullopt: there is none.
    [[nodiscard]] config::Result<std::optional<Message>> recall() const;

  private:
    std::filesystem::path directory_;
    std::string domain_;
    std::filesystem::path file_;
};

}  // namespace sgm::host

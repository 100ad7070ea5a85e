// SPDX-License-Identifier: MIT
#include "host/kept_blob.hpp"

#include "config/file.hpp"
#include "config/text.hpp"
#include "wire/sealed_blob.hpp"

namespace sgm::host {

static_assert(wire::kMaxKeptBlob <= config::kMaxFileSize);

KeptBlob::KeptBlob(const std::filesystem::path& directory, const wire::Uuid& domain,
                   const wire::Digest& mrenclave)
    : directory_{directory},
      domain_{config::uuid_text(domain)},
      file_{directory / (domain_ + "." + config::to_hex(mrenclave) + ".sealed")} {}

config::Result<void> KeptBlob::keep(const Message& blob) const {
    if (blob.size() > wire::kMaxKeptBlob) {
        return std::unexpected(config::Error{"the enclave wants to keep more than it may"});
    }
    if (auto made = config::make_directory(directory_); !made) return made;
    auto written =
        config::write_file(file_, {reinterpret_cast<const char*>(blob.data()), blob.size()}, 0600,
                           config::IfExists::replace);
    if (!written) return written;
    // What cannot be removed stays, and nobody asks for it.
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator{directory_, ignored}) {
        const std::string name = entry.path().filename().string();
        if (entry.path() != file_ && name.starts_with(domain_ + ".") && name.ends_with(".sealed"))
            std::filesystem::remove(entry.path(), ignored);
    }
    return {};
}

config::Result<std::optional<Message>> KeptBlob::recall() const {
    std::error_code ignored;
    if (!std::filesystem::exists(file_, ignored)) return std::nullopt;
    const auto contents = config::read_file(file_);
    if (!contents) return std::unexpected(contents.error());
    return Message{contents->begin(), contents->end()};
}

}  // namespace sgm::host

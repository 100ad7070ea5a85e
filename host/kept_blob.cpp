// SPDX-License-Identifier: MIT
#include "host/kept_blob.hpp"

#include "config/file.hpp"
#include "config/text.hpp"
#include "wire/sealed_blob.hpp"

namespace sgm::host {

static_assert(wire::kMaxKeptBlob <= config::kMaxFileSize);

KeptBlob::KeptBlob(const std::filesystem::path& directory, const wire::Uuid& domain)
    : file_{directory / (config::uuid_text(domain) + ".sealed")} {}

config::Result<void> KeptBlob::keep(const Message& blob) const {
    if (blob.size() > wire::kMaxKeptBlob) {
        return std::unexpected(config::Error{"the enclave wants to keep more than it may"});
    }
    if (auto made = config::make_directory(file_.parent_path()); !made) return made;
    return config::write_file(file_, {reinterpret_cast<const char*>(blob.data()), blob.size()},
                              0600, config::IfExists::replace);
}

config::Result<std::optional<Message>> KeptBlob::recall() const {
    std::error_code ignored;
    if (!std::filesystem::exists(file_, ignored)) return std::nullopt;
    const auto contents = config::read_file(file_);
    if (!contents) return std::unexpected(contents.error());
    return Message{contents->begin(), contents->end()};
}

}  // namespace sgm::host

// SPDX-License-Identifier: MIT
#include "sgx/tool/settings.hpp"

#include <fmt/format.h>

#include "config/toml_file.hpp"

namespace sgm::sgx::tool {

config::Result<Settings> load_settings(const std::filesystem::path& path) {
    auto file = config::TomlFile::open(path);
    if (!file) return std::unexpected(file.error());
    config::Table root = file->root();
    Settings settings;
    ImageOptions& image = settings.image;
    image.heap_size =
        root.integer<std::uint64_t>("heap_mib", 1, kMaxHeapSize >> 20, image.heap_size >> 20) << 20;
    image.heap_max = root.integer<std::uint64_t>("heap_max_mib", image.heap_size >> 20,
                                                 kMaxHeapSize >> 20, image.heap_size >> 20)
                     << 20;
    image.stack_size = root.integer<std::uint64_t>("stack_kib", kMinStackSize >> 10,
                                                   kMaxStackSize >> 10, image.stack_size >> 10)
                       << 10;
    if (image.stack_size % kPageSize != 0)
        root.refuse("stack_kib", "must be a multiple of 4 (whole pages)");
    image.thread_count = root.integer<std::uint64_t>("threads", 1, kMaxThreads, image.thread_count);
    image.label = root.string("label", "");
    if (image.label.size() > kMaxLabelSize)
        root.refuse("label", fmt::format("may have at most {} bytes", kMaxLabelSize));
    settings.has_authority = root.has("authority_key");
    if (settings.has_authority) image.authority_key = root.signing_key("authority_key");
    settings.signing.isv_prod_id = root.integer<std::uint16_t>("product_id", 0, 0xffff, 1);
    settings.signing.isv_svn = root.integer<std::uint16_t>("security_version", 0, 0xffff, 1);
    settings.signing.debug = root.boolean("debug", false);
    if (auto sound = file->finish(); !sound) return std::unexpected(sound.error());
    return settings;
}

std::string default_settings_text() {
    return R"(# An enclave of SGmonitor, as its signer wants it. Everything here is part of what the
# signature covers; heap and stack are part of MRENCLAVE too.

# Memory for the enclave's data, in MiB. A guest with very many processes needs more. An IDS that is
# short of it gives a scan up and tells the owner; one that runs out of it ends with a last word to the
# owner.
heap_mib = 64

# Where the CPU has SGX2 (and Linux is 6.0 or later) the heap grows to this; without, heap_mib is all
# there is. It never shrinks.
# heap_max_mib = 64

# Stack of each thread, in KiB, a multiple of 4.
stack_kib = 256

# How many threads of the host may be inside at a time. The IDS needs one.
threads = 1

# Whose word the enclave believes: the public key file of the authority. It becomes part of
# MRENCLAVE. `--authority-key` does the same.
# authority_key = "authority.pub"

# Free text in the measured configuration, at most 64 bytes. `--label` does the same.
# label = "production, blue"

# Which product of this signer, and which security version of it. An authority can ask for a
# product and a least version instead of one exact MRENCLAVE: raise the version when a fix matters.
product_id = 1
security_version = 1

# A debug enclave can be read by its host on real SGX. No production policy accepts one.
debug = false
)";
}

}  // namespace sgm::sgx::tool

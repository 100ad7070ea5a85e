// SPDX-License-Identifier: MIT
#include "authority/init.hpp"

#include <fmt/core.h>

#include "config/file.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"
#include "wire/ids.hpp"

namespace sgm::authority {
namespace {

// Files that the options name are found from wherever the program runs later.
std::string quoted_path(const std::filesystem::path& path) {
    return config::toml_string(std::filesystem::absolute(path).lexically_normal().string());
}

std::string service_text(const InitOptions& options) {
    return fmt::format(R"(# The authority: the third party that says which IDS may watch which VM.
# Relative paths are relative to this file. Changes take effect when the program is started again.

# Where hosts bring their evidence. The host is untrusted; what comes here is judged, not believed.
listen = {}
port = {}  # 0: any free port; the ready line says which

# The key whose word hypervisors, enclaves and owners believe. Give them authority.pub.
signing_key = "authority.key"

# What was taken back: `sgmonitor authority revoke` writes it, whoever asks is given it.
revocations = "revocations.signed"

# How long an attestation result is good for, counted by the hypervisor from its own nonce.
lifetime_seconds = 600
)",
                       config::toml_string(options.listen), options.port);
}

std::string software_text(const InitOptions& options) {
    const bool allowed = !options.software_sgx_root.empty();
    return fmt::format(R"(
# SOFTWARE SGX: no protection from this host's root. For demonstration and development, on machines
# without SGX; every record of such an enclave says so. Hardware quotes are refused for now: TCB
# collateral is not verified yet.
allow_software_sgx = {}
{}software_sgx_root = {}
)",
                       allowed, allowed ? "" : "# ",
                       allowed ? quoted_path(options.software_sgx_root) : "\"software-root.pem\"");
}

std::string approvals_text(const InitOptions& options) {
    std::string text = R"(
# Which enclaves are approved: one [[approve]] for each. Debug enclaves are always refused.
# By what it is (the MRENCLAVE that `sgmonitor enclave sign` prints), or by who signed it:
#   mrsigner = "64 hexadecimal digits"
#   product_id = 1
#   minimum_svn = 1   # older security versions are refused
# `domains = ["UUID", ...]` restricts an approval to some VMs.
)";
    if (options.approved_mrenclaves.empty()) {
        text += "# [[approve]]\n# mrenclave = \"64 hexadecimal digits\"\n";
    }
    for (const std::string& mrenclave : options.approved_mrenclaves) {
        text += fmt::format("[[approve]]\nmrenclave = {}\n", config::toml_string(mrenclave));
    }
    return text;
}

std::string domains_text(const InitOptions& options) {
    std::string text = R"(
# The VMs: for each the hypervisor that runs it (its public key, enrolled out of band: never taken
# from the host) and the owner's two public keys, to whom alone its findings are sealed.
)";
    const bool given = !options.domain.empty();
    const std::string_view comment = given ? "" : "# ";
    const auto path = [&](const std::filesystem::path& option, std::string_view example) {
        return given ? quoted_path(option) : config::toml_string(example);
    };
    return text +
           fmt::format(
               "{0}[[domain]]\n"
               "{0}uuid = {1}\n"
               "{0}hypervisor_key = {2}\n"
               "{0}owner_signing_key = {3}\n"
               "{0}owner_sealing_key = {4}\n",
               comment,
               config::toml_string(given ? options.domain : "6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10"),
               path(options.hypervisor_key, "hypervisor.pub"),
               path(options.owner_signing_key, "owner-signing.pub"),
               path(options.owner_sealing_key, "owner-sealing.pub"));
}

config::Result<void> check(const InitOptions& options) {
    const auto refuse = [](std::string reason) {
        return std::unexpected{config::Error{std::move(reason)}};
    };
    if (!options.domain.empty() && !config::parse_uuid(options.domain)) {
        return refuse("--domain must be a UUID such as 6f1c0b4e-1d2a-4c55-9a37-0c8d5e2b7f10");
    }
    wire::Digest digest;
    for (const std::string& mrenclave : options.approved_mrenclaves) {
        if (!config::parse_hex(mrenclave, digest)) {
            return refuse("--approve-mrenclave must be 64 hexadecimal digits");
        }
    }
    const int given = !options.domain.empty() + !options.hypervisor_key.empty() +
                      !options.owner_signing_key.empty() + !options.owner_sealing_key.empty();
    if (given != 0 && given != 4) {
        return refuse(
            "--domain, --hypervisor-key, --owner-signing-key and --owner-sealing-key "
            "belong together: give all of them, or none and edit the file");
    }
    return {};
}

}  // namespace

config::Result<void> init(const InitOptions& options) {
    if (auto sound = check(options); !sound) return sound;
    if (auto made = config::make_directory(options.dir); !made) return made;
    if (auto key = config::create_signing_key_pair(options.dir / "authority"); !key) {
        return std::unexpected{key.error()};
    }
    const std::filesystem::path path = options.dir / "authority.toml";
    if (auto written = config::write_file(path,
                                          service_text(options) + software_text(options) +
                                              approvals_text(options) + domains_text(options),
                                          0644, config::IfExists::refuse);
        !written) {
        return written;
    }
    fmt::print("wrote {}\npublic key for all others: {}\n", path.string(),
               (options.dir / "authority.pub").string());
    return {};
}

}  // namespace sgm::authority

// SPDX-License-Identifier: MIT
// The configuration files of all programs: settings, or a sentence that names file and line. The
// first byte says whose file it is.
#include "host/settings.hpp"

#include "authority/policy.hpp"
#include "config/temporary_directory.hpp"
#include "config/toml_file.hpp"
#include "fuzz/target.hpp"
#include "hypervisor/qemu/settings.hpp"
#include "remote/settings.hpp"
#include "sgx/tool/settings.hpp"

namespace sgm::fuzz {
namespace {

enum class File : std::uint8_t { enclave, hypervisor, authority, host, remote, count };

template <typename Settings>
void check_sentence(const config::Result<Settings>& result) {
    if (result) return;
    const std::string& sentence = result.error().sentence;
    check(!sentence.empty() && sentence.size() < 4096, "a refusal is a sentence");
}

// Where the files that a configuration names are sought.
const config::TemporaryDirectory& directory() {
    static const config::TemporaryDirectory made;
    static const bool filled = [] {
        const std::string digits(64, '5');
        made.write("authority.pub", "sgmonitor ed25519 public\n" + digits + "\n");
        return true;
    }();
    static_cast<void>(filled);
    return made;
}

}  // namespace

void run(Bytes input) {
    Choices choices{input};
    const auto which = static_cast<File>(choices.byte() % static_cast<std::uint8_t>(File::count));
    const std::string text{text_of(choices.rest())};
    if (text.find("/dev/") != text.npos || text.find("/proc/") != text.npos) return;
    const auto path = directory().write("settings.toml", text);
    switch (which) {
        case File::enclave: check_sentence(sgx::tool::load_settings(path)); break;
        case File::hypervisor: check_sentence(qemu::load_settings(path)); break;
        case File::authority: check_sentence(authority::load_settings(path)); break;
        case File::host: check_sentence(host::load_settings(path)); break;
        default: check_sentence(remote::load_settings(path));
    }
}

std::vector<Octets> seeds() {
    const auto seed = [](File file, std::string_view text) {
        return Recorder{}.put(file).put_bytes(octets_of(text)).octets();
    };
    std::vector<Octets> result{seed(File::enclave, sgx::tool::default_settings_text()),
                               seed(File::enclave, R"(heap_mib = 64
authority_key = "authority.pub"
label = "a label"
)"),
                               seed(File::hypervisor, R"(key = "hypervisor.key"
authority_key = "authority.pub"
socket = "hypervisor.sock"
socket_mode = "0660"
allow_software_sgx = true
[[domain]]
uuid = "11223344-5566-7788-99aa-bbccddeeff00"
memory = "vm.ram"
qmp = "vm.qmp"
backend = "m"
)"),
                               seed(File::authority, R"(listen = "127.0.0.1"
port = 7402
signing_key = "authority.key"
allow_software_sgx = true
lifetime_seconds = 3600
[[approved]]
mrenclave = "5555555555555555555555555555555555555555555555555555555555555555"
[[domain]]
uuid = "11223344-5566-7788-99aa-bbccddeeff00"
)"),
                               seed(File::host, R"(domain = "11223344-5566-7788-99aa-bbccddeeff00"
platform = "soft"
enclave = "ids.elf"
interval_ms = 1000
)"),
                               seed(File::remote, R"(listen = "127.0.0.1"
port = 7403
[[vm]]
uuid = "11223344-5566-7788-99aa-bbccddeeff00"
)")};
    return result;
}

}  // namespace sgm::fuzz

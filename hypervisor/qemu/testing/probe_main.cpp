// SPDX-License-Identifier: MIT
// sgm-hypervisor-probe SOCKET AUTHORITY_KEY UUID ADDRESS: what an approved IDS learns of a VM from
// a running sgmonitor-hypervisor, as JSON. For tests that start their VMs from a script.
#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "config/key_file.hpp"
#include "config/text.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "hypervisor/qemu/testing/ring_client.hpp"

namespace sgm::qemu::testing {
namespace {

using hypervisor::testing::BatchBuilder;
using hypervisor::testing::ClientSession;
using hypervisor::testing::frame;
using hypervisor::testing::Registrar;
using wire::Command;

std::optional<nlohmann::json> look(const std::filesystem::path& socket,
                                   const crypto::SigningKeyPair& authority,
                                   const wire::Uuid& domain, std::uint64_t address) {
    RingClient client{socket};
    const auto called = client.call(frame(Command::identity, {}));
    const auto identity = Reader{payload_of(called)}.take<wire::Identity>();
    if (!identity) return std::nullopt;
    const Registrar registrar{*identity, domain};
    const auto opened = client.call(registrar.signed_by(authority));
    if (status_of(opened) != wire::Status::ok) return std::nullopt;
    const auto session = ClientSession::confirm(registrar, payload_of(opened));
    if (session == nullptr) return std::nullopt;
    const auto answered =
        client.call(session->seal(Command::request, BatchBuilder{wire::kBatchConsistent}
                                                        .describe()
                                                        .registers(0)
                                                        .read(0, wire::Paging::physical, address, 8)
                                                        .bytes()));
    const auto answer = session->open(Command::request, payload_of(answered));
    const auto parts = answer ? hypervisor::testing::take_apart(*answer) : std::nullopt;
    if (!parts || parts->ops.size() != 3) return std::nullopt;
    const auto described = parts->ops[0].as<wire::DescribeResult>();
    const auto registers = parts->ops[1].as<wire::Registers>();
    const auto word = Reader{parts->ops[2].after<wire::ReadResult>()}.take<std::uint64_t>();
    if (!word) return std::nullopt;
    return nlohmann::json{{"domain", config::uuid_text(described.domain)},
                          {"vcpus", described.vcpu_count},
                          {"held", (parts->header.flags & wire::kBatchConsistent) != 0},
                          {"cr0", registers.cr0},
                          {"word", *word}};
}

int run(const std::array<std::string, 4>& words) {
    const auto authority = config::load_signing_key_pair(words[1]);
    const auto domain = config::parse_uuid(words[2]);
    if (!authority || !domain) {
        fmt::print(stderr, "error: {}\n", authority ? "UUID is none" : authority.error().sentence);
        return 2;
    }
    const auto seen = look(words[0], *authority, *domain, std::stoull(words[3], nullptr, 0));
    if (!seen) {
        fmt::print(stderr, "error: the hypervisor process does not answer as it should\n");
        return 1;
    }
    fmt::print("{}\n", seen->dump());
    return 0;
}

}  // namespace
}  // namespace sgm::qemu::testing

int main(int argc, char** argv) {
    if (argc != 5) {
        fmt::print(stderr, "usage: {} SOCKET AUTHORITY_KEY UUID ADDRESS\n", argv[0]);
        return 2;
    }
    return sgm::qemu::testing::run({argv[1], argv[2], argv[3], argv[4]});
}

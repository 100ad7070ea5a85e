// SPDX-License-Identifier: MIT
// Everything that an OCALL or the ring can bring back to the IDS, made up by the host: it gets no
// session, and one that is open believes nothing and is lost.
#include "fuzz/target.hpp"
#include "ids/kept_rules.hpp"
#include "ids/owner_channel.hpp"
#include "ids/registration.hpp"
#include "ids/session.hpp"
#include "sgx/enclave/testing/fake_seal_keys.hpp"
#include "wire/sealed_blob.hpp"

namespace sgm::fuzz {
namespace {

using ids::EnvironmentError;

class HostileHost final : public ids::Environment {
  public:
    explicit HostileHost(Bytes input) : choices_{input} {}

    std::expected<std::size_t, EnvironmentError> call_hypervisor(Bytes call,
                                                                 MutableBytes reply) override {
        const auto asked = Reader{call}.take<wire::OpHeader>().value_or(wire::OpHeader{});
        if (choices_.byte() % 4 == 0) return bring(reply);
        const Bytes payload = choices_.bytes(choices_.take<std::uint16_t>());
        Recorder frame;
        frame.put(wire::OpHeader{.magic = wire::kOpMagic,
                                 .version = wire::kProtocolVersion,
                                 .command = asked.command,
                                 .size = static_cast<std::uint32_t>(payload.size()),
                                 .status = choices_.byte() % 8 == 7 ? 3u : 0u});
        frame.put_bytes(payload);
        std::ranges::copy(frame.octets(), reply.begin());
        return frame.octets().size();
    }
    std::expected<void, EnvironmentError> send(wire::Peer, Bytes) override {
        if (choices_.byte() % 16 == 15) return std::unexpected{EnvironmentError::unreachable};
        return {};
    }
    std::expected<std::size_t, EnvironmentError> receive(wire::Peer, std::uint64_t,
                                                         MutableBytes into) override {
        return bring(into);
    }
    std::expected<void, EnvironmentError> wait(std::uint64_t) override { return {}; }
    std::expected<std::array<std::uint8_t, 432>, EnvironmentError> report(
        const std::array<std::uint8_t, 64>&) override {
        return std::array<std::uint8_t, 432>{};
    }
    enclave::SealKeys& seal_keys() override { return cpu_; }

  private:
    std::expected<std::size_t, EnvironmentError> bring(MutableBytes into) {
        if (choices_.empty()) return std::unexpected{EnvironmentError::nothing};
        const Bytes message =
            choices_.bytes(std::min<std::size_t>(choices_.take<std::uint16_t>(), into.size()));
        std::ranges::copy(message, into.begin());
        return message.size();
    }

    Choices choices_;
    enclave::testing::FakeSealKeys cpu_;
};

}  // namespace

void run(Bytes input) {
    Choices choices{input};
    const std::uint8_t what = choices.byte() % 4;
    HostileHost host{choices.rest()};
    if (what == 0) {
        const auto registered =
            ids::register_ids(host, wire::SigningKey{1}, wire::Uuid{2}, wire::IdsKeys{});
        check(!registered, "a host that forges no signature gives nobody a session");
        return;
    }
    if (what == 1) {
        crypto::Secret<32> secret;
        ids::Session session{host, {.id = 1, .domain = {}, .epoch = 1}, wire::Nonce{}, secret};
        const Octets batch(sizeof(wire::BatchHeader));
        for (int i = 0; i < 3; ++i) {
            check(!session.exchange(batch), "nothing that the host made up is an answer");
        }
        session.close();
        return;
    }
    if (what == 2) {
        const auto rules = ids::recall_rules(host, wire::Uuid{2}, wire::SigningKey{3});
        check(!rules || !*rules, "nothing that the host made up is a rule");
        return;
    }
    static const auto keys = ids::IdsKeyPairs::generate();
    check(keys.has_value(), "keys can be made");
    ids::OwnerChannel channel{host, *keys, wire::Uuid{2}, wire::BootId{}};
    channel.set_owner({});
    const auto command = channel.receive();
    check(!command || !command->has_value(), "nothing that the host made up is a command");
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    for (std::uint8_t what = 0; what < 4; ++what) {
        Recorder record;
        record.put(what);
        if (what == 2) {
            const wire::SealedBlobHeader header{.magic = wire::kSealedMagic,
                                                .version = 1,
                                                .policy = 1,
                                                .isv_svn = 3,
                                                .reserved = 0,
                                                .size = 112,
                                                .cpusvn = {2},
                                                .keyid = {}};
            record.put(static_cast<std::uint16_t>(sizeof header + 128));
            record.put(header).put_bytes(Octets(128));
        }
        const auto reply = [&](Bytes payload) {
            record.put(std::uint8_t{1}).put(static_cast<std::uint16_t>(payload.size()));
            record.put_bytes(payload).put(std::uint8_t{0});
        };
        wire::Identity identity{};
        identity.hypervisor_key[0] = 9;  // the base point of Curve25519
        if (what == 0) reply(bytes_of(identity));
        const wire::SealedHeader header{
            .session = 1, .epoch = 1, .counter = 1, .size = 64, .reserved = 0, .tag = {}};
        reply(Recorder{}.put(header).put_bytes(Octets(64)).octets());
        record.put(static_cast<std::uint16_t>(500)).put_bytes(Octets(500, 1));
        result.push_back(record.octets());
    }
    return result;
}

}  // namespace sgm::fuzz

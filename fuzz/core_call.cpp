// SPDX-License-Identifier: MIT
// sgm_op with whatever a hostile host can say: raw bytes, frames, sealed headers that name a
// session, registrations that the authority signed. Nothing of it may read the guest, and what
// does not name the honest session may not end it.
#include "crypto/keys.hpp"
#include "fuzz/target.hpp"
#include "hypervisor/core/testing/client.hpp"
#include "hypervisor/core/testing/machine.hpp"

namespace sgm::fuzz {
namespace {

using hypervisor::testing::Message;

enum class Kind : std::uint8_t { raw, framed, sealed, registration, count };

struct World {
    hypervisor::testing::SyntheticGuest guest{1 << 20};
    crypto::SigningKeyPair authority =
        crypto::SigningKeyPair::from_seed(std::array<std::uint8_t, 32>{1});
    std::unique_ptr<hypervisor::testing::Machine> machine =
        hypervisor::testing::make_machine({&guest}, authority.public_key());
};

struct Run {
    World& world;
    std::unique_ptr<hypervisor::testing::ClientSession> session;
    bool named = false;  // a hostile message named the session

    void hostile(const Message& message) {
        const std::uint64_t id = session->confirmation.session;
        constexpr std::size_t kAt = sizeof(wire::OpHeader);
        if (message.size() >= kAt + sizeof(id) &&
            std::memcmp(&message[kAt], &id, sizeof(id)) == 0) {
            named = true;
        }
        static_cast<void>(hypervisor::testing::call(*world.machine, message));
        check(world.guest.reads == 0, "an unsealed call reads nothing of the guest");
        const std::string complaint = world.machine->complaint();
        check(complaint.empty(), complaint.c_str());
    }

    void honest() {
        const Message batch = hypervisor::testing::BatchBuilder{}.describe().bytes();
        const auto reply =
            hypervisor::testing::call(*world.machine, session->seal(wire::Command::request, batch));
        const bool answered = reply.status == wire::Status::ok &&
                              session->open(wire::Command::request, reply.payload).has_value();
        check(answered || named, "what does not name a session does not end it");
    }
};

Message sealed(Choices& choices, Run& run, Bytes body) {
    const bool right_session = choices.byte() % 2 == 0;
    wire::SealedHeader header{};
    header.session = right_session ? run.session->confirmation.session : choices.byte();
    header.epoch = run.session->confirmation.epoch;
    header.counter = run.session->counter + choices.byte() % 3;
    header.size = static_cast<std::uint32_t>(body.size());
    header.tag = choices.take<decltype(header.tag)>();
    return hypervisor::testing::frame(
        choices.byte() % 2 == 0 ? wire::Command::request : wire::Command::close,
        {bytes_of(header), body});
}

// What an authority might sign, for a secret that nobody can open: as it should be, then changed.
Message registration(Choices& choices, World& world) {
    hypervisor::testing::Registrar registrar{*world.machine, world.guest.id};
    registrar.binding.encapsulation = choices.take<wire::Encapsulation>();
    registrar.rebind();
    const MutableBytes result = mutable_bytes_of(registrar.result);
    for (std::uint8_t changes = choices.byte() % 8; changes > 0; --changes) {
        result[choices.below(static_cast<std::uint32_t>(result.size()))] = choices.byte();
    }
    return registrar.signed_by(world.authority);
}

}  // namespace

void run(Bytes input) {
    static World world;
    Run run{.world = world,
            .session =
                hypervisor::testing::open_session(*world.machine, world.guest.id, world.authority)};
    check(run.session != nullptr, "an approved IDS registers");
    world.guest.reads = 0;
    Choices choices{input};
    for (int messages = 0; messages < 8 && !choices.empty(); ++messages) {
        const auto kind =
            static_cast<Kind>(choices.byte() % static_cast<std::uint8_t>(Kind::count));
        const Bytes body = choices.bytes(choices.take<std::uint16_t>());
        switch (kind) {
            case Kind::framed:
                run.hostile(hypervisor::testing::frame(
                    static_cast<wire::Command>(choices.byte() % 6), {body}));
                break;
            case Kind::sealed: run.hostile(sealed(choices, run, body)); break;
            case Kind::registration: run.hostile(registration(choices, world)); break;
            default: run.hostile({body.begin(), body.end()});
        }
        run.honest();
    }
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    const Octets body(64, 0x41);
    for (std::uint8_t kind = 0; kind < static_cast<std::uint8_t>(Kind::count); ++kind) {
        Recorder record;
        for (int i = 0; i < 3; ++i) {
            record.put(kind).put(static_cast<std::uint16_t>(body.size())).put_bytes(body);
            record.put_bytes(Octets(20, static_cast<std::uint8_t>(i)));
        }
        result.push_back(record.octets());
    }
    const Message identity = hypervisor::testing::frame(wire::Command::identity, {});
    result.push_back(Recorder{}
                         .put(Kind::raw)
                         .put(static_cast<std::uint16_t>(identity.size()))
                         .put_bytes(identity)
                         .octets());
    return result;
}

}  // namespace sgm::fuzz

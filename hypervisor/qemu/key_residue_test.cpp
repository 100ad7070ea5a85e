// SPDX-License-Identifier: MIT
// What a dump of the hypervisor process would show: sgmonitor-hypervisor itself, asked over its
// socket as sgmonitord asks, and all of its memory searched meanwhile.
#include <fcntl.h>
#include <fmt/core.h>
#include <gtest/gtest.h>
#include <intel-ipsec-mb.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>

#include "config/key_file.hpp"
#include "config/temporary_directory.hpp"
#include "config/text.hpp"
#include "crypto/hash.hpp"
#include "crypto/hpke.hpp"
#include "crypto/ipsec_mb.hpp"
#include "hypervisor/core/session_keys.hpp"
#include "hypervisor/core/testing/client.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "hypervisor/qemu/settings.hpp"
#include "hypervisor/qemu/testing/child_process.hpp"
#include "hypervisor/qemu/testing/fake_qemu.hpp"
#include "hypervisor/qemu/testing/memory_search.hpp"
#include "hypervisor/qemu/testing/ring_client.hpp"

namespace sgm::qemu {
namespace {

using hypervisor::testing::BatchBuilder;
using hypervisor::testing::ClientSession;
using hypervisor::testing::frame;
using hypervisor::testing::Message;
using hypervisor::testing::Registrar;
using testing::MemorySearch;
using testing::payload_of;
using testing::status_of;
using wire::Command;
using wire::Status;
using Names = std::set<std::string>;

constexpr const char* kSecret = "session secret";
constexpr const char* kAgreed = "X25519 secret";
constexpr const char* kExtracted = "extracted key";
constexpr const char* kRequestKey = "request key";
constexpr const char* kAnswerKey = "answer key";
constexpr const char* kRequestSchedule = "request key's schedule";
constexpr const char* kAnswerSchedule = "answer key's schedule";

// Round keys and powers of the hash key, without the two round keys that are the key itself.
Message expanded(Bytes key) {
    gcm_key_data schedule{};
    crypto::ipsec_mb::expand_key(key.data(), schedule);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&schedule);
    return {bytes + key.size(), bytes + sizeof(schedule)};
}

class KeyResidueTest : public ::testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(config::save_signing_key(directory / "authority.pub", authority.public_key()));
        ASSERT_EQ(::ftruncate(ram.get(), 64l << 20), 0);
        InitOptions options;
        options.dir = directory / "own";
        options.authority_key = directory / "authority.pub";
        options.domain = config::uuid_text(kDomain);
        options.ram = fmt::format("/proc/{}/fd/{}", ::getpid(), ram.get());
        options.qmp = directory / "qmp";
        ASSERT_TRUE(init(options));
        ASSERT_NO_FATAL_FAILURE(start());
        if (!MemorySearch{}.look(process->pid()))
            GTEST_SKIP() << "only root may read the memory of a process that forbids it";
        ring = std::make_unique<testing::RingClient>(directory / "own/hypervisor.sock");
    }

    void start() {
        std::array<int, 2> ends{};
        ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
        const Descriptor output{ends[0]};
        Descriptor its_end{ends[1]};
        process = std::make_unique<testing::ChildProcess>(
            std::vector<std::string>{SGM_HYPERVISOR_PROGRAM, "run", "--config",
                                     (directory / "own/hypervisor.toml").string()},
            std::span<const int>{}, its_end.get());
        its_end = Descriptor{};
        std::string said;
        std::array<char, 4096> chunk;
        while (said.find("ready:") == said.npos) {
            const ssize_t size = ::read(output.get(), chunk.data(), chunk.size());
            ASSERT_GT(size, 0) << said;
            said.append(chunk.data(), static_cast<std::size_t>(size));
        }
    }

    // Registers, and takes note of every secret that the two ends have in common.
    void open_session() {
        const auto identity =
            Reader{payload_of(ring->call(frame(Command::identity, {})))}.take<wire::Identity>();
        ASSERT_TRUE(identity.has_value());
        Registrar registrar{*identity, kDomain};
        const auto ephemeral = crypto::SealingKeyPair::generate().value();
        seal_again(registrar, *identity, ephemeral);
        const Message opened = ring->call(registrar.signed_by(authority));
        ASSERT_EQ(status_of(opened), Status::ok);
        session = ClientSession::confirm(registrar, payload_of(opened));
        ASSERT_NE(session, nullptr);

        const wire::Confirmation& confirmed = session->confirmation;
        const auto material = hypervisor::derive_keys(
            {.id = confirmed.session, .domain = kDomain, .epoch = confirmed.epoch},
            identity->registration_nonce, registrar.secret);
        const auto agreed = crypto::x25519(ephemeral.private_key(), identity->hypervisor_key);
        search.add(kSecret, registrar.secret.bytes());
        search.add(kAgreed, agreed->bytes());
        search.add(kExtracted,
                   crypto::hkdf_extract(identity->registration_nonce, registrar.secret.bytes()));
        search.add(kRequestKey, material.bytes().subspan(0, 32));
        search.add(kAnswerKey, material.bytes().subspan(32, 32));
        search.add(kRequestSchedule, expanded(material.bytes().subspan(0, 32)));
        search.add(kAnswerSchedule, expanded(material.bytes().subspan(32, 32)));
    }
    // With a key pair that the test knows.
    static void seal_again(Registrar& registrar, const wire::Identity& identity,
                           const crypto::SealingKeyPair& ephemeral) {
        const wire::HpkeInfo info{.label = wire::kRegisterLabel,
                                  .domain = kDomain,
                                  .hypervisor_key_id = identity.hypervisor_key_id};
        registrar.binding.encapsulation =
            crypto::hpke_seal(identity.hypervisor_key, ephemeral, bytes_of(info),
                              registrar.binding.registration_nonce, registrar.secret.bytes(),
                              registrar.binding.sealed_secret)
                .value();
        registrar.rebind();
    }

    void make_requests() {
        for (int i = 0; i < 10; ++i) {
            const Message reply = ring->call(session->seal(
                Command::request,
                BatchBuilder{}.describe().read(0, wire::Paging::physical, 0x1000, 4096).bytes()));
            ASSERT_EQ(status_of(reply), Status::ok);
            ASSERT_TRUE(session->open(Command::request, payload_of(reply)).has_value());
        }
    }

    // Which secrets are in the process now; each place is told.
    Names found() {
        const auto now = search.look(process->pid());
        EXPECT_TRUE(now.has_value());
        for (const std::string& place : now->places)
            places += place + '\n';
        return now->names;
    }

    static constexpr wire::Uuid kDomain{1, 2, 3};
    config::TemporaryDirectory directory;
    const crypto::SigningKeyPair authority = crypto::SigningKeyPair::generate().value();
    const Descriptor ram{::memfd_create("ram", MFD_CLOEXEC)};
    testing::FakeQemu qemu{directory / "qmp"};
    std::unique_ptr<testing::ChildProcess> process;
    std::unique_ptr<testing::RingClient> ring;
    std::unique_ptr<ClientSession> session;
    MemorySearch search;
    std::string places;
};

// The keys must be found while they are in use, or a search that finds nothing would say nothing.
const Names kKeysInUse{kRequestKey, kAnswerKey, kRequestSchedule, kAnswerSchedule};

TEST_F(KeyResidueTest, the_session_secret_is_gone_once_the_session_is_open) {
    ASSERT_NO_FATAL_FAILURE(open_session());
    EXPECT_EQ(found(), kKeysInUse) << places;
}

TEST_F(KeyResidueTest, after_close_no_key_is_left_anywhere) {
    ASSERT_NO_FATAL_FAILURE(open_session());
    ASSERT_NO_FATAL_FAILURE(make_requests());
    EXPECT_EQ(found(), kKeysInUse) << places;
    places.clear();
    const Message closed = ring->call(session->seal(Command::close, BatchBuilder{}.bytes()));
    ASSERT_EQ(status_of(closed), Status::ok);
    EXPECT_EQ(found(), Names{}) << places;
}

TEST_F(KeyResidueTest, after_a_bad_tag_no_key_is_left_anywhere) {
    ASSERT_NO_FATAL_FAILURE(open_session());
    ASSERT_NO_FATAL_FAILURE(make_requests());
    Message call = session->seal(Command::request, BatchBuilder{}.describe().bytes());
    call.back() ^= 1;
    ASSERT_EQ(status_of(ring->call(call)), Status::refused_tag);
    EXPECT_EQ(found(), Names{}) << places;
}

}  // namespace
}  // namespace sgm::qemu

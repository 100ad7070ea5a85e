// SPDX-License-Identifier: MIT
// What `sgmonitor hypervisor ls` shows, and a hypervisor process with as many VMs as it is for.
#include "hypervisor/qemu/control.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "config/temporary_directory.hpp"
#include "config/text.hpp"
#include "hypervisor/core/testing/client.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "hypervisor/qemu/testing/fake_qemu.hpp"
#include "wire/status_text.hpp"

namespace sgm::qemu {
namespace {

using hypervisor::testing::BatchBuilder;
using hypervisor::testing::ClientSession;
using hypervisor::testing::frame;
using hypervisor::testing::Message;
using hypervisor::testing::Registrar;
using hypervisor::testing::Reply;
using wire::Command;
using wire::Status;

constexpr std::uint64_t kMarked = 0x100000;  // where each VM's memory says which VM it is

wire::Uuid uuid_of(std::size_t number) {
    wire::Uuid uuid{0x5a};
    uuid[14] = static_cast<std::uint8_t>(number >> 8);
    uuid[15] = static_cast<std::uint8_t>(number);
    return uuid;
}

// The hypervisor process's parts, each VM's QEMU a fake one.
class ControlTest : public ::testing::Test {
  protected:
    void watch(std::size_t count) {
        // Two ends of a socket, a file and an eventfd for each.
        rlimit files{};
        ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
        files.rlim_cur = files.rlim_max;
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &files), 0);
        if (files.rlim_cur < 4 * count + 64)
            GTEST_SKIP() << "only " << files.rlim_cur
                         << " open files are allowed here (ulimit -Hn)";
        herd = std::make_unique<testing::FakeHerd>(count);
        std::vector<std::unique_ptr<QemuDomain>> domains(count);
        const auto attach = [&](std::size_t vm) {
            const Descriptor ram{::memfd_create("ram", MFD_CLOEXEC)};
            EXPECT_EQ(::ftruncate(ram.get(), 64l << 20), 0);
            EXPECT_EQ(::pwrite(ram.get(), &vm, sizeof(vm), kMarked), std::ssize(bytes_of(vm)));
            DomainSettings settings{};
            settings.uuid = uuid_of(vm);
            settings.memory = fmt::format("/proc/self/fd/{}", ram.get());
            settings.qmp_connection = herd->connection(vm);
            domains[vm] = std::make_unique<QemuDomain>(std::move(settings), 1);
            const auto attached = domains[vm]->attach();
            EXPECT_TRUE(attached.has_value()) << vm << ": " << attached.error().sentence;
        };
        // Each waits for its QEMU: several at a time.
        constexpr std::size_t kAtATime = 32;
        std::vector<std::jthread> threads;
        for (std::size_t first = 0; first < kAtATime; ++first) {
            threads.emplace_back([&, first] {
                for (std::size_t vm = first; vm < count; vm += kAtATime)
                    attach(vm);
            });
        }
        threads.clear();
        for (auto& domain : domains)
            (void)port.add(std::move(domain));
    }
    Reply call(Bytes message) {
        const auto [size, status] = gate.sgm_op(message, reply);
        return {status, Message{reply.begin() + sizeof(wire::OpHeader),
                                reply.begin() + static_cast<std::ptrdiff_t>(size)}};
    }
    std::unique_ptr<ClientSession> open_session(std::size_t vm) {
        const Reply identity = call(frame(Command::identity, {}));
        const Registrar registrar{Reader{identity.payload}.take<wire::Identity>().value(),
                                  uuid_of(vm)};
        return ClientSession::confirm(registrar, call(registrar.signed_by(authority)).payload);
    }
    // What the VM's memory says which VM it is.
    std::optional<std::size_t> marked(ClientSession& session) {
        const Reply sealed = call(session.seal(
            Command::request,
            BatchBuilder{}.read(0, wire::Paging::physical, kMarked, sizeof(std::size_t)).bytes()));
        const auto answer = session.open(Command::request, sealed.payload);
        const auto parts = answer ? hypervisor::testing::take_apart(*answer) : std::nullopt;
        if (!parts || parts->ops.size() != 1) return std::nullopt;
        return Reader{parts->ops[0].after<wire::ReadResult>()}.take<std::size_t>();
    }
    nlohmann::json ls() {
        const auto told = ask_control(directory / "control", {{"command", "ls"}});
        EXPECT_TRUE(told.has_value()) << told.error().sentence;
        return told ? *told : nlohmann::json{};
    }
    static nlohmann::json row(const nlohmann::json& listed, std::size_t vm) {
        const std::string uuid = config::uuid_text(uuid_of(vm));
        for (const nlohmann::json& entry : listed.at("vms"))
            if (entry.at("uuid") == uuid) return entry;
        return {};
    }

    config::TemporaryDirectory directory;
    std::unique_ptr<testing::FakeHerd> herd;
    QemuPort port;
    const crypto::SigningKeyPair authority = crypto::SigningKeyPair::generate().value();
    std::unique_ptr<hypervisor::Core> core = std::make_unique<hypervisor::Core>(
        port, crypto::SealingKeyPair::generate().value(), authority.public_key(), false);
    CoreGate gate{*core, [&](Status status, std::size_t size) { port.count(status, size); }};
    std::vector<std::uint8_t> reply = std::vector<std::uint8_t>(hypervisor::kMaxReplySize);
    std::unique_ptr<ControlServer> control =
        ControlServer::listen(directory / "control",
                              {.gate = gate, .port = port, .first_epoch = 1, .guard = nullptr})
            .value();
};

TEST_F(ControlTest, ls_counts_what_was_served_and_refused_by_vm_and_by_reason) {
    ASSERT_NO_FATAL_FAILURE(watch(2));
    const auto first = open_session(0);
    const auto second = open_session(1);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(marked(*second), 1u);
    const Message once = first->seal(Command::request, BatchBuilder{}.describe().bytes());
    EXPECT_EQ(call(once).status, Status::ok);
    EXPECT_EQ(call(once).status, Status::refused_counter);
    EXPECT_EQ(call(once).status, Status::no_such_session) << "the replay has closed it";
    for (int i = 0; i < 3; ++i) {
        const Reply identity = call(frame(Command::identity, {}));
        const Registrar registrar{Reader{identity.payload}.take<wire::Identity>().value(),
                                  uuid_of(0)};
        const auto stranger = crypto::SigningKeyPair::generate().value();
        EXPECT_EQ(call(registrar.signed_by(stranger)).status, Status::bad_signature);
    }
    Message broken = second->seal(Command::request, BatchBuilder{}.describe().bytes());
    broken.back() ^= 1;
    EXPECT_EQ(call(broken).status, Status::refused_tag);
    EXPECT_EQ(call(Message(7)).status, Status::malformed);
    EXPECT_EQ(open_session(7), nullptr) << "no such VM";

    const auto counted = [](const nlohmann::json& entry, Status status) {
        return entry.at("refusals").value(std::string{wire::text(status)}, std::uint64_t{0});
    };
    const nlohmann::json listed = ls();
    const nlohmann::json one = row(listed, 0);
    const nlohmann::json two = row(listed, 1);
    const nlohmann::json& other = listed.at("other");
    EXPECT_EQ(one.at("sessions"), 0u);
    EXPECT_EQ(two.at("sessions"), 0u);
    EXPECT_EQ(counted(one, Status::refused_counter), 1u) << listed.dump(2);
    EXPECT_EQ(counted(two, Status::refused_tag), 1u) << listed.dump(2);
    EXPECT_EQ(counted(other, Status::malformed), 1u) << listed.dump(2);
    EXPECT_EQ(counted(other, Status::no_such_session), 1u) << listed.dump(2);
    const auto in_all = [&](Status status) {
        return counted(one, status) + counted(two, status) + counted(other, status);
    };
    EXPECT_EQ(in_all(Status::bad_signature), 3u) << listed.dump(2);
    EXPECT_EQ(in_all(Status::wrong_domain), 1u) << listed.dump(2);
    EXPECT_GT(one.at("bytes"), 0u);
    const auto calls = [](const nlohmann::json& entry) {
        return entry.at("calls").get<std::uint64_t>();
    };
    EXPECT_EQ(calls(one) + calls(two) + calls(other), 18u) << listed.dump(2);
}

TEST_F(ControlTest, each_of_1024_vms_answers_for_itself) {
    constexpr std::size_t kVms = 1024;
    ASSERT_NO_FATAL_FAILURE(watch(kVms));
    if (IsSkipped()) return;
    std::vector<std::unique_ptr<ClientSession>> sessions;
    for (std::size_t i = 0; i < kVms; ++i) {
        sessions.push_back(open_session(i));
        ASSERT_NE(sessions.back(), nullptr) << i;
    }
    // All sessions stand at once.
    for (std::size_t i = 0; i < kVms; ++i)
        ASSERT_EQ(marked(*sessions[i]), i);
    const nlohmann::json listed = ls();
    ASSERT_EQ(listed.at("vms").size(), kVms);
    for (const nlohmann::json& vm : listed.at("vms")) {
        ASSERT_EQ(vm.at("sessions"), 1u) << vm.dump();
        ASSERT_EQ(vm.at("readability"), "readable") << vm.dump();
        ASSERT_TRUE(vm.at("refusals").empty()) << vm.dump();
    }
    // One QEMU that hangs is its own VM's trouble.
    herd->hang(500);
    (void)call(sessions[500]->seal(Command::request,
                                   BatchBuilder{wire::kBatchConsistent}.registers(0).bytes()));
    EXPECT_EQ(row(ls(), 500).at("qmp"), "does not answer");
    EXPECT_EQ(marked(*sessions[500]), 500u) << "reading needs no QMP";
    EXPECT_EQ(row(ls(), 501).at("qmp"), "answers");
    EXPECT_EQ(marked(*sessions[501]), 501u);
    // One that is detached is gone, and the others stay.
    ASSERT_TRUE(ask_control(directory / "control",
                            {{"command", "detach"}, {"uuid", config::uuid_text(uuid_of(700))}}));
    EXPECT_EQ(marked(*sessions[700]), std::nullopt);
    EXPECT_EQ(marked(*sessions[701]), 701u);
    EXPECT_EQ(ls().at("vms").size(), kVms - 1);
}

}  // namespace
}  // namespace sgm::qemu

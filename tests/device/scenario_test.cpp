// SPDX-License-Identifier: MIT
// The demo's story on the device loader, in one process: the IDS's own enclave file registers,
// lists processes, raises and clears a finding, beats, and notices a host that changes an answer;
// then the machine sleeps. Real: the enclave's code, the loader, the hypervisor core, the
// protocol. FAKE: the SGX driver, the vDSO and the CPU's SGX (sgx/loader/device/testing), the
// guest (a synthetic kernel), and the authority, which takes the report for the quote.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "config/temporary_directory.hpp"
#include "guest/testing/synthetic_kernel.hpp"
#include "ids/testing/world.hpp"
#include "sgx/image/image.hpp"
#include "sgx/image/sigstruct.hpp"
#include "sgx/loader/device/device_enclave.hpp"
#include "sgx/loader/device/testing/fake_driver.hpp"
#include "wire/fixed_text.hpp"
#include "wire/ring.hpp"

namespace sgm {
namespace {

using ids::EnvironmentError;
using ids::testing::Message;
using ids::testing::World;
using sgx::device::testing::FakeDriver;

constexpr std::size_t kStartInfo = 0;
constexpr std::size_t kFrame = 1024;
constexpr std::size_t kBuffer = 4096;

sgx::TargetInfo quoting_target() {
    sgx::TargetInfo target{};
    target.measurement = {1, 2, 3};
    return target;
}

// sgmonitord's part: the OCALLs, served by the parties of `world`.
class Relay final : public sgx::OcallHandler {
  public:
    Relay(World& world, const wire::Uuid& domain, const FakeDriver& driver, sgx::Enclave& enclave)
        : world_{world}, driver_{driver}, enclave_{enclave} {
        ring_ = enclave.allocate(wire::kRingSize).value();
        area_ = enclave.allocate(kBuffer + wire::kMinOcallBuffer).value();
        wire::StartInfo start{};
        start.ring = ring_.enclave_address;
        start.ocall_frame = area_.enclave_address + kFrame;
        start.buffer = area_.enclave_address + kBuffer;
        start.buffer_size = wire::kMinOcallBuffer;
        start.domain = domain;
        std::ranges::copy(bytes_of(quoting_target()), start.quoting_target.begin());
        start.interval_ms = 1000;
        std::ranges::copy(bytes_of(start), area_.host.subspan(kStartInfo).begin());
    }

    [[nodiscard]] auto run() {
        return enclave_.run(wire::EcallNumber::run, area_.enclave_address + kStartInfo, *this);
    }

    void on_ocall(wire::OcallFrame& frame) override {
        std::expected<void, EnvironmentError> done;
        switch (frame.number) {
            case wire::OcallNumber::hypervisor: done = serve_ring(); break;
            case wire::OcallNumber::send:
                done = send(frame.peer, buffer().first(static_cast<std::size_t>(frame.size)));
                break;
            case wire::OcallNumber::receive: {
                const auto size = world_.receive(frame.peer, frame.wait_ns, buffer());
                if (size) frame.size = *size;
                if (!size) done = std::unexpected(size.error());
                break;
            }
            case wire::OcallNumber::wait: done = world_.wait(frame.wait_ns); break;
        }
        frame.result =
            static_cast<std::uint32_t>(done ? wire::OcallResult::ok : result_of(done.error()));
    }

  private:
    static wire::OcallResult result_of(EnvironmentError error) {
        if (error == EnvironmentError::nothing) return wire::OcallResult::nothing;
        if (error == EnvironmentError::stopped) return wire::OcallResult::stop;
        return wire::OcallResult::unreachable;
    }
    [[nodiscard]] MutableBytes buffer() const { return area_.host.subspan(kBuffer); }

    std::expected<void, EnvironmentError> serve_ring() {
        auto* header = reinterpret_cast<wire::RingHeader*>(ring_.host.data());
        const auto size =
            world_.call_hypervisor(ring_.host.subspan(wire::kRingCallOffset, header->call_size),
                                   ring_.host.subspan(wire::kRingReplyOffset, wire::kRingMaxReply));
        if (!size) return std::unexpected(size.error());
        header->reply_size = static_cast<std::uint32_t>(*size);
        header->state = static_cast<std::uint32_t>(wire::RingState::reply);
        return {};
    }

    // A report of this CPU about the signed enclave, or no quote.
    std::expected<void, EnvironmentError> send(wire::Peer peer, Bytes message) {
        if (peer != wire::Peer::quoting) return world_.send(peer, message);
        const auto report = Reader{message}.take<sgx::Report>();
        EXPECT_TRUE(report && driver_.platform().verify_report(*report, quoting_target()));
        EXPECT_EQ(report->body.mrenclave, driver_.enclave().mrenclave());
        return world_.send(peer, report->body.report_data);
    }

    World& world_;
    const FakeDriver& driver_;
    sgx::Enclave& enclave_;
    sgx::SharedMemory ring_;
    sgx::SharedMemory area_;
};

Message rules_against(std::string_view comm) {
    const wire::Rules header{.version = 1, .count = 1, .reserved = 0};
    wire::Rule rule{};
    rule.action = wire::RuleAction::deny;
    rule.match = wire::kMatchComm;
    wire::set_text(rule.comm, comm);
    wire::set_text(rule.name, "no miners");
    Message message(sizeof header + sizeof rule);
    Writer writer{message};
    writer.put(header);
    writer.put(rule);
    return message;
}

class Scenario : public ::testing::Test {
  protected:
    Scenario() {
        prepare(std::uint64_t{64} << 20);
        kernel_.set_registers();
        world_.port.remove(world_.guest);
        world_.port.add(kernel_.vm());
    }
    // The IDS as its signer would hand it out, on a new machine.
    void prepare(std::uint64_t heap_size) {
        static const sgx::SignerKey signer = sgx::SignerKey::generate().value();
        std::ifstream file{SGM_IDS_ENCLAVE, std::ios::binary};
        const std::vector<std::uint8_t> linked{std::istreambuf_iterator<char>{file}, {}};
        const auto elf = sgx::prepare_image(linked, {.heap_size = heap_size,
                                                     .authority_key = world_.authority.public_key(),
                                                     .label = "scenario"})
                             .value();
        const auto image = sgx::EnclaveImage::build(elf).value();
        const auto sigstruct =
            sgx::sign_sigstruct(sgx::describe_enclave(image.measure(), {}), signer).value();
        write(request_.image, elf);
        write(request_.sigstruct, bytes_of(sigstruct));
        driver_ = std::make_unique<FakeDriver>(image.soft_enclu_offset());
    }
    static void write(const std::filesystem::path& path, Bytes bytes) {
        std::ofstream{path, std::ios::binary}.write(reinterpret_cast<const char*>(bytes.data()),
                                                    static_cast<std::streamsize>(bytes.size()));
    }
    // One life of the enclave, from loading to its end.
    auto live(int waits) {
        world_.waits_left = waits;
        const auto enclave = sgx::device::load_device_enclave(request_, *driver_);
        EXPECT_TRUE(enclave.has_value()) << enclave.error();
        return Relay{world_, kernel_.vm().id, *driver_, **enclave}.run();
    }
    [[nodiscard]] long count(wire::FindingState state) const {
        return std::ranges::count(world_.findings(), state, &wire::Finding::state);
    }

    config::TemporaryDirectory directory_;
    sgx::LoadRequest request_{.image = directory_ / "ids.elf",
                              .sigstruct = directory_ / "ids.sig",
                              .fuse_key = {},
                              .monitor = {}};
    guest::testing::SyntheticKernel kernel_;
    World world_;
    std::unique_ptr<FakeDriver> driver_;
};

TEST_F(Scenario, the_ids_registers_lists_finds_beats_and_notices_a_tampering_host_on_the_device) {
    const std::vector<guest::testing::SyntheticTask> tasks = {{1, 0, 0, "init"},
                                                              {2, 0, 0, "kthreadd"}};
    world_.on_wait = [&, wait = 0]() mutable {
        ++wait;
        if (wait == 1) {
            world_.command(wire::OwnerKind::rules, rules_against("xmrig"));
            world_.command(
                wire::OwnerKind::query,
                bytes_of(wire::Query{.id = 7, .kind = wire::QueryKind::processes, .reserved = 0}));
        }
        if (wait == 3) {
            auto more = tasks;
            more.push_back({99, 1, 1000, "xmrig"});
            kernel_.set_tasks(more);
        }
        if (wait == 5) kernel_.set_tasks(tasks);
        if (wait == 7) {
            world_.on_reply = [&](Message& reply) {
                const auto header = Reader{reply}.take<wire::OpHeader>();
                if (header->command != static_cast<std::uint16_t>(wire::Command::request)) return;
                reply.back() ^= 1;
                world_.on_reply = [](Message&) {};
            };
        }
    };
    EXPECT_EQ(live(12).value(), wire::EnclaveResult::stopped);

    const auto beats = world_.beats();
    ASSERT_GE(beats.size(), 10u);
    EXPECT_EQ(beats.back().state, wire::IdsState::watching);
    EXPECT_GT(beats.back().scan, beats[2].scan);
    const auto answer =
        std::ranges::find(world_.owner_got, wire::OwnerKind::answer, &ids::OpenedMessage::kind);
    ASSERT_NE(answer, world_.owner_got.end());
    constexpr std::string_view kName = "kthreadd";
    EXPECT_FALSE(std::ranges::search(answer->payload, kName).empty()) << "it is in the answer";
    for (const Message& message : world_.carried)
        EXPECT_TRUE(std::ranges::search(message, kName).empty()) << "the host sees no name";
    EXPECT_EQ(count(wire::FindingState::raised), 1);
    EXPECT_EQ(count(wire::FindingState::cleared), 1);
    EXPECT_GE(count(wire::FindingState::event), 1);
    EXPECT_EQ(beats.back().registrations, 2u);
    EXPECT_EQ(beats.back().refused_answers, 1u);
}

TEST_F(Scenario, after_a_sleep_of_the_machine_the_ids_is_loaded_anew_and_watches_again) {
    world_.on_wait = [&, wait = 0]() mutable {
        if (++wait == 3) driver_->sleep();
    };
    const auto lost = live(10);
    ASSERT_FALSE(lost.has_value());
    EXPECT_EQ(lost.error().cause, sgx::EnclaveLoss::Cause::memory_lost);
    const std::size_t before = world_.beats().size();
    EXPECT_EQ(live(4).value(), wire::EnclaveResult::stopped);
    EXPECT_GT(world_.beats().size(), before);
    EXPECT_EQ(world_.beats().back().state, wire::IdsState::watching);
    EXPECT_EQ(world_.beats().back().registrations, 1u) << "of sessions it remembers nothing";
}

TEST_F(Scenario, whatever_its_heap_the_ids_watches_or_says_that_memory_is_short) {
    const auto says_so = [&] {
        return std::ranges::any_of(world_.findings(), [](const wire::Finding& finding) {
            return wire::get_text(finding.check) == "memory";
        });
    };
    int ended = 0;
    int gave_scans_up = 0;
    int watched = 0;
    for (std::uint64_t heap = 12; heap <= 32; ++heap) {
        SCOPED_TRACE(heap);
        prepare(heap * (std::uint64_t{128} << 10));
        world_.owner_got.clear();
        const auto end = live(3);
        ASSERT_TRUE(end.has_value()) << sgx::text(end.error());
        const auto beats = world_.beats();
        if (*end == wire::EnclaveResult::stopped) {
            ASSERT_FALSE(beats.empty());
            const bool watches = beats.back().state == wire::IdsState::watching;
            EXPECT_TRUE(watches || says_so());
            ++(watches ? watched : gave_scans_up);
            continue;
        }
        EXPECT_EQ(*end, wire::EnclaveResult::out_of_memory);
        ++ended;
        // Before its first beat the owner does not know who speaks.
        if (beats.empty()) continue;
        EXPECT_TRUE(says_so());
    }
    EXPECT_GT(ended, 0);
    EXPECT_GT(gave_scans_up, 0);
    EXPECT_GT(watched, 0);
}

TEST_F(Scenario, the_rules_that_the_enclave_sealed_are_in_force_again_after_a_restart) {
    world_.on_wait = [&, wait = 0]() mutable {
        if (++wait == 1) world_.command(wire::OwnerKind::rules, rules_against("xmrig"));
    };
    EXPECT_EQ(live(3).value(), wire::EnclaveResult::stopped);
    ASSERT_TRUE(world_.stored.has_value());
    world_.on_wait = [] {};
    world_.owner_got.clear();
    EXPECT_EQ(live(3).value(), wire::EnclaveResult::stopped);
    EXPECT_EQ(world_.beats().front().rules_version, 1u);

    world_.stored->back() ^= 1;
    world_.owner_got.clear();
    EXPECT_EQ(live(3).value(), wire::EnclaveResult::stopped);
    EXPECT_EQ(world_.beats().front().rules_version, 0u);
    EXPECT_EQ(count(wire::FindingState::event), 1);
}

}  // namespace
}  // namespace sgm

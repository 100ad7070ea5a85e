// SPDX-License-Identifier: MIT
// Servers that are out of descriptors: a connection that cannot be accepted stays in the queue and
// makes its listener readable, and who only asks again and again takes a processor for that.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <functional>
#include <set>
#include <string>

#include "config/temporary_directory.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "hypervisor/qemu/control.hpp"
#include "hypervisor/qemu/ring_server.hpp"
#include "hypervisor/qemu/testing/ring_client.hpp"
#include "hypervisor/qemu/testing/wait.hpp"

namespace sgm::qemu {
namespace {

std::set<std::string> own_threads() {
    std::set<std::string> ids;
    for (const auto& entry : std::filesystem::directory_iterator{"/proc/self/task"})
        ids.insert(entry.path().filename());
    return ids;
}

// How often a thread has slept (proc(5): voluntary_ctxt_switches). Opened while there are
// descriptors.
class Sleeps final {
  public:
    explicit Sleeps(const std::string& thread)
        : status_{::open(("/proc/self/task/" + thread + "/status").c_str(), O_RDONLY | O_CLOEXEC)} {
    }
    [[nodiscard]] long count() const {
        std::array<char, 8192> text{};
        (void)!::pread(status_.get(), text.data(), text.size() - 1, 0);
        const char* const line = std::strstr(text.data(), "\nvoluntary_ctxt_switches:");
        return line == nullptr ? -1 : std::atol(std::strchr(line, ':') + 1);
    }

  private:
    Descriptor status_;
};

class NoMoreDescriptors final {
  public:
    NoMoreDescriptors() {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        const rlimit none{.rlim_cur = 3, .rlim_max = before_.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &none);
    }
    ~NoMoreDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }
    NoMoreDescriptors(const NoMoreDescriptors&) = delete;
    NoMoreDescriptors& operator=(const NoMoreDescriptors&) = delete;

  private:
    rlimit before_{};
};

class OutOfDescriptors : public ::testing::Test {
  protected:
    // `server` has just been started; its one thread sleeps between attempts.
    void expect_pauses(const std::function<void()>& start) {
        const auto before = own_threads();
        start();
        auto started = own_threads();
        for (const std::string& thread : before)
            started.erase(thread);
        ASSERT_EQ(started.size(), 1u);
        const Sleeps sleeps{*started.begin()};
        const Descriptor client{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::ranges::copy(path.string(), address.sun_path);

        const NoMoreDescriptors now;
        ASSERT_EQ(
            ::connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
            0);
        ASSERT_LT(::socket(AF_UNIX, SOCK_STREAM, 0), 0);
        const long slept = sleeps.count();
        ASSERT_GE(slept, 0);
        EXPECT_TRUE(testing::comes_true("its sleep between attempts",
                                        [&] { return sleeps.count() > slept + 3; }));
    }

    config::TemporaryDirectory directory;
    const std::filesystem::path path = directory / "socket";
    hypervisor::testing::SyntheticPort no_guests;
    std::unique_ptr<hypervisor::Core> core = std::make_unique<hypervisor::Core>(
        no_guests, crypto::SealingKeyPair::generate().value(),
        crypto::SigningKeyPair::generate().value().public_key(), false);
    CoreGate gate{*core};
};

TEST_F(OutOfDescriptors, the_ring_server_pauses_and_then_serves) {
    std::unique_ptr<RingServer> server;
    expect_pauses([&] { server = RingServer::listen(path, 0600, gate).value(); });
    testing::RingClient client{path};
    EXPECT_EQ(
        testing::status_of(client.call(hypervisor::testing::frame(wire::Command::identity, {}))),
        wire::Status::ok);
}

TEST_F(OutOfDescriptors, the_control_server_pauses_and_then_serves) {
    QemuPort port;
    std::unique_ptr<ControlServer> server;
    expect_pauses([&] {
        server = ControlServer::listen(
                     path, {.gate = gate, .port = port, .first_epoch = 0, .guard = nullptr})
                     .value();
    });
    EXPECT_TRUE(ask_control(path, {{"command", "ls"}}).has_value());
}

}  // namespace
}  // namespace sgm::qemu

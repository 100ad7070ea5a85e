// SPDX-License-Identifier: MIT
// QEMU as the port sees it: a QMP socket whose answers a test chooses, and a sparse memfd for RAM.
#pragma once

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "config/descriptor.hpp"

namespace sgm::qemu::testing {

using config::Descriptor;

// The map of a q35 machine of 64 MiB whose backend is called "ram0".
[[nodiscard]] std::string small_q35_map();

// What a fake QEMU answers to a command, or to a command line of the human monitor; JSON.
using FakeAnswers = std::map<std::string, std::string>;

class FakeQemu final {
  public:
    explicit FakeQemu(const std::filesystem::path& socket);
    ~FakeQemu();
    FakeQemu(const FakeQemu&) = delete;
    FakeQemu& operator=(const FakeQemu&) = delete;

    // By command, or command line of the human monitor; JSON.
    void answer(const std::string& command, const std::string& json);
    // From now on an error answers it.
    void refuse(const std::string& command);
    // Sent before the answer to the next command, or to the next of that name.
    void event(const std::string& name, const std::string& command = {});
    // The next command of this name is not answered until go_on(); `chatter`: an event that is
    // sent all the while.
    void hang(const std::string& command, const std::string& chatter = {});
    void go_on();
    void hang_up();  // QEMU ends; a later connection finds nobody
    [[nodiscard]] std::vector<std::string> commands() const;

  private:
    void serve();
    [[nodiscard]] std::string reply_to(const std::string& line);
    void hang_at(const std::string& command);

    Descriptor listener_;
    Descriptor client_;
    mutable std::mutex mutex_;
    FakeAnswers answers_;
    std::vector<std::string> commands_;
    std::string pending_events_;
    std::map<std::string, std::string> events_before_;  // by command
    std::string hangs_at_;
    std::string chatter_;
    std::condition_variable goes_on_;
    bool ends_ = false;
    std::thread thread_;
};

// Many of them in one thread, which say what a FakeQemu says at first.
class FakeHerd final {
  public:
    explicit FakeHerd(std::size_t count);
    ~FakeHerd();
    FakeHerd(const FakeHerd&) = delete;
    FakeHerd& operator=(const FakeHerd&) = delete;

    // The other end of the connection with one of them; given away once.
    [[nodiscard]] std::shared_ptr<Descriptor> connection(std::size_t index);
    // It answers no more.
    void hang(std::size_t index) { members_[index].hangs = true; }

  private:
    struct Member {
        Descriptor socket;
        std::shared_ptr<Descriptor> other_end;
        std::string received;
        std::atomic<bool> hangs = false;
    };
    void serve();

    std::vector<Member> members_;
    Descriptor end_;  // eventfd
    std::thread thread_;
};

}  // namespace sgm::qemu::testing

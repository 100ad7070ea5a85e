// SPDX-License-Identifier: MIT
// QEMU as the port sees it: a QMP socket whose answers a test chooses, and a sparse memfd for RAM.
#pragma once

#include <condition_variable>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "config/descriptor.hpp"

namespace sgm::qemu::testing {

using config::Descriptor;

// The map of a q35 machine of 64 MiB whose backend is called "ram0".
[[nodiscard]] std::string small_q35_map();

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
    std::map<std::string, std::string> answers_;
    std::vector<std::string> commands_;
    std::string pending_events_;
    std::map<std::string, std::string> events_before_;  // by command
    std::string hangs_at_;
    std::string chatter_;
    std::condition_variable goes_on_;
    bool ends_ = false;
    std::thread thread_;
};

}  // namespace sgm::qemu::testing

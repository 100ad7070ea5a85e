// SPDX-License-Identifier: MIT
// The thread that speaks with one QEMU. All QMP of a VM goes through it, so a QEMU that hangs
// keeps nobody but itself waiting: the core asks with a deadline and goes on without an answer.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "config/error.hpp"
#include "hypervisor/qemu/attachment.hpp"
#include "hypervisor/qemu/continue_guard.hpp"
#include "hypervisor/qemu/qmp.hpp"

namespace sgm::qemu {

class QemuLink final {
  public:
    // `epoch`: the first; each loss of QEMU, each reset and each restore gives the next. `guard`
    // may be nullptr (tests, tools) and else outlives this.
    QemuLink(DomainSettings settings, std::uint64_t epoch, ContinueGuard* guard);
    // Makes sure that the VM runs, if its QEMU answers within kLastChance.
    ~QemuLink();
    QemuLink(const QemuLink&) = delete;
    QemuLink& operator=(const QemuLink&) = delete;

    // Reaches QEMU now; later the thread does so by itself whenever QEMU is gone.
    [[nodiscard]] config::Result<void> attach();

    [[nodiscard]] std::uint64_t epoch() const { return epoch_; }
    // nullptr: QEMU is gone, why_gone() says why.
    [[nodiscard]] std::shared_ptr<Attachment> attachment() const;
    [[nodiscard]] std::string why_gone() const;
    // An earlier command is not answered yet.
    [[nodiscard]] bool is_stuck() const;

    // `info registers -a`; nullopt when there was no answer within kPatience.
    [[nodiscard]] std::optional<std::string> registers();
    // Stops the vCPUs. False, also when there was no answer within kPatience: they go on, at the
    // latest when QEMU answers.
    [[nodiscard]] bool hold();
    // False when the vCPUs ran meanwhile, or are not known to go on: then that is tried further.
    [[nodiscard]] bool release();

    static constexpr std::chrono::milliseconds kPatience{100};
    // The link's own bound on a hold; the core's is 100 ms.
    static constexpr std::chrono::milliseconds kLongestHold{500};
    static constexpr std::chrono::seconds kAttachTime{5};
    static constexpr std::chrono::seconds kLastChance{2};
    static constexpr std::chrono::seconds kBetweenAttempts{1};
    // How often the memory map is looked at: QEMU does not tell when memory is plugged.
    static constexpr std::chrono::seconds kBetweenLooks{10};

  private:
    enum class Command { attach, registers, hold, release };
    struct Answer {
        bool good = false;
        std::string text;
    };

    // The asking side.
    [[nodiscard]] std::optional<Answer> ask(Command command, std::chrono::milliseconds patience);

    // The thread's side; nothing below is touched by another.
    void run();
    void serve_request();
    [[nodiscard]] Answer perform(Command command);
    [[nodiscard]] config::Result<void> connect();
    void lose(const std::string& why);
    void publish(std::shared_ptr<Attachment> attachment, const std::string& why_gone);
    // What QEMU said since the last look; `own_resumes` of ours are expected among it.
    void take_events(std::uint32_t own_resumes = 0);
    void new_epoch(std::string_view why);
    // As long as it takes, until the link ends.
    [[nodiscard]] std::optional<Qmp::Reply> converse(const std::string& command);
    [[nodiscard]] bool stop_vcpus();
    [[nodiscard]] bool continue_vcpus();
    void look_at_map();
    void wait_for_work();
    [[nodiscard]] bool is_due(std::chrono::steady_clock::time_point when) const {
        return std::chrono::steady_clock::now() >= when;
    }
    void wake();

    DomainSettings settings_;
    const std::string name_;  // for the log
    ContinueGuard* guard_;
    std::atomic<std::uint64_t> epoch_;
    Descriptor wake_;  // an eventfd

    std::optional<Qmp> qmp_;
    std::optional<ContinueGuard::Slot> slot_;
    bool owed_ = false;           // the vCPUs stand because of us
    bool ran_meanwhile_ = false;  // since the last stop
    bool was_attached_ = false;
    std::chrono::steady_clock::time_point release_at_{};
    std::chrono::steady_clock::time_point next_attempt_{};
    std::chrono::steady_clock::time_point next_look_{};

    mutable std::mutex mutex_;  // of what follows
    std::condition_variable answered_;
    enum class Exchange { none, posted, at_work, abandoned, answered } exchange_ = Exchange::none;
    Command command_{};
    Answer answer_;
    bool end_ = false;
    std::shared_ptr<Attachment> attachment_;
    std::string why_gone_ = "not attached yet";

    std::thread thread_;
};

}  // namespace sgm::qemu

// SPDX-License-Identifier: MIT
#include "ids/watcher.hpp"

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "crypto/hash.hpp"
#include "crypto/random.hpp"
#include "detect/checks/process_rules.hpp"
#include "detect/rules.hpp"
#include "guest/linux/kernel.hpp"
#include "guest/linux/tasks.hpp"
#include "guest/memory.hpp"
#include "ids/answer.hpp"
#include "ids/kept_rules.hpp"
#include "ids/owner_channel.hpp"
#include "ids/protection.hpp"
#include "ids/session_keeper.hpp"
#include "wire/fixed_text.hpp"

namespace sgm::ids {

namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;
// Between the looks at a kernel that is not understood: looking costs more than a scan.
constexpr std::uint64_t kAttachIntervals = 10;
// Commands served before the next look at the clock: an owner cannot keep scans from happening.
constexpr int kMaxCommands = 16;

class Watcher final {
  public:
    Watcher(Environment& environment, const wire::SigningKey& authority, const wire::Uuid& domain,
            std::uint32_t interval_ms, IdsKeyPairs keys, const wire::BootId& boot)
        : environment_{environment},
          domain_{domain},
          interval_ms_{interval_ms},
          keys_{std::move(keys)},
          owner_{environment, keys_, domain, boot},
          keeper_{environment, authority, domain, keys_.public_keys(), owner_} {
        environment_.set_last_words(
            [](void* watcher) { static_cast<Watcher*>(watcher)->say_last_words(); }, this);
    }
    ~Watcher() { environment_.set_last_words(nullptr, nullptr); }
    Watcher(const Watcher&) = delete;
    Watcher& operator=(const Watcher&) = delete;

    wire::EnclaveResult run();

  private:
    // Each returns false when the host wants the IDS to end.
    [[nodiscard]] bool keep_session();
    [[nodiscard]] bool serve_owner();
    [[nodiscard]] bool pause(std::uint64_t wait_ns);

    void take_session(std::optional<std::uint64_t> epoch_before);
    void scan();
    [[nodiscard]] bool attach();
    void give_up_scan();
    void say_last_words();
    void check(const std::vector<wire::ProcessRow>& processes);
    void beat();

    void take(const OwnerChannel::Command& command);
    void answer_processes(std::uint64_t query);
    void take_rules(Bytes payload);
    void set_rules(detect::Rules rules);

    void set_state(wire::IdsState state, std::string_view reason = {});
    void tell_owner(wire::OwnerKind kind, Bytes payload);

    [[nodiscard]] std::uint64_t clock() const { return keeper_.session().clock(); }
    [[nodiscard]] std::uint64_t interval() const { return interval_ms_ * kMillisecond; }

    Environment& environment_;
    const wire::Uuid domain_;
    const std::uint32_t interval_ms_;
    const IdsKeyPairs keys_;
    OwnerChannel owner_;

    SessionKeeper keeper_;
    std::optional<guest::Memory> memory_;  // over the keeper's session
    std::optional<guest::Kernel> kernel_;
    std::uint64_t next_scan_ = 0;    // hypervisor clock
    std::uint64_t next_attach_ = 0;  // hypervisor clock

    detect::ProcessRules process_rules_;
    std::vector<wire::CheckCoverage> coverage_;
    bool keeping_trouble_told_ = false;
    bool memory_trouble_told_ = false;
    wire::Heartbeat beat_{};  // what the next beat will say; filled in as things happen
};

// ---------------------------------------------------------------------------------------------

wire::EnclaveResult Watcher::run() {
    for (;;) {
        if (!keep_session()) return wire::EnclaveResult::stopped;
        if (clock() >= next_scan_) {
            next_scan_ = clock() + interval();
            scan();
            if (keeper_.session_is_lost()) continue;
            beat();
        }
        if (!serve_owner()) return wire::EnclaveResult::stopped;
        if (keeper_.session_is_lost()) continue;
        // The host's wait may return early or late; the hypervisor's clock says which.
        const std::uint64_t now = clock();
        const std::uint64_t next = std::min(next_scan_, keeper_.renew_at());
        if (!pause(next > now ? next - now : 0)) return wire::EnclaveResult::stopped;
        beat_.protection = ask_for_protection(*memory_);
    }
}

bool Watcher::pause(std::uint64_t wait_ns) {
    const auto waited = environment_.wait(wait_ns);
    return waited || waited.error() != EnvironmentError::stopped;
}

bool Watcher::keep_session() {
    const auto epoch_before = keeper_.epoch();
    if (!keeper_.has_session()) {
        if (!keeper_.register_anew()) return false;
        take_session(epoch_before);
    }
    switch (keeper_.renew()) {
        case SessionKeeper::Renewal::kept: return true;
        case SessionKeeper::Renewal::renewed: take_session(epoch_before); return true;
        case SessionKeeper::Renewal::stopped: return false;
    }
    return false;
}

void Watcher::take_session(std::optional<std::uint64_t> epoch_before) {
    // Another epoch: a VM that was reset may keep the memory of the kernel that ran before.
    if (epoch_before && epoch_before != keeper_.epoch()) {
        kernel_.reset();
        coverage_.clear();
        next_attach_ = 0;
    }
    memory_.emplace(keeper_.session());
    beat_.protection = ask_for_protection(*memory_);
    if (keeper_.registrations() == 1) {
        set_state(wire::IdsState::starting, "the first scan is under way");
        auto kept = recall_rules(environment_, domain_, owner_.owner()->signing);
        if (kept && *kept) set_rules(std::move(**kept));
        beat();
        // The owner can take it only after a first beat.
        if (!kept) owner_.report("rules", wire::Severity::critical, kept.error(), clock());
    }
    keeper_.report_failed_attempts();
}

// ---------------------------------------------------------------------------------------------

void Watcher::set_state(wire::IdsState state, std::string_view reason) {
    beat_.state = state;
    wire::set_text(beat_.reason, reason);
}

bool Watcher::attach() {
    if (clock() < next_attach_) return false;
    auto kernel = guest::Kernel::attach(*memory_);
    if (kernel) {
        kernel_ = std::move(*kernel);
        wire::set_text(beat_.kernel, kernel_->release());
        return true;
    }
    const guest::AttachError& error = kernel.error();
    wire::set_text(beat_.kernel, error.release);
    switch (error.kind) {
        case guest::AttachError::Kind::no_kernel:
            set_state(wire::IdsState::no_kernel, error.why);
            break;
        case guest::AttachError::Kind::unsupported:
            set_state(wire::IdsState::unsupported, error.why);
            next_attach_ = clock() + kAttachIntervals * interval();
            break;
        // A host that keeps the search from the hypervisor must not leave the last state standing.
        case guest::AttachError::Kind::unreadable:
        case guest::AttachError::Kind::memory:
            set_state(wire::IdsState::unreadable, error.why);
            break;
    }
    return false;
}

void Watcher::scan() {
    if (!kernel_ && !attach()) return;
    const auto processes = guest::list_processes(*memory_, *kernel_);
    if (environment_.memory_is_short()) return give_up_scan();
    if (!processes) {
        if (processes.error().error == guest::Error::kernel_changed) kernel_.reset();
        coverage_ = {
            process_rules_.not_run(wire::CheckState::failed, guest::describe(processes.error()))};
        return;  // no progress: the next beat shows the old scan number
    }
    check(*processes);
    ++beat_.scan;
    beat_.scan_clock = clock();
    beat_.process_count = static_cast<std::uint32_t>(processes->size());
    beat_.scan_digest = crypto::sha256({reinterpret_cast<const std::uint8_t*>(processes->data()),
                                        processes->size() * sizeof(wire::ProcessRow)});
    set_state(wire::IdsState::watching);
    memory_trouble_told_ = false;
}

// What is known of the kernel is the largest thing there is, and can be found again.
void Watcher::give_up_scan() {
    kernel_.reset();
    coverage_ = {process_rules_.not_run(wire::CheckState::failed, "the enclave's memory runs out")};
    if (!memory_trouble_told_) {
        owner_.report("memory", wire::Severity::critical,
                      "The enclave's memory runs out: a scan was given up and is tried again. "
                      "The IDS needs a larger heap (heap_mib, when it is signed).",
                      clock());
    }
    memory_trouble_told_ = true;
}

// On whatever stack memory ended, with little left: this one message.
void Watcher::say_last_words() {
    owner_.report("memory", wire::Severity::critical,
                  "The enclave's memory is used up: the IDS ends here. It needs a larger heap "
                  "(heap_mib, when it is signed).",
                  keeper_.registrations() == 0 ? 0 : clock());
}

void Watcher::check(const std::vector<wire::ProcessRow>& processes) {
    std::vector<wire::Finding> findings;
    coverage_ = {process_rules_.run({.processes = processes, .clock = clock()}, findings)};
    for (const wire::Finding& finding : findings) {
        tell_owner(wire::OwnerKind::finding, bytes_of(finding));
    }
    beat_.open_findings = process_rules_.open_findings();
}

void Watcher::beat() {
    ++beat_.beat;
    beat_.attestation = keeper_.attestation();
    beat_.registrations = keeper_.registrations();
    beat_.refused_answers = keeper_.refused_answers();
    beat_.hypervisor_clock = clock();
    beat_.interval_ms = interval_ms_;
    beat_.check_count = static_cast<std::uint32_t>(coverage_.size());
    std::vector<std::uint8_t> payload(sizeof(beat_) +
                                      coverage_.size() * sizeof(wire::CheckCoverage));
    Writer writer{payload};
    writer.put(beat_);
    for (const wire::CheckCoverage& coverage : coverage_) {
        writer.put(coverage);
    }
    tell_owner(wire::OwnerKind::heartbeat, payload);
    beat_.previous_beat = crypto::sha256(payload);
}

void Watcher::tell_owner(wire::OwnerKind kind, Bytes payload) {
    // A message that the host does not take leaves a gap in the sequence, which the owner sees.
    static_cast<void>(owner_.send(kind, payload));
}

// ---------------------------------------------------------------------------------------------

bool Watcher::serve_owner() {
    for (int i = 0; i < kMaxCommands; ++i) {
        const auto command = owner_.receive();
        if (!command) return false;
        if (!*command) return true;
        take(**command);
        if (keeper_.session_is_lost()) return true;
    }
    return true;
}

void Watcher::take(const OwnerChannel::Command& command) {
    Reader reader{command.payload};
    if (command.kind == wire::OwnerKind::challenge) {
        if (const auto challenge = reader.take<wire::Challenge>()) {
            beat_.remote_nonce = challenge->nonce;
        }
    } else if (command.kind == wire::OwnerKind::query) {
        const auto query = reader.take<wire::Query>();
        if (query && query->kind == wire::QueryKind::processes) answer_processes(query->id);
    } else if (command.kind == wire::OwnerKind::rules) {
        take_rules(command.payload);
    }
}

void Watcher::take_rules(Bytes payload) {
    auto rules = detect::parse_rules(payload);
    if (!rules || rules->version < beat_.rules_version) return;
    set_rules(std::move(*rules));
    next_scan_ = 0;  // the owner waits for what they find
    // Before the beat that tells their version: a host that keeps them is never behind what it
    // told.
    const auto kept = keep_rules(environment_, domain_, owner_.owner()->signing, payload);
    if (!kept && !keeping_trouble_told_) {
        owner_.report("rules", wire::Severity::warning, kept.error(), clock());
    }
    keeping_trouble_told_ = !kept;
}

void Watcher::set_rules(detect::Rules rules) {
    beat_.rules_version = rules.version;
    process_rules_.set_rules(std::move(rules));
}

// A fresh list, not the last scan's: the owner asks about now.
void Watcher::answer_processes(std::uint64_t query) {
    ProcessList list = std::unexpected(std::string{wire::get_text(beat_.reason)});
    if (kernel_) {
        auto processes = guest::list_processes(*memory_, *kernel_);
        if (processes) {
            list = std::move(*processes);
        } else {
            list = std::unexpected(guest::describe(processes.error()));
        }
    }
    tell_owner(wire::OwnerKind::answer, process_answer(query, clock(), list));
}

}  // namespace

wire::EnclaveResult watch(Environment& environment, const wire::SigningKey& authority,
                          const wire::Uuid& domain, std::uint32_t interval_ms) {
    auto keys = IdsKeyPairs::generate();
    wire::BootId boot{};
    if (!keys || !crypto::random_bytes(boot)) return wire::EnclaveResult::no_randomness;
    Watcher watcher{environment,      authority, domain, std::clamp(interval_ms, 100u, 60'000u),
                    std::move(*keys), boot};
    return watcher.run();
}

}  // namespace sgm::ids

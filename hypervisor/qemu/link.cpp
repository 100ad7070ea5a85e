// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/link.hpp"

#include <errno.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>

#include "config/text.hpp"

namespace sgm::qemu {
namespace {

using std::chrono::steady_clock;

bool says_running(const nlohmann::json& status) {
    if (!status.is_object()) return false;
    const auto running = status.find("running");
    return running != status.end() && running->is_boolean() && running->get<bool>();
}

// Whether a new image is being formatted: the job of `blockdev-create`, until it has concluded.
bool says_formatting(const nlohmann::json& jobs) {
    return jobs.is_array() && std::ranges::any_of(jobs, [](const nlohmann::json& job) {
               const auto has = [&](const char* key, std::string_view value) {
                   return job.is_object() && job.contains(key) && job[key] == value;
               };
               return has("type", "create") && !has("status", "concluded");
           });
}

}  // namespace

QemuLink::QemuLink(DomainSettings settings, std::uint64_t epoch, ContinueGuard* guard)
    : settings_{std::move(settings)},
      name_{config::uuid_text(settings_.uuid)},
      guard_{guard},
      epoch_{epoch},
      wake_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)},
      next_attempt_{steady_clock::time_point::max()} {
    thread_ = std::thread{[this] { run(); }};
}

QemuLink::~QemuLink() {
    {
        const std::lock_guard lock{mutex_};
        end_ = true;
    }
    wake();
    thread_.join();
}

void QemuLink::wake() {
    ::eventfd_write(wake_.get(), 1);
}

// --- the asking side ----------------------------------------------------------------------------

std::shared_ptr<Attachment> QemuLink::attachment() const {
    const std::lock_guard lock{mutex_};
    return attachment_;
}

std::string QemuLink::why_gone() const {
    const std::lock_guard lock{mutex_};
    return why_gone_;
}

bool QemuLink::is_stuck() const {
    const std::lock_guard lock{mutex_};
    return exchange_ == Exchange::abandoned;
}

std::optional<QemuLink::Answer> QemuLink::ask(Command command, std::chrono::milliseconds patience) {
    std::unique_lock lock{mutex_};
    if (exchange_ != Exchange::none) return std::nullopt;  // stuck
    command_ = command;
    exchange_ = Exchange::posted;
    wake();
    if (!answered_.wait_for(lock, patience, [&] { return exchange_ == Exchange::answered; })) {
        exchange_ = exchange_ == Exchange::posted ? Exchange::none : Exchange::abandoned;
        return std::nullopt;
    }
    exchange_ = Exchange::none;
    return std::move(answer_);
}

config::Result<void> QemuLink::attach() {
    const auto answer = ask(Command::attach, 2 * kAttachTime);
    if (answer && answer->good) return {};
    return std::unexpected{config::Error{answer ? answer->text : "QEMU does not answer"}};
}

std::optional<std::string> QemuLink::registers() {
    auto answer = ask(Command::registers, kPatience);
    if (!answer || !answer->good) return std::nullopt;
    return std::move(answer->text);
}

bool QemuLink::hold() {
    const auto answer = ask(Command::hold, kPatience);
    return answer && answer->good;
}

bool QemuLink::release() {
    const auto answer = ask(Command::release, kPatience);
    return answer && answer->good;
}

// --- the thread ---------------------------------------------------------------------------------

void QemuLink::run() {
    while (true) {
        wait_for_work();
        {
            const std::lock_guard lock{mutex_};
            if (end_) break;
        }
        if (qmp_) take_events();
        if (qmp_ && !qmp_->is_open()) lose("QEMU has closed the connection");
        serve_request();
        if (owed_ && is_due(release_at_)) {
            ran_meanwhile_ = true;
            (void)continue_vcpus();
        }
        if (!qmp_ && is_due(next_attempt_)) (void)connect();
        if (qmp_ && is_due(next_look_)) look_at_map();
    }
    if (qmp_ && owed_) {
        const std::uint64_t number = qmp_->send("cont");
        if (!qmp_->await(number, steady_clock::now() + kLastChance))
            spdlog::error("domain {}: QEMU does not say that its vCPUs go on", name_);
    }
    slot_.reset();
    if (qmp_) qmp_->close();
}

void QemuLink::wait_for_work() {
    auto until = qmp_ ? next_look_ : next_attempt_;
    if (owed_) until = std::min(until, release_at_);
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - steady_clock::now());
    std::array<pollfd, 2> ready{
        {{.fd = wake_.get(), .events = POLLIN, .revents = 0},
         {.fd = qmp_ ? qmp_->descriptor() : -1, .events = POLLIN, .revents = 0}}};
    const bool news = qmp_ && qmp_->has_news();
    const auto timeout = news ? 0 : std::clamp<std::int64_t>(left.count(), 0, 60'000);
    (void)::poll(ready.data(), ready.size(), static_cast<int>(timeout));
    eventfd_t count = 0;
    (void)::eventfd_read(wake_.get(), &count);
}

void QemuLink::serve_request() {
    std::unique_lock lock{mutex_};
    if (exchange_ != Exchange::posted) return;
    exchange_ = Exchange::at_work;
    const Command command = command_;
    lock.unlock();
    Answer answer = perform(command);
    lock.lock();
    if (exchange_ == Exchange::abandoned) {
        exchange_ = Exchange::none;
        // Nobody knows of this hold any more.
        if (command == Command::hold && owed_) release_at_ = steady_clock::now();
        return;
    }
    answer_ = std::move(answer);
    exchange_ = Exchange::answered;
    answered_.notify_all();
}

QemuLink::Answer QemuLink::perform(Command command) {
    switch (command) {
        case Command::attach: {
            if (qmp_) return {.good = true, .text = {}};
            const auto result = connect();
            return {.good = result.has_value(),
                    .text = result ? std::string{} : result.error().sentence};
        }
        case Command::registers: {
            if (!qmp_) return {};
            const std::uint64_t number =
                qmp_->send("human-monitor-command", {{"command-line", "info registers -a"}});
            auto reply = qmp_->await(number, steady_clock::now() + kPatience);
            take_events();
            // It comes later or never; whoever asked has gone on.
            if (!reply || reply->refused || !reply->value.is_string()) return {};
            std::string text = reply->value.get<std::string>();
            std::erase(text, '\r');
            return {.good = true, .text = std::move(text)};
        }
        case Command::hold: return {.good = stop_vcpus(), .text = {}};
        case Command::release: {
            if (!qmp_) return {};
            take_events();
            const bool held = !ran_meanwhile_;
            const bool goes_on = !owed_ || continue_vcpus();
            return {.good = goes_on && held, .text = {}};
        }
    }
    return {};
}

std::optional<Qmp::Reply> QemuLink::converse(const std::string& command) {
    if (!qmp_) return std::nullopt;
    const std::uint64_t number = qmp_->send(command);
    while (qmp_->is_open()) {
        auto reply = qmp_->await(number, steady_clock::now() + std::chrono::seconds{1});
        if (reply) return reply;
        const std::lock_guard lock{mutex_};
        if (end_) return std::nullopt;
    }
    return std::nullopt;
}

bool QemuLink::stop_vcpus() {
    const auto status = converse("query-status");
    if (!status || status->refused || (slot_ && !slot_->guarded())) return false;
    take_events();
    ran_meanwhile_ = false;
    release_at_ = steady_clock::now() + kLongestHold;
    // A VM that its administrator has stopped is held already, and must not be set running; one
    // that did not go on after the last hold is stopped because of us, and still must.
    if (!says_running(status->value)) return true;
    // QEMU 7.2 ends itself (an assertion in block/io.c) when it is to stop while it formats an
    // image, which libvirt has it do for snapshots and copies: then there is no hold.
    const auto jobs = converse("query-jobs");
    if (!jobs || says_formatting(jobs->value)) return false;
    owed_ = true;
    if (slot_) slot_->owe(true);
    const auto stopped = converse("stop");
    if (stopped && !stopped->refused) return true;
    release_at_ = steady_clock::now();  // stopped or not, it is told to go on
    return false;
}

bool QemuLink::continue_vcpus() {
    const auto reply = converse("cont");
    if (!reply || reply->refused) {
        if (release_at_ <= steady_clock::now())
            release_at_ = steady_clock::now() + kBetweenAttempts;
        spdlog::error("domain {}: QEMU does not let its vCPUs go on; tried again in a second",
                      name_);
        return false;
    }
    owed_ = false;
    if (slot_) slot_->owe(false);
    take_events(1);
    return true;
}

// What begins a new epoch: a reset; and every RESUME that is not the end of a hold of ours. QEMU
// tells of no loadvm, snapshot-load or incoming migration by itself, but the vCPUs stand while it
// replaces memory, and it says when they go on (migration/savevm.c, softmmu/cpus.c of QEMU 7.2).
// An administrator's `stop` and `cont` looks the same and costs its IDS one registration.
void QemuLink::take_events(std::uint32_t own_resumes) {
    const QmpEvents events = qmp_->take_events();
    if (events.resumed > own_resumes) ran_meanwhile_ = true;
    if (events.reset) {
        new_epoch("was reset");
    } else if (events.resumed > own_resumes) {
        new_epoch("was resumed by someone else, perhaps with another memory");
    }
    if (events.reset || events.resumed > own_resumes || events.map_changed) {
        next_look_ = steady_clock::now();
    }
}

void QemuLink::new_epoch(std::string_view why) {
    ++epoch_;
    spdlog::info("domain {} {}: epoch {}", name_, why, epoch_.load());
}

void QemuLink::publish(std::shared_ptr<Attachment> attachment, const std::string& why_gone) {
    const std::lock_guard lock{mutex_};
    attachment_ = std::move(attachment);
    why_gone_ = why_gone;
}

config::Result<void> QemuLink::connect() {
    next_attempt_ = steady_clock::now() + kBetweenAttempts;
    const auto failed = [&](const config::Error& error) {
        slot_.reset();
        if (qmp_) qmp_->close();
        qmp_.reset();
        publish(nullptr, error.sentence);
        return std::unexpected{error};
    };
    if (settings_.qmp_connection != nullptr && *settings_.qmp_connection) {
        qmp_.emplace(std::move(*settings_.qmp_connection), settings_.qmp.string());
    } else if (!settings_.given.empty()) {
        // Its files are of the QEMU that has gone; another one has others.
        next_attempt_ = steady_clock::time_point::max();
        return failed({"QEMU is gone; attach the VM again with `sgmonitor hypervisor attach`"});
    } else {
        auto connected = Qmp::connect(settings_.qmp);
        if (!connected) return failed(connected.error());
        qmp_.emplace(std::move(*connected));
    }
    const Deadline deadline = steady_clock::now() + kAttachTime;
    if (auto started = qmp_->start(deadline); !started) return failed(started.error());
    auto attachment = attach_to(*qmp_, settings_, deadline);
    if (!attachment) return failed(attachment.error());
    if ((*attachment)->readability != wire::Readability::readable)
        spdlog::warn("domain {} is unreadable: {}", name_, (*attachment)->reason);
    if (was_attached_) spdlog::info("domain {} is back: epoch {}", name_, epoch_.load());
    was_attached_ = true;
    next_look_ = steady_clock::now() + kBetweenLooks;
    publish(std::move(*attachment), {});
    if (guard_ != nullptr) slot_.emplace(guard_, qmp_->descriptor());
    // The connection was lost while the vCPUs were held.
    if (owed_) (void)continue_vcpus();
    return {};
}

void QemuLink::lose(const std::string& why) {
    spdlog::warn("domain {} is gone: {}", name_, why);
    slot_.reset();
    qmp_.reset();
    publish(nullptr, why);
    next_attempt_ = steady_clock::now();
    ++epoch_;
}

void QemuLink::look_at_map() {
    next_look_ = steady_clock::now() + kBetweenLooks;
    const Deadline deadline = steady_clock::now() + kAttachTime;
    const auto now = attachment();
    const auto layout = layout_of(*qmp_, deadline);
    if (!layout || now == nullptr || *layout == now->layout) return;
    auto changed = attach_to(*qmp_, settings_, deadline);
    if (!changed) {
        spdlog::warn("domain {}: {}", name_, changed.error().sentence);
        changed = std::make_unique<Attachment>();
        (*changed)->readability = wire::Readability::private_memory;
        (*changed)->layout = *layout;
        (*changed)->reason = "its memory has changed, and is not understood";
    }
    spdlog::info("domain {} has another memory map{}{}", name_,
                 (*changed)->reason.empty() ? "" : ": ", (*changed)->reason);
    publish(std::move(*changed), {});
}

}  // namespace sgm::qemu

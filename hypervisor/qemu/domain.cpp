// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/domain.hpp"

#include <spdlog/spdlog.h>

#include "config/text.hpp"
#include "hypervisor/qemu/registers.hpp"

namespace sgm::qemu {
namespace {

constexpr std::chrono::seconds kBetweenAttempts{1};

// A guest with AMD SEV keeps its memory encrypted; QEMU without SEV does not know the command.
bool has_encrypted_memory(Qmp& qmp) {
    const auto sev = qmp.execute("query-sev");
    return sev && sev->is_object() && sev->value("enabled", false);
}

}  // namespace

QemuDomain::~QemuDomain() {
    if (must_continue_) release();
}

config::Result<void> QemuDomain::attach() {
    last_attempt_ = std::chrono::steady_clock::now();
    auto memory = MemoryFile::open(settings_.memory);
    if (!memory) return std::unexpected{memory.error()};
    auto qmp = Qmp::connect(settings_.qmp);
    if (!qmp) return std::unexpected{qmp.error()};
    const auto mtree = qmp->monitor("info mtree -f");
    if (!mtree) return std::unexpected{mtree.error()};
    auto map = parse_memory_map(*mtree, settings_.backend, (*memory)->size());
    if (!map) return std::unexpected{map.error()};
    const auto vcpus = qmp->execute("query-cpus-fast");
    if (!vcpus) return std::unexpected{vcpus.error()};

    vcpu_count_ = static_cast<std::uint32_t>(vcpus->size());
    encrypted_ = has_encrypted_memory(*qmp);
    ranges_.clear();
    for (const MappedRange& range : *map)
        ranges_.push_back({range.start, range.size});
    attachment_.emplace(std::move(*memory), std::move(*qmp), std::move(*map));
    // The connection was lost while the vCPUs were held.
    if (must_continue_) release();
    return {};
}

void QemuDomain::detach() {
    attachment_.reset();
    ranges_.clear();
    ++epoch_;
}

void QemuDomain::refresh() {
    if (attachment_) {
        const QmpEvents events = attachment_->qmp.take_events();
        if (events.reset) {
            ++epoch_;
            spdlog::info("domain {} was reset: epoch {}", config::uuid_text(settings_.uuid),
                         epoch_);
        }
        if (is_attached()) {
            attachment_->memory->forget_when_old();
            return;
        }
        spdlog::warn("domain {} is gone: QEMU has closed {}", config::uuid_text(settings_.uuid),
                     settings_.qmp.string());
        detach();
    }
    if (std::chrono::steady_clock::now() - last_attempt_ < kBetweenAttempts) return;
    if (attach()) {
        spdlog::info("domain {} is back: epoch {}", config::uuid_text(settings_.uuid), epoch_);
    }
}

std::uint64_t QemuDomain::ram_size() const {
    std::uint64_t size = 0;
    for (const wire::RamRange& range : ranges_)
        size += range.size;
    return size;
}

wire::Readability QemuDomain::readability() const {
    if (!is_attached()) return wire::Readability::gone;
    return encrypted_ ? wire::Readability::encrypted : wire::Readability::readable;
}

const MappedRange* QemuDomain::range_of(std::uint64_t physical, std::uint64_t size) const {
    if (!attachment_) return nullptr;
    for (const MappedRange& range : attachment_->map) {
        if (physical >= range.start && physical - range.start < range.size &&
            size <= range.size - (physical - range.start)) {
            return &range;
        }
    }
    return nullptr;
}

wire::RamRange QemuDomain::populated(std::uint64_t start, std::uint64_t end) {
    const MappedRange* range = end > start ? range_of(start, end - start) : nullptr;
    if (range == nullptr) return {end, 0};
    const std::uint64_t shift = range->start - range->offset;  // may wrap, and wraps back
    const auto extent = attachment_->memory->populated(start - shift, end - shift);
    return {extent.start + shift, extent.size};
}

bool QemuDomain::read(std::uint64_t physical, MutableBytes out) {
    const MappedRange* range = range_of(physical, out.size());
    if (range == nullptr) return false;
    attachment_->memory->read(physical - range->start + range->offset, out);
    return true;
}

std::optional<wire::Registers> QemuDomain::registers(std::uint32_t vcpu) {
    if (!is_attached()) return std::nullopt;
    const auto text = attachment_->qmp.monitor("info registers -a");
    if (!text) return std::nullopt;
    return parse_registers(*text, vcpu);
}

bool QemuDomain::hold() {
    if (!is_attached()) return false;
    Qmp& qmp = attachment_->qmp;
    const auto status = qmp.execute("query-status");
    if (!status || !status->is_object()) return false;
    const bool running = status->value("running", false);
    // A VM that its administrator has stopped is held already, and must not be set running.
    must_continue_ = running;
    if (running && !qmp.execute("stop")) {
        // Stopped or not, it is told to go on.
        release();
        return false;
    }
    const QmpEvents before = qmp.take_events();
    if (before.reset) ++epoch_;
    return true;
}

bool QemuDomain::release() {
    if (!is_attached()) return false;
    Qmp& qmp = attachment_->qmp;
    const QmpEvents during = qmp.take_events();
    if (during.reset) ++epoch_;
    bool resumed = true;
    if (must_continue_) {
        resumed = qmp.execute("cont").has_value();
        must_continue_ = !resumed;
        if (!resumed) spdlog::error("QEMU at {} does not continue", settings_.qmp.string());
    }
    return resumed && !during.resumed;
}

}  // namespace sgm::qemu

// SPDX-License-Identifier: MIT
#include "hypervisor/qemu/domain.hpp"

#include <spdlog/spdlog.h>

#include "config/text.hpp"
#include "hypervisor/qemu/registers.hpp"

namespace sgm::qemu {
namespace {

constexpr std::chrono::seconds kBetweenAttempts{1};

bool is_true(const nlohmann::json& object, const char* key) {
    const auto value = object.find(key);
    return value != object.end() && value->is_boolean() && value->get<bool>();
}

// A guest with AMD SEV keeps its memory encrypted; QEMU without SEV does not know the command.
bool has_encrypted_memory(Qmp& qmp) {
    const auto sev = qmp.execute("query-sev");
    return sev && is_true(*sev, "enabled");
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

QemuDomain::Place QemuDomain::place_of(std::uint64_t physical, std::uint64_t size) const {
    if (!attachment_) return {};
    for (const MappedRange& range : attachment_->map) {
        if (physical >= range.start && physical - range.start < range.size &&
            size <= range.size - (physical - range.start)) {
            return {attachment_->memory.get(), physical - range.start + range.offset};
        }
    }
    return {};
}

wire::RamRange QemuDomain::populated(std::uint64_t start, std::uint64_t end) {
    if (start >= end) return {end, 0};
    const Place place = place_of(start, end - start);
    if (place.memory == nullptr) return {end, 0};
    const auto extent = place.memory->populated(place.offset, place.offset + (end - start));
    return {extent.start - place.offset + start, extent.size};
}

bool QemuDomain::read(std::uint64_t physical, MutableBytes out) {
    const Place place = place_of(physical, out.size());
    if (place.memory == nullptr) return false;
    place.memory->read(place.offset, out);
    return true;
}

std::optional<wire::Registers> QemuDomain::registers(std::uint32_t vcpu) {
    Qmp* const qemu = qmp();
    if (qemu == nullptr) return std::nullopt;
    const auto text = qemu->monitor("info registers -a");
    if (!text) return std::nullopt;
    return parse_registers(*text, vcpu);
}

bool QemuDomain::hold() {
    Qmp* const qemu = qmp();
    if (qemu == nullptr) return false;
    const auto status = qemu->execute("query-status");
    if (!status) return false;
    // A VM that its administrator has stopped is held already, and must not be set running; one
    // that did not go on after the last hold is stopped because of us, and still must.
    const bool running = is_true(*status, "running");
    must_continue_ = must_continue_ || running;
    if (running && !qemu->execute("stop")) {
        // Stopped or not, it is told to go on.
        release();
        return false;
    }
    if (qemu->take_events().reset) ++epoch_;
    return true;
}

bool QemuDomain::release() {
    Qmp* const qemu = qmp();
    if (qemu == nullptr) return false;
    const QmpEvents during = qemu->take_events();
    if (during.reset) ++epoch_;
    if (must_continue_ && !qemu->execute("cont")) {
        spdlog::error("QEMU at {} does not continue", settings_.qmp.string());
        return false;
    }
    must_continue_ = false;
    return !during.resumed;
}

}  // namespace sgm::qemu

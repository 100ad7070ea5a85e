// SPDX-License-Identifier: MIT
#include "hypervisor/core/testing/synthetic_guest.hpp"

#include <algorithm>
#include <cstdlib>

namespace sgm::hypervisor::testing {
namespace {

constexpr std::uint64_t kPresentWritable = 3;
constexpr std::uint64_t kLargePage = 1u << 7;
constexpr std::uint64_t kAddressMask = 0x000f'ffff'ffff'f000;

std::uint32_t top_level(wire::Paging paging) {
    return static_cast<std::uint32_t>(paging);
}

}  // namespace

SyntheticGuest::SyntheticGuest(std::uint64_t ram_size, wire::Paging paging)
    : paging_{paging}, next_page_{ram_size / kPageSize} {
    add_ram(0, ram_size);
    root_ = allocate_page();
}

void SyntheticGuest::add_ram(std::uint64_t start, std::uint64_t size) {
    ranges_.push_back({start, size});
    std::ranges::sort(ranges_, {}, &wire::RamRange::start);
}

bool SyntheticGuest::is_ram(std::uint64_t physical, std::uint64_t size) const {
    return std::ranges::any_of(ranges_, [&](const wire::RamRange& range) {
        return physical >= range.start && physical - range.start <= range.size &&
               size <= range.size - (physical - range.start);
    });
}

void SyntheticGuest::write(std::uint64_t physical, Bytes bytes) {
    if (!is_ram(physical, bytes.size())) std::abort();
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        const std::uint64_t at = physical + i;
        std::vector<std::uint8_t>& page = pages_[at / kPageSize];
        page.resize(kPageSize);
        page[at % kPageSize] = bytes[i];
    }
}

void SyntheticGuest::populate(std::uint64_t physical, std::uint64_t size) {
    if (!is_ram(physical, size)) std::abort();
    for (std::uint64_t at = physical; at < physical + size; at += kPageSize) {
        pages_.try_emplace(at / kPageSize);
    }
}

void SyntheticGuest::write_u64(std::uint64_t physical, std::uint64_t value) {
    write(physical, bytes_of(value));
}

void SyntheticGuest::copy_out(std::uint64_t physical, MutableBytes out) const {
    std::size_t done = 0;
    while (done < out.size()) {
        const std::uint64_t at = physical + done;
        const std::size_t size =
            std::min<std::size_t>(out.size() - done, kPageSize - at % kPageSize);
        const auto page = pages_.find(at / kPageSize);
        if (page == pages_.end() || page->second.empty()) {
            std::fill_n(&out[done], size, std::uint8_t{0});
        } else {
            std::copy_n(&page->second[at % kPageSize], size, &out[done]);
        }
        done += size;
    }
}

std::uint64_t SyntheticGuest::read_u64(std::uint64_t physical) const {
    std::uint64_t value = 0;
    copy_out(physical, mutable_bytes_of(value));
    return value;
}

std::uint64_t SyntheticGuest::allocate_page() {
    if (next_page_ == 0) std::abort();
    --next_page_;
    pages_[next_page_] = {};
    return next_page_ * kPageSize;
}

std::uint64_t SyntheticGuest::entry(std::uint64_t address, std::uint32_t level) const {
    const auto entry_in = [&](std::uint64_t table, std::uint32_t at) {
        return table + ((address >> (12 + 9 * (at - 1))) & 511) * 8;
    };
    std::uint64_t table = root_;
    for (std::uint32_t at = top_level(paging_); at > level; --at) {
        table = read_u64(entry_in(table, at)) & kAddressMask;
    }
    return entry_in(table, level);
}

void SyntheticGuest::map(std::uint64_t address, std::uint64_t physical, PageSize size) {
    const std::uint32_t last = size == PageSize::k4K ? 1 : size == PageSize::k2M ? 2 : 3;
    for (std::uint32_t level = top_level(paging_); level > last; --level) {
        const std::uint64_t place = entry(address, level);
        if (read_u64(place) == 0) write_u64(place, allocate_page() | kPresentWritable);
    }
    write_u64(entry(address, last), physical | kPresentWritable | (last > 1 ? kLargePage : 0));
}

void SyntheticGuest::map_new(std::uint64_t address, std::uint64_t size) {
    for (std::uint64_t at = 0; at < size; at += kPageSize)
        map(address + at, allocate_page());
}

std::uint64_t SyntheticGuest::physical_of(std::uint64_t address) const {
    for (std::uint32_t level = top_level(paging_); level > 0; --level) {
        const std::uint64_t value = read_u64(entry(address, level));
        if ((value & 1) == 0) break;
        if (level > 1 && (value & kLargePage) == 0) continue;
        const std::uint64_t below = (std::uint64_t{1} << (12 + 9 * (level - 1))) - 1;
        return (value & kAddressMask & ~below) | (address & below);
    }
    std::abort();  // not mapped: the test is wrong
}

void SyntheticGuest::write_virtual(std::uint64_t address, Bytes bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        write(physical_of(address + i), bytes.subspan(i, 1));
    }
}

void SyntheticGuest::write_virtual_u64(std::uint64_t address, std::uint64_t value) {
    write_virtual(address, bytes_of(value));
}

void SyntheticGuest::link(const std::vector<std::uint64_t>& links, std::uint64_t end,
                          std::int64_t next_offset) {
    for (std::size_t i = 0; i < links.size(); ++i) {
        write_virtual_u64(links[i] + static_cast<std::uint64_t>(next_offset),
                          i + 1 < links.size() ? links[i + 1] : end);
    }
}

std::uint32_t SyntheticGuest::vcpu_count() const {
    return static_cast<std::uint32_t>(vcpus.size());
}

wire::RamRange SyntheticGuest::populated(std::uint64_t start, std::uint64_t end) {
    const auto first = pages_.lower_bound(start / kPageSize);
    if (first == pages_.end() || first->first * kPageSize >= end) return {end, 0};
    std::uint64_t next = first->first;
    for (auto page = first; page != pages_.end() && page->first == next; ++page)
        ++next;
    const std::uint64_t from = std::max(start, first->first * kPageSize);
    return {from, std::min(end, next * kPageSize) - from};
}

bool SyntheticGuest::read(std::uint64_t physical, MutableBytes out) {
    before_read();
    ++reads;
    if (!is_ram(physical, out.size())) {
        ++reads_outside_ram;
        return false;
    }
    if (!pages_.contains(physical / kPageSize)) ++unpopulated_reads;
    copy_out(physical, out);
    return true;
}

std::optional<wire::Registers> SyntheticGuest::registers(std::uint32_t vcpu) {
    if (vcpu >= vcpus.size() || vcpus[vcpu].valid == 0) return std::nullopt;
    return vcpus[vcpu];
}

bool SyntheticGuest::hold() {
    if (can_hold) ++holds;
    return can_hold;
}

bool SyntheticGuest::release() {
    ++releases;
    return hold_lasts;
}

bool SyntheticPort::random(MutableBytes out) {
    for (std::size_t i = 0; i < out.size(); ++i) {
        if (i % 8 == 0) ++counter_;
        out[i] = static_cast<std::uint8_t>((counter_ * 0x9e37'79b9'7f4a'7c15) >> (i % 8 * 8));
    }
    return random_works;
}

Domain* SyntheticPort::find(const wire::Uuid& uuid) {
    for (SyntheticGuest* guest : guests_) {
        if (guest->id == uuid) return guest;
    }
    return nullptr;
}

BatchBuilder::BatchBuilder(std::uint32_t flags) {
    const wire::BatchHeader header{.count = 0, .flags = flags};
    const Bytes bytes = bytes_of(header);
    bytes_.assign(bytes.begin(), bytes.end());
}

BatchBuilder& BatchBuilder::add(wire::Op op, std::initializer_list<Bytes> arguments) {
    std::uint32_t size = 0;
    for (const Bytes part : arguments)
        size += static_cast<std::uint32_t>(part.size());
    const wire::OpCall header{.op = static_cast<std::uint16_t>(op), .reserved = 0, .size = size};
    const Bytes bytes = bytes_of(header);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    for (const Bytes part : arguments)
        bytes_.insert(bytes_.end(), part.begin(), part.end());
    bytes_.resize(align8(bytes_.size()));

    wire::BatchHeader batch{};
    std::memcpy(&batch, bytes_.data(), sizeof(batch));
    ++batch.count;
    std::memcpy(bytes_.data(), &batch, sizeof(batch));
    return *this;
}

BatchBuilder& BatchBuilder::registers(std::uint32_t vcpu) {
    const wire::RegistersCall call{.vcpu = vcpu, .reserved = 0};
    return add(wire::Op::registers, {bytes_of(call)});
}

BatchBuilder& BatchBuilder::read(std::uint64_t root, wire::Paging paging, std::uint64_t address,
                                 std::uint32_t size) {
    const wire::ReadCall call{.root = root, .address = address, .size = size, .paging = paging};
    return add(wire::Op::read, {bytes_of(call)});
}

BatchBuilder& BatchBuilder::search(const wire::SearchCall& call) {
    return add(wire::Op::search, {bytes_of(call)});
}

BatchBuilder& BatchBuilder::walk(wire::WalkCall call, const std::vector<wire::FieldPath>& fields) {
    call.field_count = static_cast<std::uint32_t>(fields.size());
    const Bytes paths{reinterpret_cast<const std::uint8_t*>(fields.data()),
                      fields.size() * sizeof(wire::FieldPath)};
    return add(wire::Op::walk, {bytes_of(call), paths});
}

wire::SearchCall search_for(std::string_view pattern, std::uint64_t start, std::uint64_t end,
                            std::uint32_t alignment, std::uint32_t max_matches) {
    wire::SearchCall call{.start = start,
                          .end = end,
                          .alignment = alignment,
                          .max_matches = max_matches,
                          .pattern_size = static_cast<std::uint32_t>(pattern.size()),
                          .reserved = 0,
                          .pattern = {}};
    std::ranges::copy(pattern, call.pattern.begin());
    return call;
}

std::optional<BatchReply> take_apart(Bytes answer) {
    Reader reader{answer};
    const auto header = reader.take<wire::BatchAnswer>();
    if (!header) return std::nullopt;
    BatchReply reply{.header = *header, .ops = {}};
    for (std::uint32_t i = 0; i < header->count; ++i) {
        const auto op = reader.take<wire::OpAnswer>();
        if (!op) return std::nullopt;
        const auto body = reader.take_bytes(align8(op->size));
        if (!body) return std::nullopt;
        const Bytes result = body->first(op->size);
        reply.ops.push_back({static_cast<wire::Op>(op->op),
                             static_cast<wire::OpStatus>(op->status),
                             {result.begin(), result.end()}});
    }
    if (!reader.empty()) return std::nullopt;
    return reply;
}

}  // namespace sgm::hypervisor::testing

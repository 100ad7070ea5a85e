// SPDX-License-Identifier: MIT
// Address translation over memory that the input makes: every result, with and without what the
// translator remembers, is what a plain walk as the SDM describes it gives; and each address costs
// at most one access for each level.
#include "hypervisor/core/page_table.hpp"

#include <array>

#include "fuzz/target.hpp"

namespace sgm::fuzz {
namespace {

using hypervisor::AddressFormat;
using hypervisor::AddressSpace;
using wire::FaultKind;

constexpr std::uint64_t kRam = 8 * hypervisor::kPageSize;
constexpr std::array<std::uint64_t, 12> kBases = {
    0x1000, 0x2000,     0x3000,     0x4000,      0x7000,     0x8000,  // the last is RAM's end
    0,      1ull << 21, 1ull << 30, 0xfee0'0000, 1ull << 39, 0xf'ffff'ffff'f000};
constexpr std::array<std::uint64_t, 8> kFlags = {1, 3, 0x81, 0x83, 0, 0x1081, 0x63, 1ull << 63 | 1};

class Words final : public hypervisor::PhysicalWords {
  public:
    void set(std::uint64_t at, std::uint64_t value) { words_[at % kRam / 8] = value; }
    std::optional<std::uint64_t> word(std::uint64_t physical) override {
        check(physical % 8 == 0, "an entry is read whole");
        ++reads;
        if (physical >= kRam) return std::nullopt;
        return words_[physical / 8];
    }
    std::uint64_t reads = 0;

  private:
    std::array<std::uint64_t, kRam / 8> words_{};
};

using Result = std::expected<std::uint64_t, wire::Fault>;

bool same(const Result& a, const Result& b) {
    if (a.has_value() != b.has_value()) return false;
    if (a) return *a == *b;
    return a.error().address == b.error().address && a.error().kind == b.error().kind &&
           a.error().level == b.error().level;
}

// SDM volume 3A, 4.5, level by level and nothing remembered.
Result plain_walk(Words& words, AddressFormat format, const AddressSpace& space,
                  std::uint64_t address) {
    const auto fault = [&](FaultKind kind, std::uint32_t level) {
        return std::unexpected{wire::Fault{.address = address, .kind = kind, .level = level}};
    };
    const std::uint32_t levels = space.paging == wire::Paging::five_level ? 5 : 4;
    const std::uint32_t unused = 64 - (12 + 9 * levels);
    const auto sign_extended =
        static_cast<std::uint64_t>(static_cast<std::int64_t>(address << unused) >> unused);
    if (sign_extended != address) return fault(FaultKind::not_canonical, levels);
    std::uint64_t table = space.root;
    for (std::uint32_t level = levels; level >= 1; --level) {
        const std::uint32_t shift = 12 + 9 * (level - 1);
        const auto raw = words.word(table + (address >> shift) % 512 * 8);
        if (!raw) return fault(FaultKind::outside_ram, level);
        const std::uint64_t entry = *raw & ~format.encryption_mask;
        if ((entry & 1) == 0) return fault(FaultKind::not_present, level);
        const bool leaf = level == 1 || (entry & 0x80) != 0;
        if (leaf && level > 3) return fault(FaultKind::reserved_bits, level);
        const std::uint64_t inside = (std::uint64_t{1} << shift) - 1;
        std::uint64_t reserved = 0;
        for (std::uint32_t bit = format.physical_bits; bit < 52; ++bit) {
            reserved |= std::uint64_t{1} << bit;
        }
        if (leaf && level > 1) reserved |= inside & ~std::uint64_t{0x1fff};
        if ((entry & reserved) != 0) return fault(FaultKind::reserved_bits, level);
        table = entry & 0x000f'ffff'ffff'f000;
        if (leaf) return (table & ~inside) | (address & inside);
    }
    return table;
}

std::uint64_t entry_from(Choices& choices) {
    const std::uint8_t kind = choices.byte();
    if (kind % 8 == 7) return choices.take<std::uint64_t>();
    return kBases[kind % kBases.size()] | kFlags[choices.byte() % kFlags.size()];
}

std::uint64_t address_from(Choices& choices) {
    // Indices of all levels from few values, so that they meet the entries.
    std::uint64_t address = 0;
    for (int level = 0; level < 5; ++level)
        address = address << 9 | (choices.byte() % 4 * 127);
    address = address << 12 | choices.byte();
    const std::uint8_t kind = choices.byte();
    if (kind % 8 == 7) return choices.take<std::uint64_t>();
    return kind % 2 == 0 ? address % (1ull << 47)
                         : address | (~std::uint64_t{0} << (47 + kind % 11));
}

}  // namespace

void run(Bytes input) {
    Choices choices{input};
    const auto paging =
        choices.byte() % 2 == 0 ? wire::Paging::four_level : wire::Paging::five_level;
    const AddressFormat format{.physical_bits = 36 + choices.byte() % 17u,
                               .encryption_mask = choices.byte() % 4 == 0 ? 1ull << 47 : 0};
    const auto space = AddressSpace::from(0x1000, paging);
    check(space.has_value(), "a page below 2^52 is a root");
    Words words;
    for (std::uint8_t entries = choices.byte(); entries > 0; --entries) {
        const std::uint64_t page = choices.byte() % 8 * hypervisor::kPageSize;
        words.set(page + choices.byte() % 4 * 127 * 8, entry_from(choices));
    }

    hypervisor::Translator remembering;
    remembering.forget(format);
    for (int i = 0; i < 16 && !choices.empty(); ++i) {
        const std::uint64_t address = address_from(choices);
        const Result expected = plain_walk(words, format, *space, address);
        words.reads = 0;
        check(same(remembering.translate(words, *space, address), expected),
              "what is remembered is what the tables say");
        check(words.reads <= 5, "a translation costs at most one access for each level");
        hypervisor::Translator fresh;
        fresh.forget(format);
        check(same(fresh.translate(words, *space, address), expected),
              "a translation is what the manual says");
    }
}

std::vector<Octets> seeds() {
    std::vector<Octets> result;
    for (std::uint8_t shape = 0; shape < 16; ++shape) {
        Recorder record;
        record.put(shape).put(std::uint8_t{16}).put(static_cast<std::uint8_t>(shape % 5));
        record.put(std::uint8_t{28});
        for (std::uint8_t page = 1; page < 8; ++page) {
            for (std::uint8_t slot = 0; slot < 4; ++slot) {
                const bool leaf = (page + slot + shape) % 4 == 0;
                record.put(page).put(slot);
                record.put(static_cast<std::uint8_t>((page + slot * shape) % 12));
                record.put(static_cast<std::uint8_t>(leaf ? 3 : 1));
            }
        }
        for (std::uint8_t address = 0; address < 16; ++address) {
            for (int level = 0; level < 6; ++level)
                record.put(static_cast<std::uint8_t>(address >> (level % 4)));
            record.put(static_cast<std::uint8_t>(address * 3));
        }
        result.push_back(record.octets());
    }
    return result;
}

}  // namespace sgm::fuzz

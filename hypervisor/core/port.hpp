// SPDX-License-Identifier: MIT
// What a port gives the core: one Port for the hypervisor, one Domain for each VM. A port is
// trusted, its guests are not. The core calls under the port's own lock, never from two threads at
// a time, and keeps no pointer to a Domain from one call to the next.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "wire/bytes.hpp"
#include "wire/ids.hpp"
#include "wire/sgm_op.hpp"

namespace sgm::hypervisor {

// How page-table entries of a domain name addresses.
struct AddressFormat {
    // MAXPHYADDR as the guest's CPUID 80000008h reports it. Address bits from here up to 51 are
    // reserved. 52 when the port does not know: then RAM's end is the only bound.
    std::uint32_t physical_bits = 52;
    // Bits that are no part of the address even if they lie below bit 52: the C-bit of AMD SME, or
    // the shared bit of TDX. They are cleared before anything else looks at an entry.
    std::uint64_t encryption_mask = 0;
};

// RAM that lies in the core's own address space and may be read in place, page by page: a page only
// while its bit says that it is populated, because touching another could allocate it. Valid until
// the core's call ends. The guest writes there at any time.
struct DirectRange {
    wire::RamRange range;            // whole pages of one RAM range
    const std::uint8_t* memory;      // of range.start
    const std::uint64_t* populated;  // bit n % 64 of word n / 64, for page n counted from
    std::uint64_t first_page;        // range.start's
};

class Domain {
  public:
    [[nodiscard]] virtual const wire::Uuid& uuid() const = 0;
    // Another number after every reset, restore or migration: sessions of the old one end.
    [[nodiscard]] virtual std::uint64_t epoch() const = 0;
    [[nodiscard]] virtual std::uint32_t vcpu_count() const = 0;
    [[nodiscard]] virtual wire::Readability readability() const = 0;
    [[nodiscard]] virtual wire::Protection protection() const = 0;
    [[nodiscard]] virtual AddressFormat address_format() const = 0;

    // RAM only, no MMIO and no ROM: ascending, not overlapping, not empty, at most kMaxRamRanges,
    // and below 2^52. The core asks for nothing outside these.
    [[nodiscard]] virtual std::span<const wire::RamRange> ram_ranges() const = 0;

    // The first populated part of RAM at or after `start`, clipped to [start, end); size 0 when
    // there is none. A hint for `search`: too large is slow, too small hides what is not listed.
    [[nodiscard]] virtual wire::RamRange populated(std::uint64_t start, std::uint64_t end) = 0;

    // Copies guest-physical memory; the range lies in one RAM range. Unpopulated memory reads as
    // zeros and stays unpopulated. An aligned read of 8 bytes is not torn. False when the memory
    // cannot be had (ballooned out, paged away): `out` is not to be used then.
    [[nodiscard]] virtual bool read(std::uint64_t physical, MutableBytes out) = 0;

    // What can be had without read(): possibly nothing. A page whose bit is not set may still be
    // readable: read() knows, and may set the bit.
    [[nodiscard]] virtual std::span<const DirectRange> direct_ranges() { return {}; }

    // The registers of a vCPU below vcpu_count(); nullopt when the port cannot read any.
    [[nodiscard]] virtual std::optional<wire::Registers> registers(std::uint32_t vcpu) = 0;

    // Keeps all vCPUs from running until release(). False: the port cannot, nothing is held.
    // The core releases before its call ends; the port keeps a bound of its own all the same.
    [[nodiscard]] virtual bool hold() = 0;
    // False when the vCPUs ran meanwhile: the batch was not consistent.
    virtual bool release() = 0;

  protected:
    Domain() = default;
    ~Domain() = default;
    Domain(const Domain&) = default;
    Domain& operator=(const Domain&) = default;
};

class Port {
  public:
    // "qemu", "xen": at most 15 characters, told to whoever asks.
    [[nodiscard]] virtual std::string_view name() const = 0;
    // Monotonic, not under the control of the host's administrator where the port can help it.
    [[nodiscard]] virtual std::uint64_t now_ns() = 0;
    // After this long a batch begins nothing more, and its answer says where to go on. For ports
    // that keep a CPU from other work meanwhile.
    [[nodiscard]] virtual std::uint64_t max_batch_ns() const { return ~std::uint64_t{0}; }
    // Fills `out` from a cryptographic source. False: it failed, `out` is not to be used.
    [[nodiscard]] virtual bool random(MutableBytes out) = 0;
    // The domain of this uuid, valid until the core's call ends; nullptr when there is none.
    [[nodiscard]] virtual Domain* find(const wire::Uuid& uuid) = 0;

  protected:
    Port() = default;
    ~Port() = default;
    Port(const Port&) = default;
    Port& operator=(const Port&) = default;
};

}  // namespace sgm::hypervisor

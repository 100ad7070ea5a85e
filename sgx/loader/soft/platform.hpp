// SPDX-License-Identifier: MIT
// The software platform: one machine's key, and the report and seal keys made from it the way
// Intel SDM vol. 3D, EREPORT and EGETKEY, says. Used by the monitor, which plays the CPU, and by
// the software quoting code. SOFTWARE SGX: no protection from this host's root.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "sgx/image/arch.hpp"
#include "wire/bytes.hpp"

namespace sgm::sgx::soft {

inline constexpr std::string_view kBanner = "SOFTWARE SGX: no protection from this host's root";

// What hardware has in its fuses: 16 random bytes, one file for each host, mode 0600.
class FuseKey final {
  public:
    explicit FuseKey(std::span<const std::uint8_t, 16> bytes);
    FuseKey(FuseKey&& other) noexcept;
    FuseKey(const FuseKey&) = delete;
    FuseKey& operator=(const FuseKey&) = delete;
    FuseKey& operator=(FuseKey&&) = delete;
    ~FuseKey();  // wipes

    [[nodiscard]] std::span<const std::uint8_t, 16> bytes() const { return bytes_; }

  private:
    Key128 bytes_;
};

// Reads the file, or makes it with fresh random bytes. Refuses a file of another size and one
// that group or others may read.
[[nodiscard]] std::expected<FuseKey, std::string> load_or_create_fuse_key(
    const std::filesystem::path& path);

// The same from an open file.
[[nodiscard]] std::expected<FuseKey, std::string> read_fuse_key(int descriptor);

// The fields of SECS that reports and keys are made of, as EINIT leaves them.
struct Secs {
    Attributes attributes;
    std::uint32_t miscselect;
    wire::Digest mrenclave;
    wire::Digest mrsigner;
    std::uint16_t isvprodid;
    std::uint16_t isvsvn;
    std::array<std::uint8_t, 16> isvextprodid;
    std::array<std::uint8_t, 16> isvfamilyid;
};

// The TCB level of this software CPU.
inline constexpr std::array<std::uint8_t, 16> kSoftCpuSvn = {1};

// AES-128-CMAC (RFC 4493). Allocates when it is made and never again, so that the monitor may
// use it behind its system-call filter.
class Cmac final {
  public:
    Cmac();
    ~Cmac();
    Cmac(const Cmac&) = delete;
    Cmac& operator=(const Cmac&) = delete;

    [[nodiscard]] Key128 operator()(std::span<const std::uint8_t, 16> key, Bytes message) const;

  private:
    struct Cipher;
    std::unique_ptr<Cipher> cipher_;
};

// One machine. Not thread-safe.
class SoftPlatform final {
  public:
    explicit SoftPlatform(FuseKey key);

    // The report key that `target` gets from EGETKEY for this KEYID.
    [[nodiscard]] Key128 report_key(const TargetInfo& target,
                                    const std::array<std::uint8_t, 32>& keyid) const;

    // EREPORT in the enclave `secs`.
    [[nodiscard]] Report create_report(const Secs& secs, const TargetInfo& target,
                                       const ReportData& data) const;

    // Whether `report` was made on this machine for `target`. The host controls the report.
    [[nodiscard]] bool verify_report(const Report& report, const TargetInfo& target) const;

    // EGETKEY in the enclave `secs`: REPORT and SEAL keys.
    [[nodiscard]] std::expected<Key128, KeyError> get_key(const Secs& secs,
                                                          const KeyRequest& request) const;

    // A secret of this machine for `label` (at most 64 bytes), e.g. to derive the software
    // quoting key. Never the value of any EGETKEY.
    [[nodiscard]] Key128 derive(std::string_view label) const;

  private:
    FuseKey key_;
    Cmac cmac_;
    std::array<std::uint8_t, 32> report_keyid_;  // CR_REPORT_KEYID: random at each start
};

}  // namespace sgm::sgx::soft

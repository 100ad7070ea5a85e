// SPDX-License-Identifier: MIT
// A signed ELF file as the pages of an enclave, and MRENCLAVE as the CPU computes it.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "sgx/image/layout.hpp"
#include "wire/bytes.hpp"
#include "wire/enclave_abi.hpp"

namespace sgm::sgx {

inline constexpr std::size_t kMaxEnclaveFile = std::size_t{256} << 20;

// Pages that are alike and follow each other.
struct Region {
    std::string_view name;               // "code", "heap": for people
    std::uint64_t offset;                // in the enclave
    std::uint64_t size;                  // whole pages
    std::uint64_t flags;                 // SecInfoFlags
    bool measured;                       // by EEXTEND; its place and flags always are, by EADD
    std::vector<std::uint8_t> contents;  // the first bytes; what is missing is zero
};

class EnclaveImage final {
  public:
    // `elf`: the bytes of a file that prepare_image() made. Total; the error is a sentence whose
    // subject is "it".
    [[nodiscard]] static std::expected<EnclaveImage, std::string> build(Bytes elf);

    [[nodiscard]] const EnclaveLayout& layout() const { return layout_; }
    [[nodiscard]] const wire::MeasuredConfig& config() const { return config_; }
    [[nodiscard]] const std::vector<Region>& regions() const { return regions_; }
    // Where the word is that a software loader sets after EINIT; 8 bytes, measured as zero.
    [[nodiscard]] std::uint64_t soft_enclu_offset() const { return soft_enclu_offset_; }
    [[nodiscard]] std::uint64_t page_count() const;
    // Bytes of code and data that the signer's build put there, and that a reader has to trust.
    [[nodiscard]] std::uint64_t tcb_size() const;

    // What the CPU hashes while the enclave is built: the records of ECREATE, EADD and EEXTEND in
    // ascending order of pages (Intel SDM vol. 3D, 40.3), piece by piece. These bytes in a file are
    // the .sgxs format of other SGX tools.
    void measured_stream(const std::function<void(Bytes)>& piece) const;

    // MRENCLAVE: SHA-256 over the measured stream.
    [[nodiscard]] wire::Digest measure() const;

  private:
    EnclaveImage() = default;

    EnclaveLayout layout_{};
    wire::MeasuredConfig config_{};
    std::vector<Region> regions_;
    std::uint64_t soft_enclu_offset_ = 0;
};

inline constexpr std::size_t kMaxLabelSize = sizeof(wire::MeasuredConfig::label);

struct ImageOptions {
    std::uint64_t heap_size = std::uint64_t{64} << 20;    // bytes, whole pages
    std::uint64_t heap_max = 0;                           // with SGX2; 0: it does not grow
    std::uint64_t stack_size = std::uint64_t{256} << 10;  // of each thread
    std::uint64_t thread_count = 1;
    wire::SigningKey authority_key{};
    std::string label;  // at most kMaxLabelSize bytes
};

// The linked ELF file with its layout and configuration filled in. Anyone may do this again and
// compare: the same file and options give the same bytes.
[[nodiscard]] std::expected<std::vector<std::uint8_t>, std::string> prepare_image(
    Bytes elf, const ImageOptions& options);

// All bytes of an open regular file of at most `most` bytes.
[[nodiscard]] std::expected<std::vector<std::uint8_t>, std::string> read_descriptor(
    int descriptor, std::size_t most);

}  // namespace sgm::sgx

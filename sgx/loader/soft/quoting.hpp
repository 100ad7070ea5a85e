// SPDX-License-Identifier: MIT
// The software quoting enclave: turns a report made on this machine's software platform into a
// DCAP quote under a root of this machine's own. It is no enclave at all, and everything that it
// signs says so. SOFTWARE SGX: no protection from this host's root.
//
// Its files, made once for each machine, in one directory:
//   root.pem     the root certificate: what the authority's operator may decide to pin
//   quoting.pem  mode 0600: the key and the certificate that stand for Intel's PCK
// The root's own key is thrown away when it has signed that one certificate.
#pragma once

#include <expected>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "sgx/image/arch.hpp"
#include "wire/bytes.hpp"

namespace sgm::sgx::soft {

class QuotingEnclave final {
  public:
    // Makes root.pem and quoting.pem; refuses when quoting.pem is there already. The error is one
    // sentence for the operator, here and below.
    [[nodiscard]] static std::expected<void, std::string> create(
        const std::filesystem::path& directory);

    // Reads what create() made, and a fresh attestation key for as long as this object lives.
    // `fuse_key`: the software platform's, made if it is not there.
    [[nodiscard]] static std::expected<QuotingEnclave, std::string> load(
        const std::filesystem::path& directory, const std::filesystem::path& fuse_key);

    [[nodiscard]] static std::expected<QuotingEnclave, std::string> load_or_create(
        const std::filesystem::path& directory, const std::filesystem::path& fuse_key);

    QuotingEnclave(QuotingEnclave&&) noexcept;
    QuotingEnclave& operator=(QuotingEnclave&&) noexcept;
    ~QuotingEnclave();

    // For whom an enclave makes the report that quote() takes.
    [[nodiscard]] static TargetInfo target_info();

    // A quote of version 3 (sgx/quote/quote.hpp). Refuses what is not a REPORT for target_info(),
    // made by an enclave on this machine's software platform.
    [[nodiscard]] std::expected<std::vector<std::uint8_t>, std::string> quote(Bytes report) const;

  private:
    struct State;
    explicit QuotingEnclave(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace sgm::sgx::soft

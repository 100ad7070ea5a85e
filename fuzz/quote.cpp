// SPDX-License-Identifier: MIT
// A quote and the certificates in it, as a host would send them; and a root, as an operator might
// name the wrong file.
#include "sgx/quote/quote.hpp"

#include "config/file.hpp"
#include "config/temporary_directory.hpp"
#include "fuzz/target.hpp"
#include "sgx/loader/soft/platform.hpp"
#include "sgx/loader/soft/quoting.hpp"
#include "sgx/quote/verify.hpp"

namespace sgm::fuzz {

void run(Bytes input) {
    Choices choices{input};
    const Bytes root_pem = choices.bytes(choices.take<std::uint16_t>());
    const Bytes bytes = choices.rest();
    const auto quote = sgx::parse_quote(bytes);
    if (!quote) return;
    check(quote->signed_bytes.size() + quote->certificates.size() <= bytes.size(),
          "the parts of a quote lie in it");
    const auto root = sgx::RootCertificate::from_pem(text_of(root_pem));
    if (!root) return;
    static_cast<void>(root->is_software());
    static_cast<void>(sgx::verify_quote(
        *quote, *root, std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now())));
}

std::vector<Octets> seeds() {
    const config::TemporaryDirectory directory;
    auto key = sgx::soft::load_or_create_fuse_key(directory / "fuse.key");
    auto quoting =
        sgx::soft::QuotingEnclave::load_or_create(directory.path(), directory / "fuse.key");
    check(key && quoting, "a software quoting enclave can be made");
    const sgx::soft::SoftPlatform platform{std::move(*key)};
    const sgx::Report report = platform.create_report(
        sgx::soft::Secs{}, sgx::soft::QuotingEnclave::target_info(), sgx::ReportData{1, 2, 3});
    const auto quote = quoting->quote(bytes_of(report));
    const auto root = config::read_file(directory / "root.pem");
    check(quote && root, "a quote can be made");
    const auto seed = [&](std::string_view pem) {
        return Recorder{}
            .put(static_cast<std::uint16_t>(pem.size()))
            .put_bytes(octets_of(pem))
            .put_bytes(*quote)
            .octets();
    };
    return {seed(*root), seed("")};
}

}  // namespace sgm::fuzz

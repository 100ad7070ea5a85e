// SPDX-License-Identifier: MIT
#include "sgx/quote/quote.hpp"

namespace sgm::sgx {
namespace {

// Reads on and remembers that something was missing, so that one check at the end is enough.
class Fields final {
  public:
    explicit Fields(Bytes bytes) : reader_{bytes} {}

    template <WireStruct T>
    T take() {
        const auto value = reader_.take<T>();
        if (!value) complete_ = false;
        return value.value_or(T{});
    }
    Bytes take_bytes(std::uint64_t size) {
        const auto bytes = reader_.take_bytes(size);
        if (!bytes) complete_ = false;
        return bytes.value_or(Bytes{});
    }

    [[nodiscard]] bool complete() const { return complete_; }
    [[nodiscard]] bool empty() const { return reader_.empty(); }

  private:
    Reader reader_;
    bool complete_ = true;
};

}  // namespace

std::expected<Quote, QuoteError> parse_quote(Bytes bytes) {
    if (bytes.size() > wire::kMaxQuoteSize) return std::unexpected(QuoteError::too_large);

    Quote quote{};
    Fields outer{bytes};
    quote.header = outer.take<QuoteHeader>();
    if (!outer.complete()) return std::unexpected(QuoteError::truncated);
    if (quote.header.version != kQuoteVersion) return std::unexpected(QuoteError::version);
    if (quote.header.key_type != kQuoteKeyEcdsaP256) return std::unexpected(QuoteError::key_type);
    if (quote.header.tee_type != 0) return std::unexpected(QuoteError::not_sgx);

    quote.report = outer.take<ReportBody>();
    const auto signature_size = outer.take<std::uint32_t>();
    Fields data{outer.take_bytes(signature_size)};
    quote.signature = data.take<P256Signature>();
    quote.attestation_key = data.take<P256Point>();
    quote.qe_report_bytes = data.take_bytes(sizeof(ReportBody));
    quote.qe_signature = data.take<P256Signature>();
    quote.qe_auth_data = data.take_bytes(data.take<std::uint16_t>());
    const auto certification_type = data.take<std::uint16_t>();
    quote.certificates = data.take_bytes(data.take<std::uint32_t>());
    if (!outer.complete() || !data.complete()) return std::unexpected(QuoteError::truncated);
    if (!outer.empty() || !data.empty()) return std::unexpected(QuoteError::surplus_bytes);
    if (certification_type != kCertificationPckChain) {
        return std::unexpected(QuoteError::certification_type);
    }
    quote.signed_bytes = bytes.first(sizeof(QuoteHeader) + sizeof(ReportBody));
    quote.qe_report = *Reader{quote.qe_report_bytes}.take<ReportBody>();
    return quote;
}

}  // namespace sgm::sgx

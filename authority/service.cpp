// SPDX-License-Identifier: MIT
#include "authority/service.hpp"

#include <spdlog/spdlog.h>

#include "authority/appraise.hpp"
#include "cli/program.hpp"
#include "config/text.hpp"

namespace sgm::authority {

Service::Service(Settings settings, crypto::SigningKeyPair key)
    : settings_{std::move(settings)}, key_{std::move(key)} {
    server_.post("/v1/attest", kMaxEvidenceSize, [this](Bytes body) { return attest(body); });
}

config::Result<std::uint16_t> Service::start() {
    return server_.start(settings_.listen, settings_.port);
}

cli::HttpReply Service::attest(Bytes evidence) const {
    const auto now =
        std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
    const auto signed_result = appraise(evidence, settings_.policy, key_, now);
    if (!signed_result) {
        const bool malformed = signed_result.error().kind == Refusal::Kind::malformed;
        spdlog::warn("refused: {}", signed_result.error().reason);
        return {.status = malformed ? 400 : 403, .body = signed_result.error().reason + "\n"};
    }
    const wire::AttestationResult& result = signed_result->result;
    spdlog::info("approved: MRENCLAVE {} for domain {}{}{}", config::to_hex(result.mrenclave),
                 config::uuid_text(result.domain),
                 (result.flags & wire::kAttestedSoftwareSgx) != 0 ? "; " : "",
                 (result.flags & wire::kAttestedSoftwareSgx) != 0 ? cli::kSoftwareSgxBanner : "");
    const Bytes bytes = bytes_of(*signed_result);
    return {.status = 200,
            .content_type = "application/octet-stream",
            .body = {bytes.begin(), bytes.end()}};
}

}  // namespace sgm::authority

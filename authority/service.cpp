// SPDX-License-Identifier: MIT
#include "authority/service.hpp"

#include <spdlog/spdlog.h>

#include "authority/appraise.hpp"
#include "cli/program.hpp"
#include "config/text.hpp"

namespace sgm::authority {
namespace {

const cli::HttpReply kNoList{.status = 500,
                             .body = "the authority cannot read its list of revocations\n"};

cli::HttpReply binary(Bytes bytes) {
    return {.status = 200,
            .content_type = "application/octet-stream",
            .body = {bytes.begin(), bytes.end()}};
}

}  // namespace

Service::Service(Settings settings, crypto::SigningKeyPair key)
    : settings_{std::move(settings)}, key_{std::move(key)} {
    server_.post("/v1/attest", kMaxEvidenceSize, [this](Bytes body) { return attest(body); });
    server_.get("/v1/revocations", [this](const std::string& name, const auto&) {
        return name == "current" ? revocations() : cli::HttpReply{.status = 404};
    });
}

config::Result<std::uint16_t> Service::start() {
    return server_.start(settings_.listen, settings_.port);
}

config::Result<std::optional<wire::SignedRevocations>> Service::load() const {
    auto list = load_revocations(settings_.revocations, key_.public_key());
    if (!list) spdlog::error("nothing is approved: {}", list.error().sentence);
    return list;
}

cli::HttpReply Service::revocations() const {
    const auto list = load();
    if (!list) return kNoList;
    if (!*list) return {};
    return binary(bytes_of(**list));
}

cli::HttpReply Service::attest(Bytes evidence) const {
    const auto list = load();
    if (!list) return kNoList;
    hypervisor::Revocations revocations;
    if (*list && revocations.take(**list, key_.public_key()) != wire::Status::ok) return kNoList;
    const auto now =
        std::chrono::time_point_cast<std::chrono::seconds>(std::chrono::system_clock::now());
    const auto signed_result = appraise(evidence, settings_.policy, revocations, key_, now);
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
    return binary(bytes_of(*signed_result));
}

}  // namespace sgm::authority

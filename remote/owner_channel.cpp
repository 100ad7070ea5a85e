// SPDX-License-Identifier: MIT
#include "remote/owner_channel.hpp"

namespace sgm::remote {

std::expected<ids::OpenedMessage, ids::MessageError> OwnerChannel::open(Bytes message) const {
    auto opened = ids::open_owner_message(message, sealing_);
    if (opened && opened->header.domain != domain_) {
        return std::unexpected{ids::MessageError::not_for_us};
    }
    return opened;
}

std::expected<std::vector<std::uint8_t>, ids::MessageError> OwnerChannel::seal(
    const Command& command, const Boot& receiver, std::uint64_t sequence) const {
    const wire::OwnerHeader header{.magic = wire::kOwnerMagic,
                                   .version = 1,
                                   .domain = domain_,
                                   .boot = receiver.id,
                                   .sequence = sequence,
                                   .encapsulation = {},
                                   .size = 0,
                                   .reserved = 0};
    return ids::seal_owner_message(header, command.kind, command.payload, signing_,
                                   receiver.keys().sealing);
}

}  // namespace sgm::remote

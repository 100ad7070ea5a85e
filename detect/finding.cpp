// SPDX-License-Identifier: MIT
#include "detect/finding.hpp"

#include "crypto/hash.hpp"

namespace sgm::detect {

std::uint64_t finding_id(std::string_view check, std::initializer_list<Bytes> thing) {
    const wire::Digest check_digest =
        crypto::sha256({reinterpret_cast<const std::uint8_t*>(check.data()), check.size()});
    const wire::Digest thing_digest = crypto::sha256(thing);
    const wire::Digest digest = crypto::sha256({check_digest, thing_digest});
    std::uint64_t id = 0;
    std::memcpy(&id, digest.data(), sizeof id);
    return id & ~(std::uint64_t{1} << 63);
}

}  // namespace sgm::detect

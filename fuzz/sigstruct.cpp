// SPDX-License-Identifier: MIT
// A SIGSTRUCT from anywhere: it verifies only when every byte is the signer's.
#include "sgx/image/sigstruct.hpp"

#include "fuzz/target.hpp"

namespace sgm::fuzz {
namespace {

const sgx::Sigstruct& signed_one() {
    static const sgx::Sigstruct made = [] {
        const auto key = sgx::SignerKey::generate();
        check(key.has_value(), "a key can be made");
        const auto sigstruct = sgx::sign_sigstruct(sgx::describe_enclave({}, {}), *key);
        check(sigstruct.has_value(), "an enclave can be signed");
        return *sigstruct;
    }();
    return made;
}

}  // namespace

// The input is laid over a SIGSTRUCT that verifies: byte by byte by exclusive or.
void run(Bytes input) {
    static_cast<void>(sgx::verify_sigstruct(input));
    sgx::Sigstruct changed = signed_one();
    const MutableBytes bytes = mutable_bytes_of(changed);
    bool differs = false;
    for (std::size_t i = 0; i < std::min(input.size(), bytes.size()); ++i) {
        bytes[i] ^= input[i];
        differs = differs || input[i] != 0;
    }
    const auto verified = sgx::verify_sigstruct(bytes);
    check(verified.has_value() != differs, "a SIGSTRUCT verifies exactly when nothing was changed");
}

std::vector<Octets> seeds() {
    std::vector<Octets> result{Octets(sizeof(sgx::Sigstruct))};
    for (std::size_t at = 0; at < sizeof(sgx::Sigstruct); at += 113) {
        result.emplace_back(sizeof(sgx::Sigstruct));
        result.back()[at] = 0x40;
    }
    return result;
}

}  // namespace sgm::fuzz

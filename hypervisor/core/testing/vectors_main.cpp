// SPDX-License-Identifier: MIT
// The test vectors of docs/protocol.md: one whole conversation with the core, every byte of it
// determined by the keys below. Written by `protocol_vectors > docs/protocol-vectors.txt`; a test
// compares. Whoever writes another end of the protocol begins here.
#include <cstdio>
#include <string_view>

#include "crypto/hpke.hpp"
#include "hypervisor/core/testing/client.hpp"
#include "hypervisor/core/testing/synthetic_guest.hpp"
#include "wire/status_text.hpp"

namespace sgm::hypervisor::testing {
namespace {

constexpr std::uint64_t kAddress = 0x1000;
constexpr std::string_view kPlain = "swapper/0";

std::array<std::uint8_t, 32> filled(std::uint8_t value) {
    std::array<std::uint8_t, 32> bytes{};
    bytes.fill(value);
    return bytes;
}

void print(const char* name, Bytes bytes) {
    std::printf("\n%s (%zu bytes)\n", name, bytes.size());
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        if (i % 32 == 0) std::printf("%04zx ", i);
        std::printf(" %02x%s", bytes[i], i % 32 == 31 || i + 1 == bytes.size() ? "\n" : "");
    }
}

Message exchange(Core& core, const char* name, const Message& message) {
    Message reply(kMaxReplySize);
    reply.resize(core.sgm_op(message, reply));
    std::printf("\n## %s\n", name);
    print("call", message);
    print("reply", reply);
    return {reply.begin() + sizeof(wire::OpHeader), reply.end()};
}

// A registration whose secret and ephemeral key are not random.
Registrar registrar(Core& core, const wire::Identity& hypervisor, const wire::Uuid& domain) {
    Registrar out{core, domain};
    const auto secret = filled(0x5e);
    std::memcpy(out.secret.mutable_bytes().data(), secret.data(), secret.size());
    out.binding.registration_nonce = hypervisor.registration_nonce;
    const wire::HpkeInfo info{.label = wire::kRegisterLabel,
                              .domain = domain,
                              .hypervisor_key_id = hypervisor.hypervisor_key_id};
    out.binding.encapsulation =
        crypto::hpke_seal(hypervisor.hypervisor_key,
                          crypto::SealingKeyPair::from_private(filled(0xe4)), bytes_of(info),
                          out.binding.registration_nonce, secret, out.binding.sealed_secret)
            .value();
    out.rebind();
    print("HpkeInfo", bytes_of(info));
    print("registration binding", bytes_of(out.binding));
    print("its SHA-256: the first half of the SGX report data", out.result.binding_digest);
    print("attestation result", bytes_of(out.result));
    return out;
}

wire::RevocationList everything_revoked() {
    wire::RevocationList out{};
    out.label = wire::kRevocationLabel;
    out.sequence = 1;
    out.count = 1;
    out.entries[0].kind = wire::RevokedKind::everything;
    return out;
}

int run() {
    const auto hypervisor_key = crypto::SealingKeyPair::from_private(filled(0x11));
    const auto authority = crypto::SigningKeyPair::from_seed(filled(0xaa));
    SyntheticGuest guest{1u << 20};
    guest.write(kAddress, {reinterpret_cast<const std::uint8_t*>(kPlain.data()), kPlain.size()});
    SyntheticPort port{{&guest}};
    const auto core =
        std::make_unique<Core>(port, crypto::SealingKeyPair::from_private(filled(0x11)),
                               authority.public_key(), /*allow_software_sgx=*/true);

    std::printf(
        "SPDX-License-Identifier: MIT\n"
        "A conversation with the hypervisor core, made by protocol_vectors. docs/protocol.md says\n"
        "what the bytes mean. Randomness is a counter, the clock stands at 1,000,000,000 ns, and\n"
        "the VM, of 1 MiB in epoch 7, holds \"swapper/0\" at 0x1000.\n\n# Keys\n");
    print("hypervisor, X25519 private", filled(0x11));
    print("hypervisor, X25519 public", hypervisor_key.public_key());
    print("authority, Ed25519 seed", filled(0xaa));
    print("authority, Ed25519 public", authority.public_key());
    print("ephemeral of HPKE, X25519 private", filled(0xe4));
    print("session secret", filled(0x5e));

    std::printf("\n# Registration\n");
    const Message hypervisor = exchange(*core, "identity", frame(wire::Command::identity, {}));
    const auto identity = Reader{hypervisor}.take<wire::Identity>();
    if (!identity) return 1;
    const Registrar registration = registrar(*core, *identity, guest.id);
    const Message confirmation = exchange(*core, "register", registration.signed_by(authority));
    const auto session = ClientSession::confirm(registration, confirmation);
    if (!session) return 1;
    print("opened: the Confirmation", bytes_of(session->confirmation));

    std::printf("\n# A request\n");
    const Message batch =
        BatchBuilder{}.describe().read(0, wire::Paging::physical, kAddress, kPlain.size()).bytes();
    print("batch, before it is sealed", batch);
    const Message answer = exchange(*core, "request", session->seal(wire::Command::request, batch));
    const auto opened = session->open(wire::Command::request, answer);
    if (!opened) return 1;
    print("answer, opened", *opened);

    std::printf("\n# The end\n");
    exchange(*core, "close", session->seal(wire::Command::close, BatchBuilder{}.bytes()));
    exchange(*core, "a request after it",
             session->seal(wire::Command::request, BatchBuilder{}.bytes()));

    std::printf("\n# A revocation\n");
    const wire::RevocationList list = everything_revoked();
    const wire::Signature signature = authority.sign({bytes_of(list)});
    print("list: its head and its only entry; zeros follow, up to 4640 bytes",
          bytes_of(list).first(offsetof(wire::RevocationList, entries) + sizeof(wire::Revocation)));
    print("signature", signature);
    const Reply receipt =
        call(*core, frame(wire::Command::revoke, {bytes_of(list), bytes_of(signature)}));
    print("receipt", receipt.payload);
    return 0;
}

}  // namespace
}  // namespace sgm::hypervisor::testing

int main() {
    return sgm::hypervisor::testing::run();
}

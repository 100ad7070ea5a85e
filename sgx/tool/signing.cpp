// SPDX-License-Identifier: MIT
#include "sgx/tool/signing.hpp"

#include <fmt/format.h>

#include <chrono>

namespace sgm::sgx::tool {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxSignatureFile = 4096;

// What SIGSTRUCT.DATE wants: decimal digits as hexadecimal ones.
std::uint32_t today() {
    const std::chrono::year_month_day date{
        std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now())};
    const auto number = static_cast<std::uint32_t>(int{date.year()}) * 10000 +
                        unsigned{date.month()} * 100 + unsigned{date.day()};
    std::uint32_t bcd = 0;
    std::uint32_t rest = number;
    for (int shift = 0; shift < 32; shift += 4, rest /= 10)
        bcd |= (rest % 10) << shift;
    return bcd;
}

fs::path with_extension(const fs::path& out, const char* extension) {
    return out.string() + extension;
}

struct Unsigned {
    EnclaveImage image;
    Sigstruct fields;
};

// Writes OUT.elf.
Result<Unsigned> write_prepared(const fs::path& enclave, const Settings& settings,
                                const fs::path& out) {
    const auto prepared = prepare(enclave, settings);
    if (!prepared) return std::unexpected(prepared.error());
    auto image = EnclaveImage::build(*prepared);
    if (!image) return std::unexpected(image.error());
    SigningOptions options = settings.signing;
    options.date = today();
    const Sigstruct fields = describe_enclave(image->measure(), options);
    if (auto written = write_file(with_extension(out, ".elf"), *prepared); !written)
        return std::unexpected(std::move(written.error()));
    return Unsigned{std::move(*image), fields};
}

Result<void> write_sigstruct(const fs::path& out, const Sigstruct& sigstruct) {
    const bool debug = (sigstruct.attributes.flags & kAttributeDebug) != 0;
    return write_file(sigstruct_path(with_extension(out, ".elf"), debug), bytes_of(sigstruct));
}

}  // namespace

Result<FileBytes> prepare(const fs::path& enclave, const Settings& settings) {
    const auto elf = read_file(enclave, kMaxEnclaveFile);
    if (!elf) return std::unexpected(elf.error());
    auto prepared = prepare_image(*elf, settings.image);
    if (!prepared)
        return std::unexpected(
            fmt::format("{}: refused as an enclave: {}", enclave.string(), prepared.error()));
    return prepared;
}

Result<SignedEnclave> sign(const fs::path& enclave, const Settings& settings, const SignerKey& key,
                           const fs::path& out) {
    auto begun = write_prepared(enclave, settings, out);
    if (!begun) return std::unexpected(begun.error());
    const auto sigstruct = sign_sigstruct(begun->fields, key);
    if (!sigstruct) return std::unexpected(sigstruct.error());
    if (auto written = write_sigstruct(out, *sigstruct); !written)
        return std::unexpected(std::move(written.error()));
    return SignedEnclave{std::move(begun->image), *sigstruct};
}

Result<EnclaveImage> begin_signing(const fs::path& enclave, const Settings& settings,
                                   const fs::path& digest_file, const fs::path& out) {
    auto begun = write_prepared(enclave, settings, out);
    if (!begun) return std::unexpected(begun.error());
    if (auto written = write_file(with_extension(out, ".unsigned"), bytes_of(begun->fields));
        !written)
        return std::unexpected(std::move(written.error()));
    if (auto written = write_file(digest_file, signing_digest(begun->fields)); !written)
        return std::unexpected(std::move(written.error()));
    return std::move(begun->image);
}

Result<SignedEnclave> finish_signing(const fs::path& signature_file, const fs::path& public_key,
                                     const fs::path& out) {
    const fs::path begun = with_extension(out, ".unsigned");
    const auto bytes = read_file(begun, sizeof(Sigstruct));
    if (!bytes)
        return std::unexpected(bytes.error() +
                               "; run `sign --digest-out` with the same --out first");
    const auto fields = Reader{*bytes}.take<Sigstruct>();
    if (!fields || bytes->size() != sizeof(Sigstruct))
        return std::unexpected(begun.string() + ": not what `sign --digest-out` writes");
    const auto signature = read_file(signature_file, kMaxSignatureFile);
    if (!signature) return std::unexpected(signature.error());
    const auto sigstruct = complete_sigstruct(*fields, *signature, public_key);
    if (!sigstruct)
        return std::unexpected(fmt::format("{}: not {}'s signature of {}: {}",
                                           signature_file.string(), public_key.string(),
                                           begun.string(), sigstruct.error()));
    auto image = read_image(with_extension(out, ".elf"));
    if (!image) return std::unexpected(image.error());
    if (auto meant = check_enclave(*sigstruct, image->measure(), sigstruct->attributes,
                                   sigstruct->miscselect);
        !meant)
        return std::unexpected(fmt::format("{}: not the signature of {}: {}",
                                           signature_file.string(),
                                           with_extension(out, ".elf").string(), meant.error()));
    if (auto written = write_sigstruct(out, *sigstruct); !written)
        return std::unexpected(std::move(written.error()));
    std::error_code ignored;  // a leftover does no harm
    fs::remove(begun, ignored);
    return SignedEnclave{std::move(*image), *sigstruct};
}

}  // namespace sgm::sgx::tool

// SPDX-License-Identifier: MIT
#include "sgx/tool/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstring>

#include "config/descriptor.hpp"
#include "config/file.hpp"

namespace sgm::sgx::tool {

Result<FileBytes> read_file(const std::filesystem::path& path, std::size_t most) {
    const config::Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return std::unexpected(fmt::format("{}: {}", path.string(), std::strerror(errno)));
    auto bytes = read_descriptor(file.get(), most);
    if (!bytes) return std::unexpected(fmt::format("{}: {}", path.string(), bytes.error()));
    return bytes;
}

Result<void> write_file(const std::filesystem::path& path, Bytes bytes) {
    const auto written =
        config::write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, 0644,
                           config::IfExists::replace);
    if (!written) return std::unexpected(written.error().sentence);
    return {};
}

Result<EnclaveImage> read_image(const std::filesystem::path& path) {
    const auto elf = read_file(path, kMaxEnclaveFile);
    if (!elf) return std::unexpected(elf.error());
    auto image = EnclaveImage::build(*elf);
    if (!image)
        return std::unexpected(
            fmt::format("{}: refused as an enclave: {}", path.string(), image.error()));
    return image;
}

Result<Sigstruct> read_sigstruct(const std::filesystem::path& path) {
    const auto bytes = read_file(path, sizeof(Sigstruct) + 1);
    if (!bytes) return std::unexpected(bytes.error());
    auto sigstruct = verify_sigstruct(*bytes);
    if (!sigstruct)
        return std::unexpected(
            fmt::format("{}: refused as a signature: {}", path.string(), sigstruct.error()));
    return sigstruct;
}

Result<SignedEnclave> read_signed(const std::filesystem::path& enclave,
                                  const std::filesystem::path& sigstruct_file) {
    auto image = read_image(enclave);
    if (!image) return std::unexpected(image.error());
    const auto sigstruct = read_sigstruct(sigstruct_file);
    if (!sigstruct) return std::unexpected(sigstruct.error());
    const auto meant =
        check_enclave(*sigstruct, image->measure(), sigstruct->attributes, sigstruct->miscselect);
    if (!meant)
        return std::unexpected(fmt::format("{}: not the signature of {}: {}",
                                           sigstruct_file.string(), enclave.string(),
                                           meant.error()));
    return SignedEnclave{std::move(*image), *sigstruct};
}

std::filesystem::path sigstruct_path(const std::filesystem::path& enclave, bool debug) {
    return std::filesystem::path{enclave}.replace_extension(debug ? ".debug.sig" : ".sig");
}

}  // namespace sgm::sgx::tool

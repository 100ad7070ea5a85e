// SPDX-License-Identifier: MIT
#include "sgx/image/image.hpp"

#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "sgx/image/elf.hpp"

namespace sgm::sgx {
namespace {

constexpr std::uint64_t kReadWrite = kSecInfoRegular | kSecInfoRead | kSecInfoWrite;

// The objects of sgx/enclave/entry.S that the signer fills in, and where they lie in the file.
struct Records {
    std::uint64_t layout;
    std::uint64_t config;
};

std::expected<Records, std::string> find_records(const ElfFile& elf, Bytes file) {
    const auto layout = elf.read_only_object("sgm_enclave_layout", sizeof(EnclaveLayout));
    if (!layout) return std::unexpected(layout.error());
    const auto config = elf.read_only_object("sgm_measured_config", sizeof(wire::MeasuredConfig));
    if (!config) return std::unexpected(config.error());
    const auto magic_at = [&](std::uint64_t offset) {
        return Reader{file.subspan(static_cast<std::size_t>(offset))}.take<std::uint64_t>();
    };
    if (magic_at(*layout) != kLayoutMagic || magic_at(*config) != wire::kMeasuredConfigMagic)
        return std::unexpected("its layout or configuration record is of another version");
    return Records{.layout = *layout, .config = *config};
}

template <WireStruct T>
T record_at(Bytes file, std::uint64_t offset) {
    return *Reader{file.subspan(static_cast<std::size_t>(offset))}.take<T>();
}

// `shift`: from the first thread to this one.
Region tcs_region(const EnclaveLayout& layout, std::uint64_t shift, std::uint64_t entry) {
    Tcs tcs{};
    tcs.ossa = layout.ssa_offset + shift;
    tcs.nssa = kSsaFrames;
    tcs.oentry = entry;
    tcs.ofsbase = layout.thread_offset + shift;
    tcs.ogsbase = layout.thread_offset + shift;
    tcs.fslimit = 0xfff;
    tcs.gslimit = 0xfff;
    const Bytes bytes = bytes_of(tcs);
    return {.name = "TCS",
            .offset = layout.tcs_offset + shift,
            .size = kPageSize,
            .flags = kSecInfoTcs,
            .measured = true,
            .contents = {bytes.begin(), bytes.end()}};
}

}  // namespace

std::expected<EnclaveImage, std::string> EnclaveImage::build(Bytes file) {
    const auto elf = ElfFile::parse(file);
    if (!elf) return std::unexpected(elf.error());
    const auto records = find_records(*elf, file);
    if (!records) return std::unexpected(records.error());

    EnclaveImage image;
    image.layout_ = record_at<EnclaveLayout>(file, records->layout);
    image.config_ = record_at<wire::MeasuredConfig>(file, records->config);
    const EnclaveLayout& layout = image.layout_;
    if (layout.elrange_size == 0)
        return std::unexpected("it is not signed yet: run `sgmonitor enclave sign`");
    if (EnclaveLayout::plan(elf->image_end(), layout.heap_size, layout.heap_max, layout.stack_size,
                            layout.thread_count) != layout)
        return std::unexpected("its layout record is not one that the signer makes");

    const auto soft_enclu = elf->read_only_object("soft_enclu", sizeof(std::uint64_t));
    if (!soft_enclu) return std::unexpected(soft_enclu.error());
    image.soft_enclu_offset_ = elf->enclave_offset(*soft_enclu);
    if (record_at<std::uint64_t>(file, *soft_enclu) != 0 ||
        image.soft_enclu_offset_ % sizeof(std::uint64_t) != 0)
        return std::unexpected("its soft_enclu is not an aligned word of value zero");

    for (const Segment& segment : elf->segments()) {
        const Bytes contents = elf->contents(segment);
        image.regions_.push_back({.name = segment_name(segment),
                                  .offset = segment.offset,
                                  .size = segment.end() - segment.offset,
                                  .flags = kSecInfoRegular | kSecInfoRead |
                                           (segment.write ? kSecInfoWrite : std::uint64_t{0}) |
                                           (segment.execute ? kSecInfoExecute : std::uint64_t{0}),
                                  .measured = true,
                                  .contents = {contents.begin(), contents.end()}});
    }
    image.regions_.push_back({"heap", layout.heap_offset, layout.heap_size, kReadWrite, false, {}});
    for (std::uint64_t i = 0; i < layout.thread_count; ++i) {
        const std::uint64_t shift = i * layout.thread_stride();
        image.regions_.push_back(
            {"stack", layout.stack_offset + shift, layout.stack_size, kReadWrite, false, {}});
        image.regions_.push_back(tcs_region(layout, shift, elf->entry()));
        image.regions_.push_back({"SSA, thread page",
                                  layout.ssa_offset + shift,
                                  layout.thread_offset + kPageSize - layout.ssa_offset,
                                  kReadWrite,
                                  true,
                                  {}});
    }
    return image;
}

std::uint64_t EnclaveImage::page_count() const {
    std::uint64_t size = 0;
    for (const Region& region : regions_)
        size += region.size;
    return size / kPageSize;
}

std::uint64_t EnclaveImage::tcb_size() const {
    std::uint64_t size = 0;
    for (const Region& region : regions_) {
        if (region.offset < layout_.image_end) size += region.contents.size();
    }
    return size;
}

void EnclaveImage::measured_stream(const std::function<void(Bytes)>& piece) const {
    constexpr std::size_t kChunk = 256;
    struct {
        std::array<char, 8> tag = {'E', 'C', 'R', 'E', 'A', 'T', 'E', 0};
        std::uint32_t ssaframesize = kSsaFramePages;
        std::array<std::uint8_t, 8> size{};
        Reserved<44> reserved{};
    } ecreate;
    static_assert(sizeof ecreate == 64);
    std::memcpy(ecreate.size.data(), &layout_.elrange_size, sizeof layout_.elrange_size);
    piece(bytes_of(ecreate));

    struct {
        std::array<char, 8> tag = {'E', 'A', 'D', 'D', 0, 0, 0, 0};
        std::uint64_t offset = 0;
        std::uint64_t flags = 0;  // the first of the 48 bytes of SECINFO that count
        Reserved<40> reserved{};
    } eadd;
    static_assert(sizeof eadd == 64);
    struct {
        std::array<char, 8> tag = {'E', 'E', 'X', 'T', 'E', 'N', 'D', 0};
        std::uint64_t offset = 0;
        Reserved<48> reserved{};
    } eextend;
    static_assert(sizeof eextend == 64);

    for (const Region& region : regions_) {
        eadd.flags = region.flags;
        for (std::uint64_t page = 0; page < region.size; page += kPageSize) {
            eadd.offset = region.offset + page;
            piece(bytes_of(eadd));
            if (!region.measured) continue;
            std::array<std::uint8_t, kPageSize> bytes{};
            if (page < region.contents.size()) {
                const std::size_t there =
                    std::min<std::size_t>(kPageSize, region.contents.size() - page);
                std::memcpy(bytes.data(), region.contents.data() + page, there);
            }
            for (std::size_t chunk = 0; chunk < kPageSize; chunk += kChunk) {
                eextend.offset = eadd.offset + chunk;
                piece(bytes_of(eextend));
                piece(Bytes{bytes}.subspan(chunk, kChunk));
            }
        }
    }
}

wire::Digest EnclaveImage::measure() const {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> sha256{EVP_MD_CTX_new(),
                                                                         &EVP_MD_CTX_free};
    // These fail only when memory is exhausted; the digest is then zero and matches no SIGSTRUCT.
    EVP_DigestInit_ex(sha256.get(), EVP_sha256(), nullptr);
    measured_stream(
        [&](Bytes piece) { EVP_DigestUpdate(sha256.get(), piece.data(), piece.size()); });
    wire::Digest digest{};
    EVP_DigestFinal_ex(sha256.get(), digest.data(), nullptr);
    return digest;
}

std::expected<std::vector<std::uint8_t>, std::string> prepare_image(Bytes file,
                                                                    const ImageOptions& options) {
    const auto elf = ElfFile::parse(file);
    if (!elf) return std::unexpected(elf.error());
    const auto records = find_records(*elf, file);
    if (!records) return std::unexpected(records.error());
    const auto layout =
        EnclaveLayout::plan(elf->image_end(), options.heap_size,
                            options.heap_max == 0 ? options.heap_size : options.heap_max,
                            options.stack_size, options.thread_count);
    if (!layout)
        return std::unexpected(
            fmt::format("it cannot have a heap of {} to {} bytes and {} threads with stacks of {} "
                        "bytes: whole pages, the larger number second, and at most {} bytes, {} "
                        "threads and {} bytes",
                        options.heap_size, options.heap_max, options.thread_count,
                        options.stack_size, kMaxHeapSize, kMaxThreads, kMaxStackSize));
    wire::MeasuredConfig config{};
    if (options.label.size() > config.label.size())
        return std::unexpected(
            fmt::format("its label may have at most {} bytes", config.label.size()));
    config.magic = wire::kMeasuredConfigMagic;
    config.authority_key = options.authority_key;
    std::copy(options.label.begin(), options.label.end(), config.label.begin());

    std::vector<std::uint8_t> prepared{file.begin(), file.end()};
    const auto put = [&](std::uint64_t offset, Bytes bytes) {
        std::copy(bytes.begin(), bytes.end(),
                  prepared.begin() + static_cast<std::ptrdiff_t>(offset));
    };
    put(records->layout, bytes_of(*layout));
    put(records->config, bytes_of(config));
    if (auto image = EnclaveImage::build(prepared); !image)
        return std::unexpected(std::move(image.error()));
    return prepared;
}

std::expected<std::vector<std::uint8_t>, std::string> read_descriptor(int descriptor,
                                                                      std::size_t most) {
    struct stat status{};
    if (::fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode))
        return std::unexpected("it is not a regular file");
    if (status.st_size < 0 || static_cast<std::uint64_t>(status.st_size) > most)
        return std::unexpected(fmt::format("it is larger than {} bytes", most));
    std::vector<std::uint8_t> bytes(static_cast<std::size_t>(status.st_size));
    std::size_t done = 0;
    while (done < bytes.size()) {
        const ssize_t count =
            ::pread(descriptor, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0)
            return std::unexpected(fmt::format("it cannot be read: {}", std::strerror(errno)));
        if (count == 0) break;
        done += static_cast<std::size_t>(count);
    }
    bytes.resize(done);
    return bytes;
}

}  // namespace sgm::sgx

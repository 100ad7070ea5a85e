// SPDX-License-Identifier: MIT
// An enclave file from anywhere: an image or a sentence that says why not.
#include "sgx/image/elf.hpp"

#include "fuzz/target.hpp"
#include "sgx/image/elf_fixture.hpp"
#include "sgx/image/image.hpp"

namespace sgm::fuzz {
namespace {

constexpr std::uint64_t kPagesWorthMeasuring = 2048;

}  // namespace

void run(Bytes input) {
    if (const auto elf = sgx::ElfFile::parse(input)) {
        for (const auto& segment : elf->segments()) {
            check(elf->contents(segment).size() == segment.file_size, "a segment lies in the file");
            check(segment.end() <= elf->image_end(), "segments ascend");
        }
        static_cast<void>(elf->read_only_object("sgm_enclave_layout", 8));
    }
    static_cast<void>(sgx::prepare_image(input, {.heap_size = 1 << 20, .label = "fuzz"}));
    const auto image = sgx::EnclaveImage::build(input);
    if (!image) return;
    for (const auto& region : image->regions()) {
        check(region.contents.size() <= region.size, "contents fit their region");
        check(region.offset + region.size <= image->layout().elrange_size,
              "a region lies in the enclave");
    }
    if (image->page_count() <= kPagesWorthMeasuring) static_cast<void>(image->measure());
}

std::vector<Octets> seeds() {
    const sgx::ElfFixture fixture;
    std::vector<Octets> result{fixture.bytes};
    for (const std::uint64_t threads : {std::uint64_t{1}, std::uint64_t{3}}) {
        const sgx::ImageOptions options{.heap_size = 1 << 20,
                                        .stack_size = 64 << 10,
                                        .thread_count = threads,
                                        .authority_key = {},
                                        .label = {}};
        const auto image = sgx::prepare_image(fixture.bytes, options);
        check(image.has_value(), "the fixture is an enclave");
        result.push_back(*image);
    }
    return result;
}

}  // namespace sgm::fuzz

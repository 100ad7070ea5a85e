// SPDX-License-Identifier: MIT
#include "sgx/image/image.hpp"

#include <gtest/gtest.h>
#include <openssl/sha.h>

#include <algorithm>
#include <random>
#include <utility>

#include "sgx/image/elf_fixture.hpp"

namespace sgm::sgx {
namespace {

const ImageOptions kSmall{
    .heap_size = 0x10000, .stack_size = 0x8000, .authority_key = {1, 2, 3}, .label = "a test"};

std::vector<std::uint8_t> prepared(const ElfFixture& elf = {},
                                   const ImageOptions& options = kSmall) {
    auto bytes = prepare_image(elf.bytes, options);
    EXPECT_TRUE(bytes.has_value()) << bytes.error();
    return bytes.value_or(std::vector<std::uint8_t>{});
}

wire::Digest measurement(Bytes elf) {
    const auto image = EnclaveImage::build(elf);
    EXPECT_TRUE(image.has_value()) << image.error();
    return image ? image->measure() : wire::Digest{};
}

TEST(LayoutTest, nothing_overlaps_and_guards_stand_between) {
    std::mt19937_64 random{1};
    for (int i = 0; i < 2000; ++i) {
        const auto pages = [&](std::uint64_t least, std::uint64_t most) {
            return least + random() % ((most - least) / kPageSize + 1) * kPageSize;
        };
        const std::uint64_t end = pages(kPageSize, kMaxImageSize);
        const std::uint64_t heap = pages(kMinHeapSize, kMaxHeapSize);
        const std::uint64_t stack = pages(kMinStackSize, kMaxStackSize);
        const std::uint64_t threads = 1 + random() % kMaxThreads;
        const auto layout = EnclaveLayout::plan(end, heap, heap, stack, threads);
        ASSERT_TRUE(layout.has_value());
        EXPECT_EQ(layout->heap_offset, end + kPageSize);
        EXPECT_GE(layout->stack_offset, layout->heap_offset + heap + kPageSize);
        EXPECT_EQ(layout->stack_top, layout->stack_offset + stack);
        EXPECT_EQ(layout->tcs_offset, layout->stack_top + kPageSize) << "entry.S relies on it";
        EXPECT_EQ(layout->ssa_offset, layout->tcs_offset + kPageSize);
        EXPECT_GE(layout->thread_offset, layout->ssa_offset + kSsaFrames * kPageSize);
        EXPECT_GE(layout->thread_stride(),
                  layout->thread_offset + 2 * kPageSize - layout->stack_offset);
        EXPECT_GE(layout->elrange_size,
                  layout->thread_offset + 2 * kPageSize + (threads - 1) * layout->thread_stride());
        EXPECT_TRUE(std::has_single_bit(layout->elrange_size));
    }
}

TEST(LayoutTest, sizes_that_are_no_pages_or_out_of_range_get_none) {
    EXPECT_FALSE(EnclaveLayout::plan(0x1000, 0x1001, 0x1001, 0x8000, 1));
    EXPECT_FALSE(EnclaveLayout::plan(0x1000, 0, 0, 0x8000, 1));
    EXPECT_FALSE(EnclaveLayout::plan(0x1000, 0x1000, 0x1000, 0x1000, 1));
    EXPECT_FALSE(EnclaveLayout::plan(0, 0x1000, 0x1000, 0x8000, 1));
    EXPECT_FALSE(
        EnclaveLayout::plan(0x1000, kMaxHeapSize + kPageSize, kMaxHeapSize + kPageSize, 0x8000, 1));
    EXPECT_FALSE(
        EnclaveLayout::plan(0x1000, ~std::uint64_t{0xfff}, ~std::uint64_t{0xfff}, 0x8000, 1));
    EXPECT_FALSE(EnclaveLayout::plan(0x1000, 0x1000, 0x1000, 0x8000, 0));
    EXPECT_FALSE(EnclaveLayout::plan(0x1000, 0x2000, 0x1000, 0x8000, 1));
    EXPECT_FALSE(EnclaveLayout::plan(0x1000, 0x1000, 0x1800, 0x8000, 1));
    EXPECT_FALSE(EnclaveLayout::plan(0x1000, 0x1000, kMaxHeapSize + kPageSize, 0x8000, 1));
    EXPECT_FALSE(EnclaveLayout::plan(0x1000, 0x1000, 0x1000, 0x8000, kMaxThreads + 1));
}

TEST(ImageTest, pages_have_the_permissions_of_their_segments) {
    const auto image = EnclaveImage::build(prepared());
    ASSERT_TRUE(image.has_value()) << image.error();
    const auto& regions = image->regions();
    ASSERT_EQ(regions.size(), 7u);
    EXPECT_EQ(regions[0].flags, kSecInfoRegular | kSecInfoRead);
    EXPECT_EQ(regions[1].flags, kSecInfoRegular | kSecInfoRead | kSecInfoExecute);
    EXPECT_EQ(regions[2].flags, kSecInfoRegular | kSecInfoRead | kSecInfoWrite);
    EXPECT_EQ(regions[2].size, 0x2000u);
    EXPECT_EQ(regions[3].offset, image->layout().heap_offset);
    EXPECT_FALSE(regions[3].measured);
    EXPECT_FALSE(regions[4].measured);
    EXPECT_EQ(regions[5].flags, kSecInfoTcs);
    const auto tcs = *Reader{regions[5].contents}.take<Tcs>();
    EXPECT_EQ(tcs.oentry, ElfFixture::kCode);
    EXPECT_EQ(tcs.nssa, 2u);
    EXPECT_EQ(tcs.ogsbase, image->layout().thread_offset);
    EXPECT_EQ(image->config().authority_key, kSmall.authority_key);
    EXPECT_STREQ(image->config().label.data(), "a test");
    EXPECT_EQ(image->soft_enclu_offset(), ElfFixture::kSoftEnclu);
}

TEST(ImageTest, each_thread_has_its_own_stack_tcs_and_frames) {
    ImageOptions options = kSmall;
    options.thread_count = 3;
    const auto image = EnclaveImage::build(prepared({}, options));
    ASSERT_TRUE(image.has_value()) << image.error();
    const EnclaveLayout& layout = image->layout();
    const auto& regions = image->regions();
    ASSERT_EQ(regions.size(), 13u);
    for (std::size_t i = 0; i < 3; ++i) {
        const std::uint64_t shift = i * layout.thread_stride();
        EXPECT_EQ(regions[4 + 3 * i].offset, layout.stack_offset + shift);
        const auto tcs = *Reader{regions[5 + 3 * i].contents}.take<Tcs>();
        EXPECT_EQ(regions[5 + 3 * i].offset, layout.tcs_offset + shift);
        EXPECT_EQ(tcs.oentry, ElfFixture::kCode);
        EXPECT_EQ(tcs.ossa, layout.ssa_offset + shift);
        EXPECT_EQ(tcs.ogsbase, layout.thread_offset + shift);
        EXPECT_EQ(regions[6 + 3 * i].offset, layout.ssa_offset + shift);
        if (i == 0) continue;
        EXPECT_GT(regions[4 + 3 * i].offset, regions[3 + 3 * i].offset + regions[3 + 3 * i].size)
            << "no guard between two threads";
    }
}

// The records of Intel SDM vol. 3D, 40.3, written down a second time, page after page.
TEST(ImageTest, mrenclave_is_the_hash_of_the_record_stream) {
    const std::vector<std::uint8_t> elf = prepared();
    const auto image = EnclaveImage::build(elf);
    ASSERT_TRUE(image.has_value());
    const EnclaveLayout& layout = image->layout();
    std::vector<std::uint8_t> stream;
    const auto record = [&stream](std::string_view tag, auto... fields) {
        std::vector<std::uint8_t> bytes(64);
        std::copy(tag.begin(), tag.end(), bytes.begin());
        std::size_t at = 8;
        ((std::memcpy(bytes.data() + at, &fields, sizeof fields), at += sizeof fields), ...);
        stream.insert(stream.end(), bytes.begin(), bytes.end());
    };
    const auto page = [&](std::uint64_t offset, std::uint64_t flags, const std::uint8_t* contents) {
        record("EADD", offset, flags);
        if (contents == nullptr) return;
        for (std::uint64_t chunk = 0; chunk < 4096; chunk += 256) {
            record("EEXTEND", offset + chunk);
            stream.insert(stream.end(), contents + chunk, contents + chunk + 256);
        }
    };
    const std::vector<std::uint8_t> zero(4096);
    std::vector<std::uint8_t> code(4096);
    std::copy_n(elf.begin() + 0x3000, 0x800, code.begin());
    std::vector<std::uint8_t> data(4096);
    std::copy_n(elf.begin() + 0x4000, 16, data.begin());
    Tcs tcs{};
    tcs.ossa = layout.ssa_offset;
    tcs.nssa = 2;
    tcs.oentry = 0x2000;
    tcs.ofsbase = tcs.ogsbase = layout.thread_offset;
    tcs.fslimit = tcs.gslimit = 0xfff;

    record("ECREATE", std::uint32_t{1}, layout.elrange_size);
    page(0x0000, 0x201, elf.data() + 0x1000);
    page(0x1000, 0x201, elf.data() + 0x2000);
    page(0x2000, 0x205, code.data());
    page(0x3000, 0x203, data.data());
    page(0x4000, 0x203, zero.data());
    for (std::uint64_t offset = 0; offset < kSmall.heap_size; offset += 4096)
        page(0x6000 + offset, 0x203, nullptr);
    for (std::uint64_t offset = 0; offset < kSmall.stack_size; offset += 4096)
        page(0x17000 + offset, 0x203, nullptr);
    page(0x20000, 0x100, bytes_of(tcs).data());
    page(0x21000, 0x203, zero.data());
    page(0x22000, 0x203, zero.data());
    page(0x23000, 0x203, zero.data());

    wire::Digest expected{};
    SHA256(stream.data(), stream.size(), expected.data());
    EXPECT_EQ(image->measure(), expected);

    std::vector<std::uint8_t> sgxs;
    image->measured_stream(
        [&](Bytes piece) { sgxs.insert(sgxs.end(), piece.begin(), piece.end()); });
    EXPECT_EQ(sgxs, stream);
}

TEST(ImageTest, mrenclave_changes_with_everything_that_is_loaded) {
    const wire::Digest before = measurement(prepared());
    EXPECT_EQ(measurement(prepared()), before);

    std::vector<std::uint8_t> changed = prepared();
    changed[ElfFixture::kFileShift + ElfFixture::kCode + 0x7ff] ^= 1;
    EXPECT_NE(measurement(changed), before);
    changed = prepared();
    changed[ElfFixture::kFileShift + ElfFixture::kData] ^= 1;
    EXPECT_NE(measurement(changed), before);

    ImageOptions other = kSmall;
    other.authority_key[31] ^= 1;
    EXPECT_NE(measurement(prepared({}, other)), before);
    other = kSmall;
    other.label = "A test";
    EXPECT_NE(measurement(prepared({}, other)), before);
    other = kSmall;
    other.heap_size += kPageSize;
    EXPECT_NE(measurement(prepared({}, other)), before);
    other = kSmall;
    other.stack_size += kPageSize;
    EXPECT_NE(measurement(prepared({}, other)), before);
    other = kSmall;
    other.heap_max = kSmall.heap_size + kPageSize;
    EXPECT_NE(measurement(prepared({}, other)), before);
    other = kSmall;
    other.thread_count = 2;
    EXPECT_NE(measurement(prepared({}, other)), before);

    ElfFixture writable;
    writable.segment(ElfFixture::kDataHeader).p_flags = PF_R;
    EXPECT_NE(measurement(prepared(writable)), before);
    ElfFixture entry;
    entry.put(offsetof(Elf64_Ehdr, e_entry), ElfFixture::kCode + 16);
    EXPECT_NE(measurement(prepared(entry)), before);
}

TEST(ImageTest, mrenclave_does_not_change_with_what_is_not_loaded) {
    std::vector<std::uint8_t> changed = prepared();
    changed.back() ^= 1;
    EXPECT_EQ(measurement(changed), measurement(prepared()));
}

TEST(ImageTest, an_unsigned_file_or_a_changed_layout_is_refused) {
    EXPECT_NE(EnclaveImage::build(ElfFixture{}.bytes).error().find("not signed yet"),
              std::string::npos);
    std::vector<std::uint8_t> changed = prepared();
    changed[ElfFixture::kFileShift + ElfFixture::kLayout + offsetof(EnclaveLayout, tcs_offset)] ^=
        0x10;
    EXPECT_NE(EnclaveImage::build(changed).error().find("layout record"), std::string::npos);
    changed = prepared();
    changed[ElfFixture::kFileShift + ElfFixture::kSoftEnclu] = 1;
    EXPECT_NE(EnclaveImage::build(changed).error().find("soft_enclu"), std::string::npos);
}

TEST(ImageTest, room_to_grow_is_address_space_without_pages) {
    ImageOptions options = kSmall;
    options.heap_max = kSmall.heap_size + 16 * kPageSize;
    const auto fixed = EnclaveImage::build(prepared()).value();
    const auto growing = EnclaveImage::build(prepared({}, options)).value();
    EXPECT_EQ(growing.page_count(), fixed.page_count());
    EXPECT_EQ(growing.layout().stack_offset, fixed.layout().stack_offset + 16 * kPageSize);
    const std::uint64_t room = growing.layout().heap_offset + growing.layout().heap_size;
    for (const Region& region : growing.regions())
        EXPECT_TRUE(region.offset + region.size <= room ||
                    region.offset >= room + 16 * kPageSize + kPageSize)
            << region.name;
}

TEST(ImageTest, options_out_of_range_are_refused) {
    ImageOptions options = kSmall;
    options.heap_size = 100;
    EXPECT_FALSE(prepare_image(ElfFixture{}.bytes, options).has_value());
    options = kSmall;
    options.heap_max = kSmall.heap_size - kPageSize;
    EXPECT_FALSE(prepare_image(ElfFixture{}.bytes, options).has_value());
    options = kSmall;
    options.label = std::string(65, 'x');
    EXPECT_NE(prepare_image(ElfFixture{}.bytes, options).error().find("64"), std::string::npos);
}

TEST(ElfTest, files_that_are_no_enclave_are_refused_with_the_reason) {
    const auto expect_refused = [](auto change, std::string_view reason) {
        ElfFixture elf;
        change(elf);
        const auto result = prepare_image(elf.bytes, kSmall);
        ASSERT_FALSE(result.has_value()) << reason;
        EXPECT_NE(result.error().find(reason), std::string::npos) << result.error();
    };
    using Elf = ElfFixture;
    expect_refused([](Elf& elf) { elf.bytes[0] = 0; }, "not an ELF file");
    expect_refused([](Elf& elf) { elf.bytes.resize(40); }, "not an ELF file");
    expect_refused([](Elf& elf) { elf.bytes[EI_CLASS] = ELFCLASS32; }, "not for x86-64");
    expect_refused([](Elf& elf) { elf.put(offsetof(Elf64_Ehdr, e_type), Elf64_Half{ET_EXEC}); },
                   "position independent");
    expect_refused([](Elf& elf) { elf.put(offsetof(Elf64_Ehdr, e_phoff), ~Elf64_Off{0}); },
                   "program headers");
    expect_refused([](Elf& elf) { elf.put(offsetof(Elf64_Ehdr, e_shoff), Elf64_Off{0x4fff}); },
                   "section headers");
    expect_refused([](Elf& elf) { elf.put(offsetof(Elf64_Ehdr, e_shnum), Elf64_Half{0}); },
                   "stripped");
    expect_refused([](Elf& elf) { elf.put(offsetof(Elf64_Ehdr, e_entry), Elf64_Addr{0x3000}); },
                   "entry point");
    expect_refused([](Elf& elf) { elf.segment(Elf::kDataHeader).p_flags |= PF_X; },
                   "writable and executable");
    expect_refused([](Elf& elf) { elf.segment(Elf::kDataHeader).p_vaddr = 0x2000; }, "overlaps");
    expect_refused([](Elf& elf) { elf.segment(Elf::kDataHeader).p_vaddr = 0x3008; },
                   "page boundary");
    expect_refused([](Elf& elf) { elf.segment(Elf::kDataHeader).p_filesz = 0x8000; }, "cut off");
    expect_refused([](Elf& elf) { elf.segment(Elf::kDataHeader).p_memsz = ~Elf64_Xword{0}; },
                   "ends above");
    expect_refused([](Elf& elf) { elf.segment(Elf::kDataHeader).p_type = PT_TLS; }, "thread-local");
    expect_refused([](Elf& elf) { elf.segment(Elf::kDataHeader).p_type = PT_INTERP; },
                   "dynamic linker");
    expect_refused([](Elf& elf) { elf.bytes[0x4401] = 'x'; }, "no symbol sgm_enclave_layout");
    // soft_enclu moved into writable data.
    expect_refused(
        [](Elf& elf) {
            elf.put(0x4500 + 3 * sizeof(Elf64_Sym) + offsetof(Elf64_Sym, st_value), Elf::kData);
        },
        "read-only data");
}

TEST(ElfTest, every_truncation_gives_one_sentence) {
    const std::vector<std::uint8_t> whole = prepared();
    for (std::size_t size = 0; size < whole.size(); size += size < 0x400 ? 1 : 37) {
        // A copy of exactly this size: reading past it is seen by ASan.
        const std::vector<std::uint8_t> cut(whole.begin(),
                                            whole.begin() + static_cast<std::ptrdiff_t>(size));
        const auto image = EnclaveImage::build(cut);
        if (image.has_value()) {
            // Only what is not loaded and not needed to find the symbols is missing.
            EXPECT_GE(size, 0x4800 + 3 * sizeof(Elf64_Shdr));
            continue;
        }
        EXPECT_FALSE(image.error().empty());
        EXPECT_EQ(image.error().find('\n'), std::string::npos);
    }
}

TEST(ElfTest, no_mutation_breaks_the_parser) {
    const std::vector<std::uint8_t> whole = prepared();
    // Where the parser looks: headers, symbols, names, sections, the two records.
    constexpr std::pair<std::size_t, std::size_t> kParsed[] = {{0, 64 + 3 * 56}, {0x4400, 51},
                                                               {0x4500, 4 * 24}, {0x4800, 3 * 64},
                                                               {0x1000, 16},     {0x2000, 96}};
    std::mt19937 random{2026};
    int accepted = 0;
    for (int i = 0; i < 20'000; ++i) {
        std::vector<std::uint8_t> mutated = whole;
        for (std::size_t count = 1 + random() % 3; count > 0; --count) {
            const auto [start, size] = kParsed[random() % std::size(kParsed)];
            constexpr std::uint8_t kExtremes[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
            mutated[start + random() % size] =
                random() % 2 != 0 ? kExtremes[random() % 5] : static_cast<std::uint8_t>(random());
        }
        if (const auto image = EnclaveImage::build(mutated)) {
            ++accepted;
            EXPECT_LT(image->layout().image_end, kMaxImageSize + 1);
        } else {
            EXPECT_FALSE(image.error().empty());
        }
    }
    EXPECT_GT(accepted, 0);
    EXPECT_LT(accepted, 15'000);
}

}  // namespace
}  // namespace sgm::sgx

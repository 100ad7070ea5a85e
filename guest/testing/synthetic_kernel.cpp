// SPDX-License-Identifier: MIT
#include "guest/testing/synthetic_kernel.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>
#include <utility>

#include "guest/testing/btf_builder.hpp"
#include "guest/testing/kallsyms_builder.hpp"

namespace sgm::guest::testing {
namespace {

constexpr std::uint64_t kStartKernelMap = 0xffff'ffff'8000'0000;
constexpr std::uint64_t kHeap = 0xffff'8880'0000'0000;

// The kernel image while it is put together.
class Image final {
  public:
    explicit Image(std::uint64_t address) : address_{address} {}

    // Returns the guest-virtual address of what is appended.
    std::uint64_t append(Bytes bytes, std::size_t alignment = 8) {
        bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
        const std::uint64_t at = end();
        bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
        return at;
    }
    template <typename T>
    std::uint64_t append_array(const T& values) {
        return append({reinterpret_cast<const std::uint8_t*>(values.data()),
                       values.size() * sizeof values[0]});
    }
    // Where the next thing will lie.
    [[nodiscard]] std::uint64_t next() const { return address_ + align8(bytes_.size()); }
    [[nodiscard]] std::uint64_t end() const { return address_ + bytes_.size(); }
    [[nodiscard]] const std::vector<std::uint8_t>& bytes() const { return bytes_; }

  private:
    std::uint64_t address_;
    std::vector<std::uint8_t> bytes_;
};

std::string line(const char* format, auto... values) {
    char text[160];
    std::snprintf(text, sizeof text, format, values...);
    return text;
}

}  // namespace

SyntheticKernel::SyntheticKernel(SyntheticOptions options)
    : options_{std::move(options)}, vm_{options_.ram_size, options_.paging} {
    std::mt19937_64 random{options_.seed};
    const std::uint64_t kernel_offset = (random() % 100) << 21;
    image_address_ = 0xffff'ffff'8100'0000 + kernel_offset;
    image_physical_ = (1 + random() % 8) << 21;
    heap_ = kHeap;
    if (options_.task_stride != 0) {
        heap_ += options_.ram_size / 2;
        for (std::uint64_t at = 0; at < options_.ram_size; at += 2u << 20)
            vm_.map(kHeap + at, at, hypervisor::testing::PageSize::k2M);
    }
    vm_.vcpus.front().valid = 0;

    Image image{image_address_};
    std::vector<std::uint8_t> text(64 << 10);
    std::ranges::generate(text, [&] { return static_cast<std::uint8_t>(random()); });
    const std::uint64_t stext = image.append(text);
    std::vector<std::uint8_t> uts(512);
    std::ranges::copy("Linux", uts.begin() + 4);
    std::ranges::copy(options_.release, uts.begin() + 4 + 2 * 65);
    const std::uint64_t init_uts_ns = image.append(uts);
    const std::vector<std::uint8_t> btf = make_btf(random);
    const std::uint64_t start_btf = image.append(btf, 4);
    const std::uint64_t stop_btf = image.end();
    init_task_ = image.append(std::vector<std::uint8_t>(4096), 64);  // and its cred behind

    std::vector<Symbol> symbols =
        generate_symbols(random, options_.symbol_count, image_address_ + 64);
    symbols.insert(symbols.end(), {{'T', "_stext", stext},
                                   {'D', "init_uts_ns", init_uts_ns},
                                   {'D', "init_task", init_task_}});
    if (options_.has_btf)
        symbols.insert(symbols.end(),
                       {{'D', "__start_BTF", start_btf}, {'D', "__stop_BTF", stop_btf}});
    std::ranges::sort(symbols, {}, [](const Symbol& symbol) {
        return std::pair{symbol.address, std::string_view{symbol.name}};
    });
    if (options_.encoding == OffsetEncoding::absolute_percpu)
        symbols.insert(symbols.begin(), {'A', "fixed_percpu_data", 0});
    KallsymsTables tables = compress_names(random, symbols, options_.names_kallsyms);
    const std::vector<std::uint32_t> marks = markers(tables, symbols.size());
    const std::array<std::uint32_t, 2> count{static_cast<std::uint32_t>(symbols.size()), 0};
    KallsymsAddresses at{};
    const auto append_offsets = [&] {
        encode_offsets(tables, symbols, options_.encoding, image_address_, image.next());
        at.offsets = image.append_array(tables.offsets);
        if (options_.encoding != OffsetEncoding::place_relative)
            at.relative_base = image.append(bytes_of(tables.relative_base));
    };
    if (!options_.names_kallsyms) append_offsets();
    at.num_syms = image.append_array(count);
    at.names = image.append(tables.names);
    image.append_array(marks);
    at.token_table = image.append(tables.token_table);
    at.token_index = image.append_array(tables.token_index);
    if (options_.names_kallsyms) append_offsets();
    image.append(std::vector<std::uint8_t>(64 << 10));  // rodata goes on

    image_size_ = (image.bytes().size() + 4095) & ~std::uint64_t{4095};
    vm_.write(image_physical_, image.bytes());
    for (std::uint64_t page = 0; page < image_size_; page += 4096)
        vm_.map(image_address_ + page, image_physical_ + page);

    const std::uint64_t phys_base = image_physical_ - (image_address_ - kStartKernelMap);
    const auto hex = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
    vmcoreinfo_ =
        "OSRELEASE=" + options_.release + "\n" +
        "BUILD-ID=0123456789abcdef0123456789abcdef01234567\nPAGESIZE=4096\n" +
        line("SYMBOL(init_uts_ns)=%llx\n", hex(init_uts_ns)) +
        line("SYMBOL(swapper_pg_dir)=%llx\n", hex(vm_.root() - phys_base + kStartKernelMap)) +
        line("SYMBOL(_stext)=%llx\n", hex(stext));
    if (options_.names_kallsyms) {
        vmcoreinfo_ += line("SYMBOL(kallsyms_names)=%llx\n", hex(at.names)) +
                       line("SYMBOL(kallsyms_num_syms)=%llx\n", hex(at.num_syms)) +
                       line("SYMBOL(kallsyms_token_table)=%llx\n", hex(at.token_table)) +
                       line("SYMBOL(kallsyms_token_index)=%llx\n", hex(at.token_index)) +
                       line("SYMBOL(kallsyms_offsets)=%llx\n", hex(at.offsets));
        if (at.relative_base)
            vmcoreinfo_ += line("SYMBOL(kallsyms_relative_base)=%llx\n", hex(*at.relative_base));
    }
    vmcoreinfo_ += line("NUMBER(phys_base)=%lld\n", static_cast<long long>(phys_base)) +
                   line("NUMBER(pgtable_l5_enabled)=%d\n",
                        options_.paging == wire::Paging::five_level ? 1 : 0) +
                   line("KERNELOFFSET=%llx\n", hex(kernel_offset)) + "NUMBER(sme_mask)=0\n";
    vmcoreinfo_page_ = vm_.allocate_page();
    write_vmcoreinfo(vmcoreinfo_, vmcoreinfo_page_);

    set_tasks(std::exchange(options_.tasks, {}));
}

std::vector<std::uint8_t> SyntheticKernel::make_btf(std::mt19937_64& random) {
    // Slots of 16 bytes in any order.
    std::vector<std::uint32_t> slots(200);
    for (std::size_t i = 0; i < slots.size(); ++i)
        slots[i] = static_cast<std::uint32_t>(16 * i);
    std::ranges::shuffle(slots, random);
    at_ = {.tasks = slots[0],
           .pid = slots[1],
           .tgid = slots[1] + 4,
           .real_parent = slots[2],
           .real_cred = slots[3],
           .comm = slots[4],
           .state = slots[5],
           .exit_state = slots[6],
           .start_time = slots[7],
           .size = static_cast<std::uint32_t>(16 * slots.size()),
           .uid = static_cast<std::uint32_t>(8 * (random() % 4))};

    BtfBuilder btf;
    const std::uint32_t type_int = btf.integer("int", 4);
    const std::uint32_t type_long = btf.integer("long", 8);
    const std::uint32_t type_char = btf.integer("char", 1);
    const std::uint32_t type_u32 = btf.qualifier(8, type_int, "u32");
    const std::uint32_t volatile_u32 = btf.qualifier(9, type_u32);
    const std::uint32_t volatile_long = btf.qualifier(9, type_long);
    const std::uint32_t pid_t = btf.qualifier(8, type_int, "pid_t");
    const std::uint32_t list_pointer = btf.pointer(0);
    const std::uint32_t list_head =
        btf.structure("list_head", 16, {{"next", list_pointer, 0}, {"prev", list_pointer, 8}});
    const std::uint32_t kuid = btf.structure({}, 4, {{"val", type_u32, 0}});
    const std::uint32_t kuid_t = btf.qualifier(8, kuid, "kuid_t");
    const std::uint32_t cred =
        btf.structure("cred", 128, {{"usage", type_int, 100}, {"uid", kuid_t, at_.uid}});
    const std::uint32_t const_cred = btf.qualifier(10, cred);
    const std::uint32_t cred_pointer = btf.pointer(const_cred);
    const std::uint32_t comm = btf.array(type_char, 16);
    // pid and tgid lie in an anonymous struct, as members do under RANDSTRUCT.
    const std::uint32_t ids = btf.structure({}, 8, {{"pid", pid_t, 0}, {"tgid", pid_t, 4}});
    const bool old = options_.old_names;
    btf.structure("task_struct", at_.size,
                  {{"tasks", list_head, at_.tasks},
                   {{}, ids, at_.pid},
                   {"real_parent", list_pointer, at_.real_parent},
                   {"real_cred", cred_pointer, at_.real_cred},
                   {"comm", comm, at_.comm},
                   {old ? "state" : "__state", old ? volatile_long : volatile_u32, at_.state},
                   {"exit_state", type_int, at_.exit_state},
                   {old ? "real_start_time" : "start_boottime", type_long, at_.start_time}});
    return btf.build();
}

void SyntheticKernel::write_task(std::uint64_t address, const SyntheticTask& task,
                                 std::uint64_t parent) {
    const std::uint64_t cred = address + 4096 - 256;  // behind the task, in the same page
    std::array<char, 16> comm{};
    std::copy_n(task.comm.begin(), std::min<std::size_t>(task.comm.size(), 15), comm.begin());
    const auto put = [&](std::uint64_t at, const auto& value) {
        vm_.write_virtual(at, bytes_of(value));
    };
    put(address + at_.pid, task.pid);
    put(address + at_.tgid, task.pid);
    put(address + at_.real_parent, parent);
    put(address + at_.real_cred, cred);
    put(cred + at_.uid, task.uid);
    put(address + at_.comm, comm);
    put(address + at_.state, task.state);
    put(address + at_.exit_state, task.exit_state);
    put(address + at_.start_time, task.start_time_ns);
}

void SyntheticKernel::set_tasks(std::vector<SyntheticTask> tasks) {
    std::vector<Placed> placed;
    for (SyntheticTask& task : tasks) {
        const auto before = std::ranges::find_if(placed_, [&](const Placed& old) {
            return old.task.pid == task.pid && old.task.start_time_ns == task.start_time_ns;
        });
        std::uint64_t address = 0;
        if (before != placed_.end()) {
            address = before->address;
        } else {
            address = heap_;
            heap_ += std::max<std::uint64_t>(options_.task_stride, 4096);
            if (options_.task_stride == 0) vm_.map_new(address, 4096);
        }
        placed.push_back({std::move(task), address});
    }
    placed_ = std::move(placed);
    write_task(init_task_,
               {.pid = 0, .ppid = 0, .uid = 0, .comm = "swapper/0", .state = 0, .start_time_ns = 0},
               init_task_);
    std::vector<std::uint64_t> links{init_task_ + at_.tasks};
    for (const Placed& here : placed_) {
        write_task(here.address, here.task,
                   here.task.ppid == 0 ? init_task_ : task(here.task.ppid));
        links.push_back(here.address + at_.tasks);
    }
    vm_.link(links, links.front());
}

std::uint64_t SyntheticKernel::task(std::int32_t pid) const {
    const auto found =
        std::ranges::find_if(placed_, [&](const Placed& here) { return here.task.pid == pid; });
    if (found == placed_.end()) std::abort();
    return found->address;
}

void SyntheticKernel::set_registers() {
    wire::Registers& registers = vm_.vcpus.front();
    registers.valid = wire::kRegCr0 | wire::kRegCr3;
    registers.cr0 = 0x8000'0001;
    registers.cr3 = vm_.root();
}

void SyntheticKernel::write_vmcoreinfo(const std::string& text, std::uint64_t page) {
    std::vector<std::uint8_t> bytes(4096);
    std::copy_n(text.begin(), std::min<std::size_t>(text.size(), 4096), bytes.begin());
    vm_.write(page, bytes);
}

}  // namespace sgm::guest::testing

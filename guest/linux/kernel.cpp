// SPDX-License-Identifier: MIT
#include "guest/linux/kernel.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "guest/linux/tasks.hpp"
#include "guest/text.hpp"

namespace sgm::guest {
namespace {

// Any program in the guest can fill pages that begin like VMCOREINFO; beyond this many the guest
// is reported instead of searched. Each costs one page to read and to parse.
constexpr std::size_t kMaxPages = 4096;
constexpr std::size_t kPagesAtOnce = 64;
// Kernels that are really there: more than one only after a warm reboot or a kexec.
constexpr std::size_t kMaxCandidates = 4;
constexpr std::uint32_t kMaxProcessors = 8;
constexpr std::size_t kMaxWhy = 127;  // wire::Heartbeat::reason, terminating zero included

// Page-table entries: accessed and dirty change under our eyes (Intel SDM vol. 3A, table 4-15).
constexpr std::uint64_t kAccessedDirty = 0x60;
constexpr std::uint64_t kAddressBits = 0x000f'ffff'ffff'f000;
constexpr std::uint64_t kCr0Paging = std::uint64_t{1} << 31;
// The last entry of the top page table maps the kernel image in every address space.
constexpr std::uint64_t kKernelEntry = 511 * 8;

std::unexpected<AttachError> unsupported(std::string_view why, std::string_view release) {
    std::string sentence{"unsupported kernel: "};
    sentence += why;
    sentence.resize(std::min(sentence.size(), kMaxWhy));
    return std::unexpected{AttachError{.kind = AttachError::Kind::unsupported,
                                       .why = std::move(sentence),
                                       .release = std::string{release}}};
}

std::unexpected<AttachError> no_kernel(std::string_view why) {
    return std::unexpected{
        AttachError{.kind = AttachError::Kind::no_kernel, .why = std::string{why}}};
}

std::unexpected<AttachError> no_memory(const Failure& failure) {
    const auto kind = failure.error == Error::unreadable ? AttachError::Kind::unreadable
                                                         : AttachError::Kind::memory;
    std::string why = describe(failure);
    why.resize(std::min(why.size(), kMaxWhy));
    return std::unexpected{AttachError{.kind = kind, .why = std::move(why), .failure = failure}};
}

// What the virtual processors say about which kernel runs.
struct Processors {
    bool known = false;                  // the port can read CR0 and CR3
    std::vector<std::uint64_t> entries;  // kernel entries of the page tables in use
    std::vector<std::uint64_t> roots;    // of page tables that have one
};

std::uint64_t stable(std::uint64_t entry) {
    return entry & ~kAccessedDirty;
}

std::expected<Processors, Failure> look_at_processors(Memory& memory, std::uint32_t count) {
    Processors processors;
    for (std::uint32_t vcpu = 0; vcpu < std::min(count, kMaxProcessors); ++vcpu) {
        const auto registers = memory.registers(vcpu);
        if (!registers) {
            if (registers.error().error == Error::unsupported) return processors;
            return std::unexpected{registers.error()};
        }
        constexpr std::uint64_t kNeeded = wire::kRegCr0 | wire::kRegCr3;
        if ((registers->valid & kNeeded) != kNeeded) continue;
        processors.known = true;
        if ((registers->cr0 & kCr0Paging) == 0) continue;
        // With page-table isolation, user mode runs on a second top table in the odd page behind
        // the kernel's (kernel arch/x86/include/asm/pgtable.h, kernel_to_user_pgdp).
        const std::uint64_t root = registers->cr3 & kAddressBits;
        for (const std::uint64_t table : {root, root & ~std::uint64_t{0x1000}}) {
            const auto entry = memory.read_value<std::uint64_t>(kPhysical, table + kKernelEntry);
            if (const auto lost = memory.lost()) return std::unexpected{*lost};
            if (!entry || (*entry & 1) == 0) continue;
            processors.entries.push_back(stable(*entry));
            processors.roots.push_back(table);
        }
    }
    return processors;
}

// Whether a candidate's own addresses fit together: its page tables map its image to where it says
// the image is, and the name space of the host name there holds its release. A PV kernel of Xen
// says where the image is in an address space of its own.
bool is_consistent(Memory& memory, const Vmcoreinfo& info) {
    std::array<std::uint8_t, 64> mapped{};
    std::array<std::uint8_t, 64> direct{};
    std::array<std::uint8_t, 512> uts{};  // struct uts_namespace: 6 names of 65 bytes come early
    const auto stext =
        info.root
            ? ReadItem{.space = info.space(), .address = info.stext, .out = direct}
            : ReadItem{
                  .space = kPhysical, .address = info.image_physical(info.stext), .out = direct};
    std::array<ReadItem, 3> items{
        ReadItem{.space = info.space(), .address = info.stext, .out = mapped}, stext,
        ReadItem{.space = info.space(), .address = info.init_uts_ns, .out = uts}};
    if (!memory.read_each(items)) return false;
    for (const ReadItem& item : items)
        if (item.got != item.out.size()) return false;
    const std::string_view names{reinterpret_cast<const char*>(uts.data()), uts.size()};
    return mapped == direct && names.find(info.release) != std::string_view::npos;
}

// Where a page table maps an address to.
std::optional<std::uint64_t> physical_of(Memory& memory, AddressSpace space,
                                         std::uint64_t address) {
    constexpr std::uint64_t kLarge = 0x80;
    std::uint64_t table = space.root;
    for (unsigned shift = space.paging == wire::Paging::five_level ? 48 : 39;; shift -= 9) {
        const auto entry = memory.read_value<std::uint64_t>(
            kPhysical, table + ((address >> shift) & 511) * sizeof(std::uint64_t));
        if (!entry || (*entry & 1) == 0) return std::nullopt;
        const std::uint64_t offset = (std::uint64_t{1} << shift) - 1;
        if (shift == 12 || (shift <= 30 && (*entry & kLarge) != 0))
            return (*entry & kAddressBits & ~offset) | (address & offset);
        table = *entry & kAddressBits;
    }
}

// A PV kernel of Xen counts physical addresses from 0; its page tables, and so the processors',
// hold those of the machine. Its own page table is where the one that runs maps it.
bool find_root(Memory& memory, Vmcoreinfo& info, const Processors& processors) {
    for (const std::uint64_t root : processors.roots) {
        info.root =
            physical_of(memory, {.root = root, .paging = info.space().paging}, info.swapper_pg_dir);
        if (info.root && is_consistent(memory, info)) return true;
    }
    return false;
}

bool is_running(Memory& memory, const Vmcoreinfo& info, const Processors& processors) {
    if (!processors.known) return true;
    const auto entry =
        memory.read_value<std::uint64_t>(kPhysical, info.space().root + kKernelEntry);
    return entry &&
           std::ranges::find(processors.entries, stable(*entry)) != processors.entries.end();
}

std::expected<Btf, std::string> load_btf(Memory& memory, AddressSpace space, std::uint64_t start,
                                         std::uint64_t stop) {
    if (stop <= start || stop - start > kMaxBtfSize)
        return std::unexpected{std::string{text(BtfError::too_large)}};
    std::vector<std::uint8_t> raw(static_cast<std::size_t>(stop - start));
    if (const auto done = memory.read(space, start, raw); !done)
        return std::unexpected{"its BTF could not be read: " + describe(done.error())};
    auto btf = Btf::parse(std::move(raw));
    if (!btf) return std::unexpected{std::string{text(btf.error())}};
    return std::move(*btf);
}

}  // namespace

std::string_view text(Source source) {
    switch (source) {
        case Source::vmcoreinfo: return "vmcoreinfo";
        case Source::kallsyms: return "kallsyms";
        case Source::btf: return "btf";
        case Source::self_check: return "self-check";
        case Source::processor: return "processor";
    }
    return "unknown";
}

class Attacher final {
  public:
    explicit Attacher(Memory& memory) : memory_{memory} {}

    std::expected<Kernel, AttachError> attach() {
        const auto description = memory_.describe();
        if (!description) return no_memory(description.error());
        if (description->result.readability != wire::Readability::readable)
            return no_memory(Failure{Error::unreadable});
        const auto processors = look_at_processors(memory_, description->result.vcpu_count);
        if (!processors) return no_memory(processors.error());
        if (processors->known && processors->entries.empty())
            return no_kernel("no kernel yet: no processor has paging on");

        if (auto found = find_candidates(description->ranges, *processors); !found)
            return std::unexpected{found.error()};
        if (candidates_.empty()) {
            if (!stale_.empty())
                return no_kernel("no kernel yet: the one in memory is not running");
            if (rejected_) return unsupported(text(*rejected_), {});
            return no_kernel("no kernel yet: no VMCOREINFO in the guest's memory");
        }

        auto outcome = understand(std::move(candidates_.front()), processors->known);
        for (std::size_t i = 1; i < candidates_.size() && !memory_.lost(); ++i) {
            auto other = understand(std::move(candidates_[i]), processors->known);
            if (outcome && other)
                return unsupported("two are in memory, and no register tells which of them runs",
                                   other->release());
            if (other) outcome = std::move(other);
        }
        if (const auto lost = memory_.lost()) return no_memory(*lost);
        return outcome;
    }

  private:
    // Fills candidates_ with what looks like a kernel that runs.
    std::expected<void, AttachError> find_candidates(const std::vector<wire::RamRange>& ranges,
                                                     const Processors& processors) {
        std::vector<std::uint64_t> pages;
        for (const wire::RamRange& range : ranges) {
            const auto matches = memory_.search(
                {.pattern = {reinterpret_cast<const std::uint8_t*>(kVmcoreinfoStart.data()),
                             kVmcoreinfoStart.size()},
                 .alignment = 4096,
                 .start = range.start,
                 .end = range.start + range.size,
                 .max_matches = kMaxPages - pages.size()});
            if (!matches) return no_memory(matches.error());
            if (!matches->complete)
                return unsupported("too many pages of the guest look like VMCOREINFO", {});
            pages.insert(pages.end(), matches->addresses.begin(), matches->addresses.end());
        }
        std::vector<std::uint8_t> bytes(kPagesAtOnce * kVmcoreinfoSize);
        for (std::size_t begin = 0; begin < pages.size(); begin += kPagesAtOnce) {
            std::vector<ReadItem> items;
            for (std::size_t i = 0; i < std::min(kPagesAtOnce, pages.size() - begin); ++i)
                items.push_back(
                    {.space = kPhysical,
                     .address = pages[begin + i],
                     .out = MutableBytes{bytes}.subspan(i * kVmcoreinfoSize, kVmcoreinfoSize)});
            if (const auto done = memory_.read_each(items); !done) return no_memory(done.error());
            for (const ReadItem& item : items) {
                auto info = parse_vmcoreinfo(item.out.first(item.got));
                if (!info && info.error() != VmcoreinfoError::not_vmcoreinfo)
                    rejected_ = info.error();
                if (!info) continue;
                if (!is_consistent(memory_, *info) && !find_root(memory_, *info, processors))
                    continue;
                if (!is_running(memory_, *info, processors)) {
                    stale_ = info->release;
                    continue;
                }
                if (candidates_.size() == kMaxCandidates)
                    return unsupported("too many of them are in memory", info->release);
                candidates_.push_back(std::move(*info));
            }
        }
        if (const auto lost = memory_.lost()) return no_memory(*lost);
        return {};
    }

    std::expected<Kernel, AttachError> understand(Vmcoreinfo info, bool processor_agrees) {
        Kernel kernel;
        kernel.info_ = std::move(info);
        kernel.space_ = kernel.info_.space();
        const std::string& release = kernel.info_.release;

        auto symbols = Kallsyms::load(memory_, kernel.info_);
        if (!symbols) return unsupported(text(symbols.error()), release);
        kernel.symbols_ = std::move(*symbols);
        std::array<SymbolQuery, 3> queries{SymbolQuery{kInitTask.name}, SymbolQuery{"__start_BTF"},
                                           SymbolQuery{"__stop_BTF"}};
        kernel.symbols_.find(queries);
        const auto& [init_task, start_btf, stop_btf] = queries;
        if (!init_task.found)
            return unsupported("its symbol table (kallsyms) lacks init_task", release);
        if (!start_btf.found || !stop_btf.found || start_btf.address == stop_btf.address)
            return unsupported("kernel has no BTF type information (CONFIG_DEBUG_INFO_BTF)",
                               release);
        kernel.init_task_ = init_task.address;

        const auto btf = load_btf(memory_, kernel.space_, start_btf.address, stop_btf.address);
        if (!btf) return unsupported(btf.error(), release);
        const auto layout = derive_layout(*btf);
        if (!layout) return unsupported(describe(layout.error()), release);
        kernel.layout_ = *layout;

        // The self-check of all of the above: init_task is the idle task, its list closes, and
        // the first process is in it.
        const auto processes = list_processes(memory_, kernel);
        if (!processes)
            return unsupported(
                "its process list does not hold together: " + describe(processes.error()), release);
        if (std::ranges::none_of(*processes, [](const auto& row) { return row.pid == 1; }))
            return unsupported("its process list lacks process 1", release);

        note_facts(kernel, start_btf.address, btf->type_count(), processes->size(),
                   processor_agrees);
        return kernel;
    }

    static void note_facts(Kernel& kernel, std::uint64_t btf, std::size_t btf_types,
                           std::size_t processes, bool processor_agrees) {
        const Vmcoreinfo& info = kernel.info_;
        const TaskLayout& task = kernel.layout_.task;
        kernel.facts_ = {
            {"page-table root, physical", kernel.space_.root, Source::vmcoreinfo},
            {"paging levels", static_cast<std::uint64_t>(kernel.space_.paging), Source::vmcoreinfo},
            {"virtual offset (KASLR)", info.kernel_offset, Source::vmcoreinfo},
            {"symbols", kernel.symbols_.size(), Source::kallsyms},
            {"init_task", kernel.init_task_, Source::kallsyms},
            {"__start_BTF", btf, Source::kallsyms},
            {"types", btf_types, Source::btf},
            {"sizeof(task_struct)", task.size, Source::btf},
            {"task_struct.tasks", task.tasks, Source::btf},
            {"task_struct.pid", task.pid, Source::btf},
            {"task_struct.tgid", task.tgid, Source::btf},
            {"task_struct.real_parent", task.real_parent, Source::btf},
            {"task_struct.real_cred", task.real_cred, Source::btf},
            {"task_struct.comm", task.comm, Source::btf},
            {"task_struct.__state", task.state, Source::btf},
            {"task_struct.exit_state", task.exit_state, Source::btf},
            {"task_struct.start_boottime", task.start_time, Source::btf},
            {"cred.uid", kernel.layout_.cred_uid, Source::btf},
            {"processes when attached, list closed", processes, Source::self_check},
        };
        if (processor_agrees)
            kernel.facts_.push_back(
                {"root in use by a processor", kernel.space_.root, Source::processor});
    }

    Memory& memory_;
    std::vector<Vmcoreinfo> candidates_;
    std::string stale_;                        // release of a consistent kernel that does not run
    std::optional<VmcoreinfoError> rejected_;  // why a page that said it was one was not
};

std::expected<Kernel, AttachError> Kernel::attach(Memory& memory) {
    return Attacher{memory}.attach();
}

}  // namespace sgm::guest

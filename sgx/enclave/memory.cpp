// SPDX-License-Identifier: MIT
// malloc and operator new over the one heap, and what else the C++ library wants of a system:
// everything that would throw or terminate leaves the enclave with a reason.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "sgx/enclave/enclu.hpp"
#include "sgx/enclave/heap.hpp"
#include "sgx/enclave/internal.hpp"
#include "sgx/enclave/runtime.hpp"

using sgm::enclave::Heap;
using sgm::wire::EnclaveResult;

namespace {

constexpr std::size_t kMaxReserve = std::size_t{4} << 20;
constexpr std::size_t kForLastWords = std::size_t{64} << 10;
// Pages are accepted so many bytes at a time: each costs an exception to the host and back.
constexpr std::uint64_t kGrowth = std::uint64_t{1} << 20;

constinit Heap heap;
constinit bool heap_taken = false;
constinit std::uint64_t heap_size = 0;  // bytes, with what it has grown by
constinit bool heap_grows = false;
// Blocks of the heap that nobody uses. A small heap has none.
constinit void* reserve = nullptr;
constinit void* for_last_words = nullptr;

struct LastWords {
    void (*say)(void* argument);
    void* argument;
};
constinit LastWords last_words{nullptr, nullptr};
constinit bool ending = false;

// The heap is one thread's at a time. A host that stops the thread which has it stops the enclave,
// as it can in other ways.
class HeapLock final {
  public:
    HeapLock() {
        while (__atomic_exchange_n(&heap_taken, true, __ATOMIC_ACQUIRE))
            __builtin_ia32_pause();
    }
    ~HeapLock() { __atomic_store_n(&heap_taken, false, __ATOMIC_RELEASE); }
    HeapLock(const HeapLock&) = delete;
    HeapLock& operator=(const HeapLock&) = delete;
};

std::uint8_t* heap_start() {
    // Ours: the layout is measured.
    return reinterpret_cast<std::uint8_t*>(  // NOLINT(performance-no-int-to-ptr)
        sgm::enclave::base() + sgm::enclave::layout().heap_offset);
}

// Takes pages from the host until there is room for `wanted` more, or the room to grow ends.
bool grow(std::size_t wanted) {
    const std::uint64_t room = sgm::enclave::layout().heap_max - heap_size;
    if (!heap_grows || wanted > room) return false;
    const std::uint64_t pages =
        (wanted + kGrowth + sgm::sgx::kPageSize - 1) & ~(sgm::sgx::kPageSize - 1);
    const std::uint64_t size = pages < room ? pages : room;
    std::uint64_t taken = 0;
    while (taken < size && sgm::enclave::accept_page(heap_start() + heap_size + taken))
        taken += sgm::sgx::kPageSize;
    // A page that is not what it must be: this host adds no more that are believed.
    if (taken < size) heap_grows = false;
    if (taken == 0) return false;
    heap.extend(static_cast<std::size_t>(taken));
    heap_size += taken;
    return true;
}

void* allocate(std::size_t size, std::size_t alignment = Heap::kAlignment) {
    const HeapLock lock;
    for (;;) {
        if (void* pointer = heap.allocate_aligned(size, alignment)) return pointer;
        std::size_t wanted = 0;
        if (!__builtin_add_overflow(size, alignment, &wanted) && grow(wanted)) continue;
        if (reserve == nullptr) return nullptr;
        static_cast<void>(heap.release(reserve));
        reserve = nullptr;
    }
}

[[noreturn]] void end_without_memory() {
    // Who runs out of memory in its last words has said them.
    if (!__atomic_exchange_n(&ending, true, __ATOMIC_SEQ_CST) && last_words.say != nullptr) {
        {
            const HeapLock lock;
            if (for_last_words != nullptr) static_cast<void>(heap.release(for_last_words));
        }
        last_words.say(last_words.argument);
    }
    sgm::enclave::abort(EnclaveResult::out_of_memory);
}

void* allocate_or_end(std::size_t size, std::size_t alignment) {
    void* pointer = allocate(size, alignment);
    if (pointer == nullptr) end_without_memory();
    return pointer;
}

void release_or_abort(void* pointer) {
    if (pointer == nullptr) return;
    const HeapLock lock;
    if (!heap.release(pointer)) sgm::enclave::abort(EnclaveResult::internal);
}

}  // namespace

namespace sgm::enclave {

namespace {

std::size_t reserve_size() {
    const std::size_t eighth = layout().heap_size / 8;
    return eighth < kMaxReserve ? eighth : kMaxReserve;
}

}  // namespace

void adopt_heap() {
    heap_size = layout().heap_size;
    heap.adopt({heap_start(), static_cast<std::size_t>(heap_size)});
    if (heap_size < 16 * kForLastWords) return;
    for_last_words = heap.allocate(kForLastWords);
    reserve = heap.allocate(reserve_size());
}

void let_heap_grow() {
    const HeapLock lock;
    heap_grows = true;
}

bool memory_is_short() {
    const HeapLock lock;
    if (heap_size < 16 * kForLastWords) return false;
    if (reserve == nullptr) reserve = heap.allocate(reserve_size());
    if (reserve == nullptr && grow(reserve_size())) reserve = heap.allocate(reserve_size());
    return reserve == nullptr;
}

void set_last_words(void (*say)(void* argument), void* argument) {
    last_words = {say, argument};
}

}  // namespace sgm::enclave

extern "C" {

void* malloc(std::size_t size) {
    return allocate(size);
}

void free(void* pointer) {
    release_or_abort(pointer);
}

void* calloc(std::size_t count, std::size_t size) {
    std::size_t total = 0;
    if (__builtin_mul_overflow(count, size, &total)) return nullptr;
    void* pointer = allocate(total);
    if (pointer != nullptr) std::memset(pointer, 0, total);
    return pointer;
}

void* realloc(void* pointer, std::size_t size) {
    if (pointer == nullptr) return allocate(size);
    const std::size_t before = Heap::usable_size(pointer);
    void* moved = allocate(size);
    if (moved == nullptr) return nullptr;
    std::memcpy(moved, pointer, before < size ? before : size);
    release_or_abort(pointer);
    return moved;
}

[[noreturn]] void abort() {
    sgm::enclave::abort(EnclaveResult::internal);
}
[[noreturn]] void __stack_chk_fail() {
    sgm::enclave::abort(EnclaveResult::internal);
}
[[noreturn]] void __assert_fail(const char*, const char*, unsigned, const char*) {
    sgm::enclave::abort(EnclaveResult::internal);
}
[[noreturn]] void __cxa_pure_virtual() {
    sgm::enclave::abort(EnclaveResult::internal);
}

// An enclave has no orderly end, so destructors of statics are never called.
void* __dso_handle = nullptr;
int __cxa_atexit(void (*)(void*), void*, void*) {
    return 0;
}

}  // extern "C"

void* operator new(std::size_t size) {
    return allocate_or_end(size, Heap::kAlignment);
}
void* operator new[](std::size_t size) {
    return allocate_or_end(size, Heap::kAlignment);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return allocate_or_end(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return allocate_or_end(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* pointer) noexcept {
    release_or_abort(pointer);
}
void operator delete[](void* pointer) noexcept {
    release_or_abort(pointer);
}
void operator delete(void* pointer, std::size_t) noexcept {
    release_or_abort(pointer);
}
void operator delete[](void* pointer, std::size_t) noexcept {
    release_or_abort(pointer);
}
void operator delete(void* pointer, std::align_val_t) noexcept {
    release_or_abort(pointer);
}
void operator delete[](void* pointer, std::align_val_t) noexcept {
    release_or_abort(pointer);
}
void operator delete(void* pointer, std::size_t, std::align_val_t) noexcept {
    release_or_abort(pointer);
}
void operator delete[](void* pointer, std::size_t, std::align_val_t) noexcept {
    release_or_abort(pointer);
}

// What libstdc++ calls where it would throw; its own declarations say that they do not return.
namespace std {
void __throw_bad_alloc() {
    end_without_memory();
}
void __throw_bad_array_new_length() {
    end_without_memory();
}
void __throw_length_error(const char*) {
    end_without_memory();
}
void __throw_logic_error(const char*) {
    sgm::enclave::abort(EnclaveResult::internal);
}
void __throw_invalid_argument(const char*) {
    sgm::enclave::abort(EnclaveResult::internal);
}
void __throw_out_of_range(const char*) {
    sgm::enclave::abort(EnclaveResult::internal);
}
void __throw_out_of_range_fmt(const char*, ...) {
    sgm::enclave::abort(EnclaveResult::internal);
}
void __throw_bad_function_call() {
    sgm::enclave::abort(EnclaveResult::internal);
}
}  // namespace std

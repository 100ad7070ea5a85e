// SPDX-License-Identifier: MIT
// malloc and operator new over the one heap, and what else the C++ library wants of a system:
// everything that would throw or terminate leaves the enclave with a reason.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#include "sgx/enclave/heap.hpp"
#include "sgx/enclave/internal.hpp"
#include "sgx/enclave/runtime.hpp"

using sgm::enclave::Heap;
using sgm::wire::EnclaveResult;

namespace {

constinit Heap heap;
constinit bool heap_taken = false;

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

void* allocate(std::size_t size, std::size_t alignment = Heap::kAlignment) {
    const HeapLock lock;
    return heap.allocate_aligned(size, alignment);
}

void* allocate_or_abort(std::size_t size, std::size_t alignment) {
    void* pointer = allocate(size, alignment);
    if (pointer == nullptr) sgm::enclave::abort(EnclaveResult::out_of_memory);
    return pointer;
}

void release_or_abort(void* pointer) {
    if (pointer == nullptr) return;
    const HeapLock lock;
    if (!heap.release(pointer)) sgm::enclave::abort(EnclaveResult::internal);
}

}  // namespace

void sgm::enclave::adopt_heap() {
    // Ours: the layout is measured.
    auto* heap_start = reinterpret_cast<std::uint8_t*>(  // NOLINT(performance-no-int-to-ptr)
        base() + layout().heap_offset);
    heap.adopt({heap_start, static_cast<std::size_t>(layout().heap_size)});
}

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
    return allocate_or_abort(size, Heap::kAlignment);
}
void* operator new[](std::size_t size) {
    return allocate_or_abort(size, Heap::kAlignment);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return allocate_or_abort(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return allocate_or_abort(size, static_cast<std::size_t>(alignment));
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
    sgm::enclave::abort(EnclaveResult::out_of_memory);
}
void __throw_bad_array_new_length() {
    sgm::enclave::abort(EnclaveResult::out_of_memory);
}
void __throw_length_error(const char*) {
    sgm::enclave::abort(EnclaveResult::out_of_memory);
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

// SPDX-License-Identifier: MIT
// Linked with the tests of this room: all of them once more, with the AES that an enclave with
// AVX-512's state runs.
#include "crypto/wide_aes.hpp"

#include <gtest/gtest.h>

namespace sgm::crypto {
namespace {

class WideAes final : public ::testing::Environment {
  public:
    void SetUp() override {
        if (!__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512ifma") ||
            !__builtin_cpu_supports("vaes") || !__builtin_cpu_supports("vpclmulqdq") ||
            !__builtin_cpu_supports("gfni"))
            GTEST_SKIP() << "this CPU has no VAES on 512-bit registers";
        use_wide_aes();
    }
};

[[maybe_unused]] const auto* const environment =
    ::testing::AddGlobalTestEnvironment(new WideAes);  // gtest's to delete

}  // namespace
}  // namespace sgm::crypto

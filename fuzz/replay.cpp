// SPDX-License-Identifier: MIT
// Driver for ctest, with any compiler: a target's seeds, cut and changed a little, and every file
// of the directories given as arguments, each once. Deterministic.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "fuzz/target.hpp"

namespace {

using sgm::fuzz::Octets;

// A seed is well-formed; what is nearly so goes further into a parser than noise does.
int run_near(const Octets& seed, std::mt19937_64& random) {
    constexpr int kVariants = 30;
    for (int i = 0; i < kVariants; ++i) {
        Octets variant = seed;
        for (int change = 0; change < 3 && !variant.empty(); ++change) {
            variant[random() % variant.size()] = static_cast<std::uint8_t>(random());
        }
        if (i % 3 == 0 && !variant.empty()) variant.resize(random() % variant.size());
        sgm::fuzz::run(variant);
    }
    return kVariants;
}

}  // namespace

int main(int argument_count, char** arguments) {
    sgm::fuzz::run({});
    std::mt19937_64 random{2026};
    int count = 1;
    for (const Octets& seed : sgm::fuzz::seeds()) {
        sgm::fuzz::run(seed);
        count += 1 + run_near(seed, random);
    }
    int files = 0;
    for (int i = 1; i < argument_count; ++i) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator{arguments[i]}) {
            if (!entry.is_regular_file()) continue;
            std::ifstream file{entry.path(), std::ios::binary};
            std::printf("%s\n", entry.path().c_str());
            sgm::fuzz::run(Octets{std::istreambuf_iterator<char>{file}, {}});
            ++files;
        }
    }
    std::printf("%d generated inputs and %d files\n", count, files);
    return 0;
}

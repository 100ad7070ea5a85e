// SPDX-License-Identifier: MIT
// Driver for ./dev fuzz: libFuzzer has the main function. Its first run of a target writes the
// seeds: `fuzz_TARGET --write-seeds=DIRECTORY`.
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "fuzz/target.hpp"

namespace {

int write_seeds(const std::filesystem::path& directory) {
    std::filesystem::create_directories(directory);
    int number = 0;
    for (const auto& seed : sgm::fuzz::seeds()) {
        std::ofstream file{directory / ("seed-" + std::to_string(number++)), std::ios::binary};
        file.write(reinterpret_cast<const char*>(seed.data()),
                   static_cast<std::streamsize>(seed.size()));
        if (!file.flush()) return 1;
    }
    return 0;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argument_count, char*** arguments) {
    constexpr std::string_view kWriteSeeds = "--write-seeds=";
    if (*argument_count == 2) {
        const std::string_view argument{(*arguments)[1]};
        if (argument.starts_with(kWriteSeeds)) {
            std::exit(write_seeds(argument.substr(kWriteSeeds.size())));
        }
    }
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    sgm::fuzz::run({data, size});
    return 0;
}

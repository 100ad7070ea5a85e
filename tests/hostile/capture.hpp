// SPDX-License-Identifier: MIT
// Everything that passed the host, in a file that a test can search: records of
//   u32 channel | u32 direction (0: from sgmonitord, 1: to it) | u64 size | bytes
// little-endian. A channel is one connection.
#pragma once

#include <atomic>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <string>

#include "wire/bytes.hpp"

namespace sgm::hostile {

enum class Way : std::uint32_t { from_client = 0, to_client = 1 };

class Capture final {
  public:
    explicit Capture(const std::string& path) : file_{path, std::ios::binary | std::ios::trunc} {
        if (!file_) throw std::runtime_error(path + " cannot be written");
    }

    std::uint32_t new_channel() { return next_channel_++; }

    void record(std::uint32_t channel, Way way, Bytes bytes) {
        const std::lock_guard lock{mutex_};
        bytes_ += bytes.size();
        ++records_;
        if (bytes_ > kLimit) return;
        const Header header{channel, way, bytes.size()};
        write(bytes_of(header));
        write(bytes);
    }

    void flush() {
        const std::lock_guard lock{mutex_};
        file_.flush();
    }

    [[nodiscard]] std::uint64_t bytes() const { return bytes_; }
    [[nodiscard]] std::uint64_t records() const { return records_; }
    [[nodiscard]] bool complete() const { return bytes_ <= kLimit; }

  private:
    // A relay that is left running must not fill the disk.
    static constexpr std::uint64_t kLimit = 256ull << 20;

    struct Header {
        std::uint32_t channel;
        Way way;
        std::uint64_t size;
    };

    void write(Bytes bytes) {
        file_.write(reinterpret_cast<const char*>(bytes.data()),
                    static_cast<std::streamsize>(bytes.size()));
    }

    std::mutex mutex_;
    std::ofstream file_;
    std::atomic<std::uint32_t> next_channel_ = 0;
    std::atomic<std::uint64_t> bytes_ = 0;
    std::atomic<std::uint64_t> records_ = 0;
};

}  // namespace sgm::hostile

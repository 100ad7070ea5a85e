// SPDX-License-Identifier: MIT
// For tests: a directory that is gone when the test is.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace sgm::config {

class TemporaryDirectory final {
  public:
    TemporaryDirectory() {
        std::string name = (std::filesystem::temp_directory_path() / "sgm-test-XXXXXX").string();
        path_ = ::mkdtemp(name.data());
    }
    ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
    TemporaryDirectory(const TemporaryDirectory&) = delete;
    TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

    [[nodiscard]] std::filesystem::path operator/(const std::string& name) const {
        return path_ / name;
    }
    [[nodiscard]] const std::filesystem::path& path() const { return path_; }

    std::filesystem::path write(const std::string& name, const std::string& contents) const {
        std::ofstream{path_ / name} << contents;
        return path_ / name;
    }

  private:
    std::filesystem::path path_;
};

}  // namespace sgm::config

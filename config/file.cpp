// SPDX-License-Identifier: MIT
#include "config/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "config/descriptor.hpp"

namespace sgm::config {
namespace {

std::unexpected<Error> system_failure(std::string_view what, const std::filesystem::path& path,
                                      int error) {
    return std::unexpected{Error{std::string{what} + " " + path.string() + ": " +
                                 std::generic_category().message(error)}};
}

bool write_all(int fd, std::string_view contents) {
    while (!contents.empty()) {
        const ssize_t written = ::write(fd, contents.data(), contents.size());
        if (written < 0) {
            if (errno == EINTR) continue;
            return false;
        }
        contents.remove_prefix(static_cast<std::size_t>(written));
    }
    return true;
}

enum class Privacy { open_to_all, owner_only };

Result<std::string> read(const std::filesystem::path& path, Privacy privacy) {
    // Not blocking: a FIFO under that name must not hang the program.
    const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    if (!file) return system_failure("cannot open", path, errno);
    struct stat status{};
    if (::fstat(file.get(), &status) != 0) return system_failure("cannot read", path, errno);
    if (!S_ISREG(status.st_mode)) {
        return std::unexpected{Error{"cannot read " + path.string() + ": not a regular file"}};
    }
    if (privacy == Privacy::owner_only && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        return std::unexpected{
            Error{"refused to use the secret " + path.string() +
                  ": others may read it. Make a new one, or run chmod 600 on it if only you have "
                  "had access to it"}};
    }
    std::string contents;
    std::array<char, 16384> block;
    for (;;) {
        const ssize_t got = ::read(file.get(), block.data(), block.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return system_failure("cannot read", path, errno);
        if (got == 0) return contents;
        contents.append(block.data(), static_cast<std::size_t>(got));
        if (contents.size() > kMaxFileSize) {
            return std::unexpected{
                Error{"cannot read " + path.string() + ": more than 1 MiB, so not one of ours"}};
        }
    }
}

}  // namespace

Result<std::string> read_file(const std::filesystem::path& path) {
    return read(path, Privacy::open_to_all);
}

Result<std::string> read_private_file(const std::filesystem::path& path) {
    return read(path, Privacy::owner_only);
}

Result<void> write_file(const std::filesystem::path& path, std::string_view contents, mode_t mode,
                        IfExists if_exists) {
    std::string temporary = path.string() + ".XXXXXX";
    const Descriptor file{::mkostemp(temporary.data(), O_CLOEXEC)};  // created with mode 0600
    if (!file) return system_failure("cannot write", path, errno);
    bool done = write_all(file.get(), contents) && ::fchmod(file.get(), mode) == 0 &&
                ::fsync(file.get()) == 0;
    bool moved = false;
    if (done && if_exists == IfExists::replace) {
        done = moved = ::rename(temporary.c_str(), path.c_str()) == 0;
    } else if (done) {
        done = ::link(temporary.c_str(), path.c_str()) == 0;  // fails where a file is
    }
    const int error = errno;
    if (!moved) ::unlink(temporary.c_str());
    if (done) return {};
    if (error == EEXIST) {
        return std::unexpected{
            Error{path.string() + " is already there and is not overwritten: remove it first, or "
                                  "choose another directory"}};
    }
    return system_failure("cannot write", path, error);
}

Result<void> make_directory(const std::filesystem::path& path) {
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (!error && !std::filesystem::is_directory(path, error) && !error) {
        error = std::make_error_code(std::errc::not_a_directory);
    }
    if (error) {
        return std::unexpected{
            Error{"cannot make the directory " + path.string() + ": " + error.message()}};
    }
    return {};
}

}  // namespace sgm::config

// SPDX-License-Identifier: MIT
// sgmonitor-enclave: sign, measure, verify and inspect enclave files. Runs wherever the signer's
// key is; nothing here is needed to run an enclave.
#include <fcntl.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cli/output.hpp"
#include "cli/program.hpp"
#include "config/descriptor.hpp"
#include "config/file.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"
#include "sgx/image/image.hpp"
#include "sgx/image/sigstruct.hpp"
#include "sgx/tool/settings.hpp"
#include "wire/fixed_text.hpp"

namespace {

using namespace sgm;
using namespace sgm::sgx;
using FileBytes = std::vector<std::uint8_t>;
namespace fs = std::filesystem;

// As sgx/image gives them: one sentence.
template <typename T>
using Result = std::expected<T, std::string>;

Result<FileBytes> read_file(const fs::path& path, std::size_t most) {
    const config::Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
    if (!file) return std::unexpected(fmt::format("{}: {}", path.string(), std::strerror(errno)));
    auto bytes = read_descriptor(file.get(), most);
    if (!bytes) return std::unexpected(fmt::format("{}: {}", path.string(), bytes.error()));
    return bytes;
}

Result<void> write_file(const fs::path& path, Bytes bytes) {
    const auto written =
        config::write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, 0644,
                           config::IfExists::replace);
    if (!written) return std::unexpected(written.error().sentence);
    return {};
}

Result<EnclaveImage> read_image(const fs::path& path) {
    const auto elf = read_file(path, kMaxEnclaveFile);
    if (!elf) return std::unexpected(elf.error());
    auto image = EnclaveImage::build(*elf);
    if (!image)
        return std::unexpected(
            fmt::format("{}: refused as an enclave: {}", path.string(), image.error()));
    return image;
}

Result<Sigstruct> read_sigstruct(const fs::path& path) {
    const auto bytes = read_file(path, sizeof(Sigstruct) + 1);
    if (!bytes) return std::unexpected(bytes.error());
    auto sigstruct = verify_sigstruct(*bytes);
    if (!sigstruct)
        return std::unexpected(
            fmt::format("{}: refused as a signature: {}", path.string(), sigstruct.error()));
    return sigstruct;
}

// What SIGSTRUCT.DATE wants: decimal digits as hexadecimal ones.
std::uint32_t today() {
    const std::chrono::year_month_day date{
        std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now())};
    const auto number = static_cast<std::uint32_t>(int{date.year()}) * 10000 +
                        unsigned{date.month()} * 100 + unsigned{date.day()};
    std::uint32_t bcd = 0;
    std::uint32_t rest = number;
    for (int shift = 0; shift < 32; shift += 4, rest /= 10)
        bcd |= (rest % 10) << shift;
    return bcd;
}

struct Options {
    std::string enclave;
    std::string settings;
    std::string authority_key;
    std::string label;
    std::string key;
    std::string sigstruct;
    std::string out;
    std::string directory;
    bool new_key = false;
    bool json = false;
};

// ENCLAVE.elf -> ENCLAVE.sig, as `sign` names them.
fs::path sigstruct_beside(const Options& options) {
    return options.sigstruct.empty() ? fs::path{options.enclave}.replace_extension(".sig")
                                     : fs::path{options.sigstruct};
}

Result<tool::Settings> settings_of(const Options& options) {
    if (options.settings.empty()) return tool::Settings{};
    auto settings = tool::load_settings(options.settings);
    if (!settings) return std::unexpected(settings.error().sentence);
    return *settings;
}

Result<FileBytes> prepare(const Options& options, const tool::Settings& settings) {
    const auto elf = read_file(options.enclave, kMaxEnclaveFile);
    if (!elf) return std::unexpected(elf.error());
    const auto authority = config::load_signing_key(options.authority_key);
    if (!authority) return std::unexpected(authority.error().sentence);
    auto prepared = prepare_image(*elf, {.heap_size = settings.heap_size,
                                         .stack_size = settings.stack_size,
                                         .authority_key = *authority,
                                         .label = options.label});
    if (!prepared)
        return std::unexpected(
            fmt::format("{}: refused as an enclave: {}", options.enclave, prepared.error()));
    return prepared;
}

void describe(const EnclaveImage& image, cli::Record& record) {
    const EnclaveLayout& layout = image.layout();
    const wire::MeasuredConfig& config = image.config();
    record.add("mrenclave", "mrenclave", config::to_hex(image.measure()));
    record.add("pages", "pages", std::uint64_t{image.page_count()});
    record.add("address_range", "address range", layout.elrange_size);
    record.add("heap_size", "heap size", layout.heap_size);
    record.add("stack_size", "stack size", layout.stack_size);
    record.add("authority_key", "authority key", config::to_hex(config.authority_key));
    record.add("label", "label", std::string{wire::get_text(config.label)});
}

void describe(const Sigstruct& sigstruct, cli::Record& record) {
    record.add("mrsigner", "mrsigner", config::to_hex(mrsigner(sigstruct)));
    record.add("attributes", "attributes", fmt::format("{:#x}", sigstruct.attributes.flags));
    record.add("xfrm", "xfrm", fmt::format("{:#x}", sigstruct.attributes.xfrm));
    record.add("debug", "debug", (sigstruct.attributes.flags & kAttributeDebug) != 0);
    record.add("product_id", "product id", std::uint64_t{sigstruct.isvprodid});
    record.add("security_version", "security version", std::uint64_t{sigstruct.isvsvn});
    record.add("date", "date",
               fmt::format("{:04x}-{:02x}-{:02x}", sigstruct.date >> 16, sigstruct.date >> 8 & 0xff,
                           sigstruct.date & 0xff));
}

void print(const Options& options, const cli::Record& record) {
    fmt::print("{}", record.render(options.json ? cli::Format::json : cli::Format::text));
}

Result<void> init(const Options& options) {
    const fs::path directory = options.directory;
    if (const auto made = config::make_directory(directory); !made)
        return std::unexpected(made.error().sentence);
    const auto written = config::write_file(
        directory / "enclave.toml", tool::default_settings_text(), 0644, config::IfExists::refuse);
    if (!written) return std::unexpected(written.error().sentence);
    fmt::print("wrote {}\n", (directory / "enclave.toml").string());
    return {};
}

Result<SignerKey> signer_key(const Options& options) {
    if (!options.new_key || fs::exists(options.key)) return SignerKey::load(options.key);
    auto key = SignerKey::generate();
    if (!key) return key;
    if (auto saved = key->save(options.key); !saved)
        return std::unexpected(std::move(saved.error()));
    return key;
}

Result<void> sign(const Options& options) {
    const auto settings = settings_of(options);
    if (!settings) return std::unexpected(settings.error());
    const auto prepared = prepare(options, *settings);
    if (!prepared) return std::unexpected(prepared.error());
    const auto key = signer_key(options);
    if (!key) return std::unexpected(key.error());
    const auto image = EnclaveImage::build(*prepared);
    if (!image) return std::unexpected(image.error());
    SigningOptions signing = settings->signing;
    signing.date = today();
    const auto sigstruct = sign_sigstruct(describe_enclave(image->measure(), signing), *key);
    if (!sigstruct) return std::unexpected(sigstruct.error());

    if (auto written = write_file(options.out + ".elf", *prepared); !written) return written;
    if (auto written = write_file(options.out + ".sig", bytes_of(*sigstruct)); !written)
        return written;
    cli::Record record;
    record.add("enclave", "enclave", options.out + ".elf");
    record.add("sigstruct", "sigstruct", options.out + ".sig");
    describe(*image, record);
    describe(*sigstruct, record);
    print(options, record);
    return {};
}

Result<void> measure(const Options& options) {
    Result<EnclaveImage> image = std::unexpected("");
    if (options.authority_key.empty()) {
        image = read_image(options.enclave);
    } else {
        const auto settings = settings_of(options);
        if (!settings) return std::unexpected(settings.error());
        const auto prepared = prepare(options, *settings);
        if (!prepared) return std::unexpected(prepared.error());
        image = EnclaveImage::build(*prepared);
    }
    if (!image) return std::unexpected(image.error());
    const std::string mrenclave = config::to_hex(image->measure());
    if (options.json) {
        cli::Record record;
        record.add("mrenclave", "mrenclave", mrenclave);
        print(options, record);
    } else {
        fmt::print("{}\n", mrenclave);
    }
    return {};
}

struct SignedEnclave {
    EnclaveImage image;
    Sigstruct sigstruct;
};

Result<SignedEnclave> check(const Options& options) {
    auto image = read_image(options.enclave);
    if (!image) return std::unexpected(image.error());
    const fs::path path = sigstruct_beside(options);
    const auto sigstruct = read_sigstruct(path);
    if (!sigstruct) return std::unexpected(sigstruct.error());
    const auto meant =
        check_enclave(*sigstruct, image->measure(), sigstruct->attributes, sigstruct->miscselect);
    if (!meant)
        return std::unexpected(fmt::format("{}: not the signature of {}: {}", path.string(),
                                           options.enclave, meant.error()));
    return SignedEnclave{std::move(*image), *sigstruct};
}

Result<void> verify(const Options& options) {
    const auto enclave = check(options);
    if (!enclave) return std::unexpected(enclave.error());
    if (options.json) {
        cli::Record record;
        record.add("verified", "verified", true);
        record.add("mrenclave", "mrenclave", config::to_hex(enclave->image.measure()));
        print(options, record);
    } else {
        fmt::print("{}: signature, q1, q2 and measurement are right\n", options.enclave);
    }
    return {};
}

Result<void> inspect(const Options& options) {
    const auto enclave = check(options);
    if (!enclave) return std::unexpected(enclave.error());
    cli::Record record;
    describe(enclave->image, record);
    describe(enclave->sigstruct, record);
    print(options, record);
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    cli::Program program{"sgmonitor-enclave",
                         "Signs, measures, verifies and inspects enclaves of SGmonitor"};
    Options options;
    const auto add = [&](const char* name, const char* what,
                         Result<void> (*function)(const Options&)) {
        return &program.command(name, what, [&options, function]() -> config::Result<void> {
            if (auto done = function(options); !done) {
                return std::unexpected(config::Error{std::move(done.error())});
            }
            return {};
        });
    };
    const auto takes_enclave = [&](CLI::App* subcommand, const char* what) {
        subcommand->add_option("--enclave", options.enclave, what)->required();
        subcommand->add_flag("--json", options.json, "Print JSON");
    };
    const auto takes_choices = [&](CLI::App* subcommand) {
        subcommand->add_option("--config", options.settings,
                               "enclave.toml (without it: the defaults)");
        subcommand->add_option("--label", options.label,
                               "Free text in the measured configuration, at most 64 bytes");
        return subcommand->add_option("--authority-key", options.authority_key,
                                      "Public key file of the authority it shall believe");
    };

    CLI::App* init_command = add("init", "Write a commented enclave.toml", init);
    init_command->add_option("--dir", options.directory, "Directory")->required();

    CLI::App* sign_command =
        add("sign", "Fill in the configuration, measure and sign an enclave", sign);
    takes_enclave(sign_command, "The linked enclave");
    takes_choices(sign_command)->required();
    sign_command
        ->add_option("--key", options.key, "Signer's RSA-3072 key with exponent 3, PEM, mode 0600")
        ->required();
    sign_command->add_flag("--new-key", options.new_key, "Make that key if it is not there");
    sign_command->add_option("--out", options.out, "Writes OUT.elf and OUT.sig")->required();

    CLI::App* measure_command =
        add("measure",
            "Print MRENCLAVE of a signed enclave, or with --authority-key of one to be signed",
            measure);
    takes_enclave(measure_command, "The enclave");
    takes_choices(measure_command);

    for (const auto& [name, what, function] :
         {std::tuple{"verify", "Check an enclave and its signature as a CPU would", &verify},
          std::tuple{"inspect", "Show what an enclave and its signature say", &inspect}}) {
        CLI::App* subcommand = add(name, what, function);
        takes_enclave(subcommand, "The signed enclave");
        subcommand->add_option("--sigstruct", options.sigstruct,
                               "Its signature (default: the .sig beside it)");
    }
    return program.run(argc, argv);
}

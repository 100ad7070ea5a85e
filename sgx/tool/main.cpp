// SPDX-License-Identifier: MIT
// sgmonitor-enclave: sign, measure, verify and inspect enclave files. Runs wherever the signer's
// key is; nothing here is needed to run an enclave.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

#include "cli/output.hpp"
#include "cli/program.hpp"
#include "config/file.hpp"
#include "config/key_file.hpp"
#include "config/text.hpp"
#include "sgx/tool/files.hpp"
#include "sgx/tool/report.hpp"
#include "sgx/tool/settings.hpp"
#include "sgx/tool/signing.hpp"

namespace {

using namespace sgm;
using namespace sgm::sgx;
using namespace sgm::sgx::tool;
namespace fs = std::filesystem;

struct Options {
    std::string enclave;
    std::string settings;
    std::string authority_key;
    std::string label;
    std::string key;
    std::string digest_out;
    std::string signature_in;
    std::string public_key;
    std::string sigstruct;
    std::string out;
    std::string directory;
    bool new_key = false;
    bool json = false;
};

// As `sign` names it beside the enclave.
fs::path sigstruct_of(const Options& options) {
    return options.sigstruct.empty() ? sigstruct_path(options.enclave, false)
                                     : fs::path{options.sigstruct};
}

// enclave.toml, and what the command line puts in its place.
Result<Settings> settings_of(const Options& options) {
    Settings settings;
    if (!options.settings.empty()) {
        auto loaded = load_settings(options.settings);
        if (!loaded) return std::unexpected(loaded.error().sentence);
        settings = *loaded;
    }
    if (!options.authority_key.empty()) {
        const auto authority = config::load_signing_key(options.authority_key);
        if (!authority) return std::unexpected(authority.error().sentence);
        settings.image.authority_key = *authority;
        settings.has_authority = true;
    }
    if (!options.label.empty()) settings.image.label = options.label;
    if (!settings.has_authority)
        return std::unexpected(
            "whose word shall the enclave believe? Name the authority's public key: "
            "--authority-key, or authority_key in enclave.toml");
    return settings;
}

void print(const Options& options, const cli::Record& record) {
    fmt::print("{}", record.render(options.json ? cli::Format::json : cli::Format::text));
}

// A debug enclave does not slip through: whoever makes or checks one reads it twice.
void warn_of_debug(const Sigstruct& sigstruct) {
    if ((sigstruct.attributes.flags & kAttributeDebug) != 0)
        fmt::print(stderr,
                   "warning: this is a DEBUG enclave: its host can read it, and no authority, "
                   "hypervisor or owner of SGmonitor accepts it\n");
}

Result<void> init(const Options& options) {
    const fs::path directory = options.directory;
    if (const auto made = config::make_directory(directory); !made)
        return std::unexpected(made.error().sentence);
    const auto written = config::write_file(directory / "enclave.toml", default_settings_text(),
                                            0644, config::IfExists::refuse);
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

void show_signed(const Options& options, const SignedEnclave& enclave) {
    const bool debug = (enclave.sigstruct.attributes.flags & kAttributeDebug) != 0;
    cli::Record record;
    record.add("enclave", "enclave", options.out + ".elf");
    record.add("sigstruct", "SIGSTRUCT", sigstruct_path(options.out + ".elf", debug).string());
    describe(enclave.image, record);
    describe(enclave.sigstruct, record);
    print(options, record);
    warn_of_debug(enclave.sigstruct);
}

Result<void> sign_here(const Options& options) {
    const auto settings = settings_of(options);
    if (!settings) return std::unexpected(settings.error());
    const auto key = signer_key(options);
    if (!key) return std::unexpected(key.error());
    const auto enclave = tool::sign(options.enclave, *settings, *key, options.out);
    if (!enclave) return std::unexpected(enclave.error());
    show_signed(options, *enclave);
    return {};
}

Result<void> begin(const Options& options) {
    const auto settings = settings_of(options);
    if (!settings) return std::unexpected(settings.error());
    const auto image = begin_signing(options.enclave, *settings, options.digest_out, options.out);
    if (!image) return std::unexpected(image.error());
    cli::Record record;
    record.add("enclave", "enclave", options.out + ".elf");
    record.add("digest", "digest to sign", options.digest_out);
    describe(*image, record);
    print(options, record);
    if (options.json) return {};
    fmt::print(
        "\nSign the digest with RSASSA-PKCS1-v1_5 and an RSA-3072 key with exponent 3, e.g.:\n"
        "  openssl pkeyutl -sign -inkey KEY.pem -pkeyopt digest:sha256 -in {0} -out {0}.sig\n"
        "  openssl pkey -in KEY.pem -pubout -out KEY.pub.pem\n"
        "Then:\n"
        "  sgmonitor enclave sign --signature-in {0}.sig --public-key KEY.pub.pem --out {1}\n",
        options.digest_out, options.out);
    return {};
}

Result<void> finish(const Options& options) {
    const auto enclave = finish_signing(options.signature_in, options.public_key, options.out);
    if (!enclave) return std::unexpected(enclave.error());
    show_signed(options, *enclave);
    return {};
}

// One command for three ways of signing: with the key at hand, and the two halves without it.
Result<void> sign_command(const Options& options) {
    const bool with_key = !options.key.empty();
    const bool first = !options.digest_out.empty();
    const bool second = !options.signature_in.empty();
    if (int{with_key} + int{first} + int{second} != 1)
        return std::unexpected(
            "say how to sign: --key FILE, or in two steps --digest-out FILE and then "
            "--signature-in FILE");
    if (second == options.public_key.empty())
        return std::unexpected("--signature-in and --public-key belong together");
    if (second == !options.enclave.empty())
        return std::unexpected(
            second ? "--signature-in goes on with what --digest-out wrote to --out: leave "
                     "--enclave away"
                   : "--enclave is missing: which enclave?");
    if (second) return finish(options);
    return first ? begin(options) : sign_here(options);
}

Result<EnclaveImage> image_of(const Options& options) {
    if (options.authority_key.empty() && options.settings.empty())
        return read_image(options.enclave);
    const auto settings = settings_of(options);
    if (!settings) return std::unexpected(settings.error());
    const auto prepared = prepare(options.enclave, *settings);
    if (!prepared) return std::unexpected(prepared.error());
    return EnclaveImage::build(*prepared);
}

Result<void> measure(const Options& options) {
    const auto image = image_of(options);
    if (!image) return std::unexpected(image.error());
    const std::string mrenclave = config::to_hex(image->measure());
    if (!options.out.empty()) {
        FileBytes stream;
        image->measured_stream(
            [&](Bytes piece) { stream.insert(stream.end(), piece.begin(), piece.end()); });
        if (auto written = write_file(options.out, stream); !written) return written;
    }
    if (options.json) {
        cli::Record record;
        record.add("mrenclave", "MRENCLAVE", mrenclave);
        print(options, record);
    } else {
        fmt::print("{}\n", mrenclave);
    }
    return {};
}

Result<void> show_build_info(const Options& options) {
    const auto file = read_file(options.enclave, kMaxEnclaveFile);
    if (!file) return std::unexpected(file.error());
    const auto elf = ElfFile::parse(*file);
    if (!elf)
        return std::unexpected(
            fmt::format("{}: refused as an enclave: {}", options.enclave, elf.error()));
    print(options, build_info(*file, *elf));
    return {};
}

Result<void> verify(const Options& options) {
    const auto enclave = read_signed(options.enclave, sigstruct_of(options));
    if (!enclave) return std::unexpected(enclave.error());
    if (options.json) {
        cli::Record record;
        record.add("verified", "verified", true);
        record.add("mrenclave", "MRENCLAVE", config::to_hex(enclave->image.measure()));
        print(options, record);
    } else {
        fmt::print("{}: signature, q1, q2 and measurement are right\n", options.enclave);
    }
    warn_of_debug(enclave->sigstruct);
    return {};
}

Result<void> inspect(const Options& options) {
    const auto enclave = read_signed(options.enclave, sigstruct_of(options));
    if (!enclave) return std::unexpected(enclave.error());
    cli::Record record;
    describe(enclave->image, record);
    describe(enclave->sigstruct, record);
    record.add("page_map", page_map(enclave->image));
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
        subcommand->add_flag("--json", options.json, "Print JSON");
        return subcommand->add_option("--enclave", options.enclave, what);
    };
    const auto takes_choices = [&](CLI::App* subcommand) {
        subcommand->add_option("--config", options.settings,
                               "enclave.toml (without it: the defaults)");
        subcommand->add_option("--label", options.label,
                               "Free text in the measured configuration, at most 64 bytes");
        subcommand->add_option("--authority-key", options.authority_key,
                               "Public key file of the authority it shall believe "
                               "(instead of enclave.toml's)");
    };

    CLI::App* init_command = add("init", "Write a commented enclave.toml", init);
    init_command->add_option("--dir", options.directory, "Directory")->required();

    CLI::App* sign =
        add("sign", "Fill in the configuration, measure and sign an enclave", sign_command);
    takes_enclave(sign, "The linked enclave");
    takes_choices(sign);
    sign->add_option("--key", options.key, "Signer's RSA-3072 key with exponent 3, PEM, mode 0600");
    sign->add_flag("--new-key", options.new_key, "Make that key if it is not there");
    sign->add_option("--digest-out", options.digest_out,
                     "First of two steps without the key: write what it has to sign");
    sign->add_option("--signature-in", options.signature_in,
                     "Second step: the signature that the key made of it");
    sign->add_option("--public-key", options.public_key, "The key's public half, PEM");
    sign->add_option("--out", options.out, "Writes OUT.elf and OUT.sig (OUT.debug.sig)")
        ->required();

    CLI::App* measure_command =
        add("measure",
            "Print MRENCLAVE of a signed enclave, or with --config or --authority-key of one to be "
            "signed",
            measure);
    takes_enclave(measure_command, "The enclave")->required();
    takes_choices(measure_command);
    measure_command->add_option("--sgxs", options.out,
                                "Also write the measured stream, whose SHA-256 MRENCLAVE is");

    CLI::App* info_command =
        add("build-info", "Show what was linked into an enclave, signed or not", show_build_info);
    takes_enclave(info_command, "The enclave")->required();

    for (const auto& [name, what, function] :
         {std::tuple{"verify", "Check an enclave and its signature as a CPU would", &verify},
          std::tuple{"inspect", "Show what an enclave and its signature say", &inspect}}) {
        CLI::App* subcommand = add(name, what, function);
        takes_enclave(subcommand, "The signed enclave")->required();
        subcommand->add_option("--sigstruct", options.sigstruct,
                               "Its signature (default: the .sig beside it)");
    }
    return program.run(argc, argv);
}

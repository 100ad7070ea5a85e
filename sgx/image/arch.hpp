// SPDX-License-Identifier: MIT
// What the SGX architecture fixes: Intel SDM vol. 3D, chapters 38 (data structures) and 40
// (instructions). Names are the manual's; byte offsets stand beside each field.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "wire/ids.hpp"

namespace sgm::sgx {

inline constexpr std::uint64_t kPageSize = 4096;

template <std::size_t N>
using Reserved = std::array<std::uint8_t, N>;

// ATTRIBUTES, 38.7.1. XFRM has the layout of XCR0.
enum AttributeFlags : std::uint64_t {
    kAttributeInit = 0x01,
    kAttributeDebug = 0x02,
    kAttributeMode64 = 0x04,
    kAttributeProvisionKey = 0x10,
    kAttributeEinitTokenKey = 0x20,
    kAttributeCet = 0x40,
    kAttributeKss = 0x80,
};
inline constexpr std::uint64_t kXfrmLegacy = 0x03;  // x87 and SSE: always set
inline constexpr std::uint64_t kXfrmAvx = 0x04;
inline constexpr std::uint64_t kXfrmAvx512 = 0xe0;
struct Attributes {
    std::uint64_t flags;  // 0
    std::uint64_t xfrm;   // 8
    bool operator==(const Attributes&) const = default;
};
static_assert(sizeof(Attributes) == 16);

// SECINFO.FLAGS, 38.11. A TCS page is added without R, W, X.
enum SecInfoFlags : std::uint64_t {
    kSecInfoRead = 0x001,
    kSecInfoWrite = 0x002,
    kSecInfoExecute = 0x004,
    kSecInfoPending = 0x008,  // added by EAUG, not accepted yet
    kSecInfoTcs = 0x100,
    kSecInfoRegular = 0x200,
};

// SECINFO, 38.11.
struct alignas(64) SecInfo {
    std::uint64_t flags;      // 0   SecInfoFlags
    Reserved<56> reserved_8;  // 8   0
};
static_assert(sizeof(SecInfo) == 64);

// TCS, 38.8. Offsets count from the enclave's base.
struct Tcs {
    std::uint64_t stage;      // 0
    std::uint64_t flags;      // 8
    std::uint64_t ossa;       // 16
    std::uint32_t cssa;       // 24   index of the current SSA frame
    std::uint32_t nssa;       // 28   number of SSA frames
    std::uint64_t oentry;     // 32
    std::uint64_t aep;        // 40
    std::uint64_t ofsbase;    // 48
    std::uint64_t ogsbase;    // 56
    std::uint32_t fslimit;    // 64
    std::uint32_t gslimit;    // 68
    Reserved<4024> reserved;  // 72
};
static_assert(sizeof(Tcs) == kPageSize);
static_assert(offsetof(Tcs, oentry) == 32);

// SIGSTRUCT, 38.13. Big numbers are little-endian.
struct Sigstruct {
    std::array<std::uint8_t, 16> header;        // 0     kSigstructHeader
    std::uint32_t vendor;                       // 16    0 or 0x8086
    std::uint32_t date;                         // 20    BCD, 0xyyyymmdd
    std::array<std::uint8_t, 16> header2;       // 24    kSigstructHeader2
    std::uint32_t swdefined;                    // 40
    Reserved<84> reserved_44;                   // 44
    std::array<std::uint8_t, 384> modulus;      // 128
    std::uint32_t exponent;                     // 512   3
    std::array<std::uint8_t, 384> signature;    // 516   over bytes 0-127 and 900-1027
    std::uint32_t miscselect;                   // 900
    std::uint32_t miscmask;                     // 904
    std::uint8_t cet_attributes;                // 908
    std::uint8_t cet_attributes_mask;           // 909
    Reserved<2> reserved_910;                   // 910
    std::array<std::uint8_t, 16> isvfamilyid;   // 912
    Attributes attributes;                      // 928
    Attributes attributemask;                   // 944
    wire::Digest enclavehash;                   // 960
    Reserved<16> reserved_992;                  // 992
    std::array<std::uint8_t, 16> isvextprodid;  // 1008
    std::uint16_t isvprodid;                    // 1024
    std::uint16_t isvsvn;                       // 1026
    Reserved<12> reserved_1028;                 // 1028
    std::array<std::uint8_t, 384> q1;           // 1040  floor(signature^2 / modulus)
    std::array<std::uint8_t, 384> q2;           // 1424
};
static_assert(sizeof(Sigstruct) == 1808);
static_assert(offsetof(Sigstruct, modulus) == 128);
static_assert(offsetof(Sigstruct, signature) == 516);
static_assert(offsetof(Sigstruct, miscselect) == 900);
static_assert(offsetof(Sigstruct, attributes) == 928);
static_assert(offsetof(Sigstruct, enclavehash) == 960);
static_assert(offsetof(Sigstruct, isvprodid) == 1024);
static_assert(offsetof(Sigstruct, q1) == 1040);
inline constexpr std::array<std::uint8_t, 16> kSigstructHeader = {6, 0, 0, 0, 0xe1, 0, 0, 0,
                                                                  0, 0, 1, 0, 0,    0, 0, 0};
inline constexpr std::array<std::uint8_t, 16> kSigstructHeader2 = {1,    1, 0, 0, 0x60, 0, 0, 0,
                                                                   0x60, 0, 0, 0, 1,    0, 0, 0};
inline constexpr std::uint32_t kVendorIntel = 0x8086;

// TARGETINFO, 38.17: for whom EREPORT makes a report. EREPORT wants it 512-byte aligned.
struct TargetInfo {
    wire::Digest measurement;               // 0    MRENCLAVE of the target
    Attributes attributes;                  // 32
    std::uint8_t cet_attributes;            // 48
    Reserved<1> reserved_49;                // 49
    std::uint16_t configsvn;                // 50
    std::uint32_t miscselect;               // 52
    Reserved<8> reserved_56;                // 56
    std::array<std::uint8_t, 64> configid;  // 64
    Reserved<384> reserved_128;             // 128
};
static_assert(sizeof(TargetInfo) == 512);
static_assert(offsetof(TargetInfo, configid) == 64);
inline constexpr std::size_t kTargetInfoAlignment = 512;

using ReportData = std::array<std::uint8_t, 64>;
inline constexpr std::size_t kReportDataAlignment = 128;

// REPORT, 38.15. The body is what a quote repeats.
struct ReportBody {
    std::array<std::uint8_t, 16> cpusvn;        // 0
    std::uint32_t miscselect;                   // 16
    std::uint8_t cet_attributes;                // 20
    Reserved<11> reserved_21;                   // 21
    std::array<std::uint8_t, 16> isvextprodid;  // 32
    Attributes attributes;                      // 48
    wire::Digest mrenclave;                     // 64
    Reserved<32> reserved_96;                   // 96
    wire::Digest mrsigner;                      // 128
    Reserved<32> reserved_160;                  // 160
    std::array<std::uint8_t, 64> configid;      // 192
    std::uint16_t isvprodid;                    // 256
    std::uint16_t isvsvn;                       // 258
    std::uint16_t configsvn;                    // 260
    Reserved<42> reserved_262;                  // 262
    std::array<std::uint8_t, 16> isvfamilyid;   // 304
    ReportData report_data;                     // 320
};
static_assert(sizeof(ReportBody) == 384);
static_assert(offsetof(ReportBody, attributes) == 48);
static_assert(offsetof(ReportBody, mrenclave) == 64);
static_assert(offsetof(ReportBody, mrsigner) == 128);
static_assert(offsetof(ReportBody, isvprodid) == 256);
static_assert(offsetof(ReportBody, report_data) == 320);

struct Report {
    ReportBody body;                     // 0
    std::array<std::uint8_t, 32> keyid;  // 384
    std::array<std::uint8_t, 16> mac;    // 416  AES-128-CMAC of the body, under the report key
};
static_assert(sizeof(Report) == 432);
inline constexpr std::size_t kReportAlignment = 512;

// KEYREQUEST, 38.18: what EGETKEY is asked for.
enum class KeyName : std::uint16_t {
    einittoken = 0,
    provision = 1,
    provision_seal = 2,
    report = 3,
    seal = 4,
};
enum KeyPolicy : std::uint16_t {
    kKeyPolicyMrenclave = 0x01,
    kKeyPolicyMrsigner = 0x02,
    kKeyPolicyNoIsvProdId = 0x04,
    kKeyPolicyConfigId = 0x08,
    kKeyPolicyIsvFamilyId = 0x10,
    kKeyPolicyIsvExtProdId = 0x20,
};
struct KeyRequest {
    KeyName keyname;                      // 0
    std::uint16_t keypolicy;              // 2    KeyPolicy
    std::uint16_t isvsvn;                 // 4
    std::uint8_t cet_attributes_mask;     // 6
    Reserved<1> reserved_7;               // 7
    std::array<std::uint8_t, 16> cpusvn;  // 8
    Attributes attributemask;             // 24
    std::array<std::uint8_t, 32> keyid;   // 40
    std::uint32_t miscmask;               // 72
    std::uint16_t configsvn;              // 76
    Reserved<434> reserved_78;            // 78
};
static_assert(sizeof(KeyRequest) == 512);
static_assert(offsetof(KeyRequest, attributemask) == 24);
static_assert(offsetof(KeyRequest, keyid) == 40);
inline constexpr std::size_t kKeyRequestAlignment = 512;
inline constexpr std::size_t kKeyAlignment = 16;
using Key128 = std::array<std::uint8_t, 16>;

// ENCLU leaves (rax), 40.4, and the error codes that EGETKEY and EACCEPT leave in rax, 38.19.
enum class Enclu : std::uint32_t {
    ereport = 0,
    egetkey = 1,
    eenter = 2,
    eresume = 3,
    eexit = 4,
    eaccept = 5,  // SGX2
};
enum class AcceptError : std::uint64_t {
    none = 0,
    page_attributes_mismatch = 19,  // the page is not what SECINFO says
};
enum class KeyError : std::uint64_t {
    none = 0,
    invalid_attribute = 2,
    invalid_cpusvn = 32,
    invalid_isvsvn = 64,
    invalid_keyname = 256,
};

}  // namespace sgm::sgx

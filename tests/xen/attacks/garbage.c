// SPDX-License-Identifier: MIT
// Garbage in every field of the hypercall. Xen must answer each with an error, write nothing beyond
// what it says, open no session, and still work at the end.
//
//   garbage [SEED]    in dom0; the same seed makes the same garbage
//   garbage --domu    in any other domain: every command must be refused by -EPERM
//
// Prints a line for each kind of garbage, with the number of calls, and exits with 1 when one of
// them was taken.
#include "privcmd.h"

#define RANDOM_STRUCTS 20000
#define RANDOM_FRAMES 4000
#define FILL 0xa5

// The frame of wire/sgm_op.hpp, as far as an attacker needs it.
struct frame {
    uint32_t magic;
    uint16_t version;
    uint16_t command;
    uint32_t size;
    uint32_t status;
    uint8_t payload[SGM_XEN_MAX_CALL];  // and more than may be
};
#define HEADER 16u
#define MAGIC 0x314d4753u
enum { IDENTITY = 1, OPEN = 2, REQUEST = 3, CLOSE = 4, REVOKE = 5 };

static struct sgm_xen_op* op;
static struct frame* frame;
static uint8_t* reply;

static uint64_t random_state = 1;

// xorshift64: Marsaglia, "Xorshift RNGs", 2003.
static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void fill_randomly(void* memory, size_t size) {
    uint8_t* const bytes = memory;
    for (size_t i = 0; i < size; ++i)
        bytes[i] = (uint8_t)(next_random() >> 32);
}

static void begin(uint32_t command) {
    memset(op, 0, sizeof(*op));
    op->version = SGM_XEN_VERSION;
    op->command = command;
    op->domid = SGM_XEN_NO_DOMAIN;
}

static void begin_call(uint32_t size) {
    begin(SGM_XEN_CALL);
    op->u.call.call = address_of(frame);
    op->u.call.reply = address_of(reply);
    op->u.call.call_size = size;
    op->u.call.reply_capacity = SGM_XEN_MAX_REPLY;
}

static struct sgm_xen_state state(void) {
    begin(SGM_XEN_STATE);
    const long result = sgm_op(op);
    if (result != 0) {
        verdict(false, "state: %s", strerror((int)-result));
        exit(1);
    }
    return op->u.state;
}

static uint32_t status_of_reply(void) {
    uint32_t status = 0;
    memcpy(&status, reply + 12, sizeof(status));
    return status;
}

// ---------------------------------------------------------------------------------------------

struct count {
    unsigned calls;
    unsigned taken;
    long last;
};

static void note(struct count* count, long result) {
    ++count->calls;
    if (result >= 0) {
        ++count->taken;
        count->last = result;
    }
}

static void tell(const char* what, const struct count* count) {
    verdict(count->taken == 0 && count->calls > 0, "%s: %u calls, %u taken", what, count->calls,
            count->taken);
}

static void* read_only_page;
static void* unmapped_page;

// Where Xen must not read or write for anyone. The kernel's own addresses are dom0's: what is taken
// here are some that it does not let itself write to, or does not have.
static const uint64_t kAddresses[] = {
    0,
    1,
    0xfff,
    0x00007ffffffff000,  // the end of user addresses
    0x0000800000000000,  // not canonical
    0x7fffffffffffffff,
    0x8000000000000000,
    0xffff7fffffffffff,
    0xffff800000000000,  // PV: the M2P table, read-only
    0xffff82c000000000,  // Xen
    0xffff82d040200000,  // Xen's code
    0xffff830000000000,  // Xen's direct map
    0xffff87fffffffff0,
    0xffffffff80000000,  // below the kernel's code
    0xfffffffffffff000,
    0xffffffffffffffc0,
    0xffffffffffffffff,
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void bad_struct_addresses(void) {
    struct count count = {0};
    for (size_t i = 0; i < COUNT(kAddresses); ++i)
        note(&count, hypercall(SGM_XEN_HYPERCALL, kAddresses[i], 0, 0, 0));
    note(&count, hypercall(SGM_XEN_HYPERCALL, address_of(unmapped_page), 0, 0, 0));
    // Half of it lies in memory, the other half does not.
    begin(SGM_XEN_STATE);
    char* const edge = (char*)unmapped_page - sizeof(*op) / 2;
    memcpy(edge, op, sizeof(*op) / 2);
    note(&count, hypercall(SGM_XEN_HYPERCALL, address_of(edge), 0, 0, 0));
    tell("the struct at an address that is no memory", &count);
}

static void bad_buffer_addresses(void) {
    struct count calls = {0};
    struct count replies = {0};
    for (size_t i = 0; i <= COUNT(kAddresses); ++i) {
        const uint64_t address = i < COUNT(kAddresses) ? kAddresses[i] : address_of(unmapped_page);
        // The largest, so that none of these fits before an end of memory.
        begin_call(SGM_XEN_MAX_CALL);
        op->u.call.call = address;
        note(&calls, sgm_op(op));
        *frame = (struct frame){.magic = MAGIC, .version = 1, .command = IDENTITY};
        begin_call(HEADER);
        op->u.call.reply = address;
        note(&replies, sgm_op(op));
    }
    *frame = (struct frame){.magic = MAGIC, .version = 1, .command = IDENTITY};
    begin_call(HEADER);
    op->u.call.reply = address_of(read_only_page);
    note(&replies, sgm_op(op));
    begin_call(HEADER);
    op->u.call.reply = address_of(unmapped_page) - 20;
    note(&replies, sgm_op(op));
    tell("a call at an address that is no memory", &calls);
    tell("a reply to an address that is no memory, or not to be written", &replies);
}

static void bad_sizes(void) {
    static const uint32_t sizes[] = {0,          SGM_XEN_MAX_CALL + 1, SGM_XEN_MAX_CALL + 4096,
                                     0x7fffffff, 0x80000000,           0xfffffff0,
                                     0xffffffff};
    static const uint32_t capacities[] = {0, 1, 16, 4096, SGM_XEN_MAX_REPLY - 1};
    struct count count = {0};
    *frame = (struct frame){.magic = MAGIC, .version = 1, .command = IDENTITY};
    for (size_t i = 1; i < COUNT(sizes); ++i) {
        begin_call(sizes[i]);
        note(&count, sgm_op(op));
    }
    for (size_t i = 0; i < COUNT(capacities); ++i) {
        begin_call(HEADER);
        op->u.call.reply_capacity = capacities[i];
        note(&count, sgm_op(op));
    }
    tell("sizes out of range", &count);
}

static void bad_fields(void) {
    static const uint32_t values[] = {0,    2,     4,          5,          99,
                                      0xff, 0x102, 0x7fffffff, 0x80000000, 0xffffffff};
    struct count versions = {0};
    struct count commands = {0};
    struct count domids = {0};
    struct count reserved = {0};
    for (size_t i = 0; i < COUNT(values); ++i) {
        begin(SGM_XEN_STATE);
        op->version = values[i];
        note(&versions, sgm_op(op));
        if (values[i] != SGM_XEN_PROTECT) {
            begin(values[i]);
            note(&commands, sgm_op(op));
        }
    }
    // Dom0 itself, reserved ones, and domains that are not there. Nothing of a domain's kind that
    // exists is asked for, except dom0, which cannot be protected from itself.
    static const uint32_t domains[] = {0,      0x7abc,  0x7fef,     0x7ff0,    0x7ff1,
                                       0x7ff2, 0x7ff3,  0x7ff4,     0x7fff,    0x8000,
                                       0xffff, 0x10001, 0xfffffffe, 0xffffffff};
    for (size_t i = 0; i < COUNT(domains); ++i) {
        begin(SGM_XEN_PROTECT);
        op->domid = domains[i];
        note(&domids, sgm_op(op));
        begin_call(HEADER);
        op->domid = domains[i];
        if (domains[i] != SGM_XEN_NO_DOMAIN) note(&domids, sgm_op(op));
    }
    begin(SGM_XEN_STATE);
    op->reserved = 1;
    note(&reserved, sgm_op(op));
    for (size_t i = 0; i < COUNT(op->u.call.reserved); ++i) {
        begin_call(HEADER);
        op->u.call.reserved[i] = 0x80000000;
        note(&reserved, sgm_op(op));
    }
    for (size_t i = 0; i < COUNT(op->u.state.reserved); ++i) {
        begin(SGM_XEN_STATE);
        op->u.state.reserved[i] = 1;
        note(&reserved, sgm_op(op));
    }
    tell("unknown versions", &versions);
    tell("unknown commands", &commands);
    tell("domains that are none, or may not be named", &domids);
    tell("reserved fields that are not 0", &reserved);
}

// Any 64 bytes. A version and command that are right make it get further in half of them.
static void random_structs(void) {
    struct count count = {0};
    for (unsigned i = 0; i < RANDOM_STRUCTS; ++i) {
        fill_randomly(op, sizeof(*op));
        if (i % 2 == 0) {
            op->version = SGM_XEN_VERSION;
            op->command = SGM_XEN_CALL;
            op->reserved = 0;
        }
        if (op->command == SGM_XEN_PROTECT) continue;
        note(&count, sgm_op(op));
    }
    tell("structs of random bytes", &count);
}

// Frames that are nonsense: the hypercall works, and the core refuses what is in them.
static void bad_frames(void) {
    unsigned calls = 0;
    unsigned taken = 0;
    unsigned lost = 0;
    unsigned beyond = 0;
    for (unsigned i = 0; i < RANDOM_FRAMES; ++i) {
        const uint32_t size = (uint32_t)(next_random() >> 40) % (i % 16 == 0 ? 65536 : 700);
        fill_randomly(frame, HEADER + size);
        if (i % 8 != 0) {
            frame->magic = MAGIC;
            frame->version = 1;
            frame->command = (uint16_t)(OPEN + i % 4);
            frame->size = size;
            frame->status = 0;
        }
        // A session's number is small: another domain's is soon met.
        if (i % 8 >= 4 && size >= 48) {
            const uint64_t session = next_random() % 64;
            memcpy(frame->payload, &session, sizeof(session));
            const uint32_t body = size - 48;
            memcpy(frame->payload + 24, &body, sizeof(body));
            memset(frame->payload + 28, 0, 4);
        }
        begin_call(HEADER + size);
        memset(reply, FILL, 8192);
        ++calls;
        if (sgm_op(op) != 0 || op->u.call.reply_size < HEADER) {
            ++lost;
            continue;
        }
        if (status_of_reply() == 0) ++taken;
        for (uint32_t at = op->u.call.reply_size; at < 8192; ++at) {
            if (reply[at] != FILL) {
                ++beyond;
                break;
            }
        }
    }
    verdict(taken == 0, "frames of nonsense, in other domains' sessions too: %u calls, %u taken",
            calls, taken);
    verdict(lost == 0, "each of them was answered: %u were not", lost);
    verdict(beyond == 0, "nothing was written beyond a reply: %u times it was", beyond);
}

// The reply written over the call, and over the struct.
static void overlapping_buffers(void) {
    *frame = (struct frame){.magic = MAGIC, .version = 1, .command = IDENTITY};
    memcpy(reply, frame, HEADER);
    begin_call(HEADER);
    op->u.call.call = address_of(reply);
    const long same = sgm_op(op);
    verdict(same == 0 && status_of_reply() == 0, "the reply over its own call: %s",
            same == 0 ? "answered" : strerror((int)-same));
    struct sgm_xen_op* const inside = (struct sgm_xen_op*)reply;
    begin_call(HEADER);
    memcpy(inside, op, sizeof(*op));
    const long over = sgm_op(inside);
    verdict(over == 0, "the reply over the struct: %s",
            over == 0 ? "answered" : strerror((int)-over));
}

static void still_works(const struct sgm_xen_state* before) {
    const struct sgm_xen_state after = state();
    verdict(after.open_sessions <= before->open_sessions, "no session was opened: %u, then %u",
            before->open_sessions, after.open_sessions);
    verdict(after.feature == SGM_XEN_ON, "the feature is still on: state %u", after.feature);
    *frame = (struct frame){.magic = MAGIC, .version = 1, .command = IDENTITY};
    begin_call(HEADER);
    const long result = sgm_op(op);
    verdict(result == 0 && status_of_reply() == 0 && op->u.call.reply_size == HEADER + 160,
            "it still says who it is: %s", result == 0 ? "yes" : strerror((int)-result));
}

static int from_another_domain(void) {
    struct count count = {0};
    unsigned otherwise = 0;
    static const uint32_t commands[] = {SGM_XEN_CALL,
                                        SGM_XEN_PROTECT,
                                        SGM_XEN_STATE,
                                        SGM_XEN_TEST_BATCH,
                                        SGM_XEN_TEST_REGISTERS,
                                        0,
                                        77};
    static const uint32_t domains[] = {0, 1, 2, 3, 0x7ff0, SGM_XEN_NO_DOMAIN};
    for (size_t i = 0; i < COUNT(commands); ++i) {
        for (size_t j = 0; j < COUNT(domains); ++j) {
            *frame = (struct frame){.magic = MAGIC, .version = 1, .command = IDENTITY};
            begin_call(HEADER);
            op->command = commands[i];
            op->domid = domains[j];
            const long result = sgm_op(op);
            note(&count, result);
            if (result < 0 && result != -EPERM) ++otherwise;
        }
    }
    tell("the hypercall from a domain that is not dom0", &count);
    verdict(otherwise == 0, "and each time by -EPERM: %u times it was not", otherwise);
    return failures == 0 ? 0 : 1;
}

int main(int count, char** arguments) {
    open_privcmd();
    op = hypercall_buffer(sizeof(*op));
    frame = hypercall_buffer(sizeof(*frame));
    reply = hypercall_buffer(SGM_XEN_MAX_REPLY + PAGE);
    if (count == 2 && strcmp(arguments[1], "--domu") == 0) return from_another_domain();
    if (count == 2) random_state = strtoull(arguments[1], NULL, 0) | 1;

    char* const pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    read_only_page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (pages == MAP_FAILED || read_only_page == MAP_FAILED) {
        perror("mmap");
        return 2;
    }
    unmapped_page = pages + PAGE;
    munmap(unmapped_page, PAGE);

    const struct sgm_xen_state before = state();
    printf("seed %#llx, state %u\n", (unsigned long long)random_state, before.feature);
    bad_struct_addresses();
    bad_buffer_addresses();
    bad_sizes();
    bad_fields();
    random_structs();
    bad_frames();
    overlapping_buffers();
    still_works(&before);
    return failures == 0 ? 0 : 1;
}

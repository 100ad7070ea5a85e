// SPDX-License-Identifier: MIT
// /init of the test guest: a family of processes whose every property is known, and a terminal
// over which the test asks for the guest's own list and starts and stops programs.
//
// console: the kernel's, and one line `READY` when the family is complete.
// ttyS1, or what `commands=` on the kernel's command line names (Xen: the console itself):
// one command a line; each answer ends with a line `ok ...` or `error ...`.
//     list             one JSON object a process, then `ok COUNT`
//     start UID NAME   a process with this comm and real uid; `ok PID`
//     stop NAME        ends every process that `start NAME` started; `ok COUNT`
//     load cpu|fork TOKEN   a process `load-cpu` or `load-fork` that works until `stop`, and counts
//                      what it did in a page that begins with TOKEN (16 characters); `ok PID`
//     where            guest-physical addresses: `vmcoreinfo START SIZE` and `rodata START-END`,
//                      hexadecimal, then `ok`
//     poweroff
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { kFamily = 166, kChainDepth = 20, kMaxStarted = 64, kCommSize = 16 };

static FILE* commands;  // to write answers to

static void die(const char* what) {
    printf("init: %s: %s\n", what, strerror(errno));
    fflush(stdout);
    reboot(RB_POWER_OFF);
    _exit(1);
}

// --- The family ------------------------------------------------------------------------------

// A child is complete when it has its name and uid: it says so with one byte, because the list
// must not be taken before.
static int ready_pipe[2];

static void report_ready(void) {
    if (write(ready_pipe[1], "", 1) != 1) _exit(1);
}

static void await_ready(void) {
    char byte;
    while (read(ready_pipe[0], &byte, 1) != 1)
        if (errno != EINTR) die("a test process did not start");
}

static void become(const char* name, uid_t uid) {
    prctl(PR_SET_NAME, name);
    if (setresuid(uid, uid, uid) != 0) _exit(1);
}

static void sleep_forever(void) {
    for (;;)
        pause();
}

static void* thread_main(void* number) {
    char name[kCommSize];
    snprintf(name, sizeof name, "thread %ld", (long)number);
    prctl(PR_SET_NAME, name);
    report_ready();
    sleep_forever();
    return NULL;
}

static void start_threads(long count) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 64 * 1024);
    for (long i = 0; i < count; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, thread_main, (void*)i) != 0) _exit(1);
    }
}

static pid_t spawn(const char* name, uid_t uid, long threads) {
    const pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        if (threads > 0) start_threads(threads);
        become(name, uid);
        report_ready();
        sleep_forever();
    }
    for (long i = 0; i < 1 + threads; i++)
        await_ready();
    return pid;
}

// Each link is the parent of the next.
static void spawn_chain(int depth) {
    if (fork() == 0) {
        for (int i = 0;; i++) {
            char name[kCommSize];
            snprintf(name, sizeof name, "chain-%02d", i);
            prctl(PR_SET_NAME, name);
            const bool last = i + 1 == depth;
            const pid_t child = last ? 1 : fork();
            if (child < 0) _exit(1);
            if (child > 0) {
                if (setresuid(5000u + (uid_t)i, 5000u + (uid_t)i, 5000u + (uid_t)i) != 0) _exit(1);
                report_ready();
                sleep_forever();
            }
        }
    }
    for (int i = 0; i < depth; i++)
        await_ready();
}

// A process of each state that a process can rest in.
static int spawn_states(void) {
    const pid_t stopped = spawn("stopped", 1001, 0);
    kill(stopped, SIGSTOP);
    if (waitpid(stopped, NULL, WUNTRACED) != stopped) die("waitpid");

    if (fork() == 0) {  // stays alive and never waits, so that its child stays a zombie
        const pid_t zombie = fork();
        if (zombie == 0) {
            become("zombie", 1002);
            _exit(0);
        }
        siginfo_t info;
        waitid(P_PID, (id_t)zombie, &info, WEXITED | WNOWAIT);
        become("zombie's parent", 1002);
        report_ready();
        sleep_forever();
    }
    await_ready();
    return 3;
}

// Two processes, one of them in a pid namespace of its own: its pid there is 1, and the list
// must show the one that the whole machine knows.
static int spawn_container(void) {
    if (fork() == 0) {
        if (unshare(CLONE_NEWPID) != 0) _exit(1);
        if (fork() == 0) {
            become("container: pid1", 1003);
            report_ready();
            sleep_forever();
        }
        become("container host", 0);
        report_ready();
        sleep_forever();
    }
    await_ready();
    await_ready();
    return 2;
}

static void spawn_family(void) {
    // Names that a careless parser or terminal would trip over, and the limits of comm and uid.
    static const struct {
        const char* name;
        uid_t uid;
    } odd[] = {
        {"a) S 1 (b", 1000},          {"two  spaces", 1000},
        {" leading", 1000},           {"colon:colon", 1000},
        {"quote\"back\\", 1000},      {"\033[31mred\033[0m", 1000},
        {"fifteen-letters", 1000},    {"", 1000},
        {"gr\xc3\xbc\xc3\x9f", 1000}, {"highest uid", 4294967293u},
    };
    int made = 0;
    spawn_chain(kChainDepth);
    made += kChainDepth;
    made += spawn_states();
    made += spawn_container();
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++, made++)
        spawn(odd[i].name, odd[i].uid, 0);
    for (; made < kFamily; made++) {
        char name[kCommSize];
        snprintf(name, sizeof name, made % 10 == 3 ? "nginx: w%03d" : "worker-%03d", made);
        spawn(name, 1000u + (uid_t)(made % 7), made % 8 == 0 ? 3 : 0);
    }
}

// --- The guest's own list ----------------------------------------------------------------------

static bool read_file(char* out, size_t room, const char* path_format, ...) {
    char path[64];
    va_list arguments;
    va_start(arguments, path_format);
    vsnprintf(path, sizeof path, path_format, arguments);
    va_end(arguments);
    const int fd = open(path, O_RDONLY);
    if (fd < 0) return false;
    const ssize_t size = read(fd, out, room - 1);
    close(fd);
    if (size < 0) return false;
    out[size] = '\0';
    return true;
}

// /proc shows workqueue workers with what they work on, `kworker/0:0-events`, and kernel threads
// with their whole name (fs/proc/array.c, proc_task_name). Back to task->comm.
static void undo_decoration(char* comm, unsigned long flags) {
    const unsigned long kWorker = 0x20;  // PF_WQ_WORKER, include/linux/sched.h
    const bool worker = (flags & kWorker) && strncmp(comm, "kworker/", 8) == 0;
    if (worker && strncmp(comm, "kworker/R-", 10) != 0) comm[strcspn(comm, "+-")] = '\0';
    if (strlen(comm) >= kCommSize) comm[kCommSize - 1] = '\0';
}

static void print_json_string(const char* text) {
    fputc('"', commands);
    for (const unsigned char* c = (const unsigned char*)text; *c; c++) {
        if (*c == '"' || *c == '\\' || *c < 0x20 || *c >= 0x7f)
            fprintf(commands, "\\u%04x", *c);  // a byte, as the character of that number
        else
            fputc(*c, commands);
    }
    fputc('"', commands);
}

static bool list_one(const char* pid) {
    char stat[1024], status[4096];
    if (!read_file(stat, sizeof stat, "/proc/%s/stat", pid) ||
        !read_file(status, sizeof status, "/proc/%s/status", pid))
        return false;  // it ended meanwhile

    // comm may hold anything, so it lies between the first `(` and the last `)`.
    char* comm = strchr(stat, '(');
    char* end = strrchr(stat, ')');
    if (!comm || !end) return false;
    *end = '\0';
    char state;
    int ppid;
    unsigned long flags;
    unsigned long long start_ticks;  // of 10 ms, since boot
    if (sscanf(end + 1,
               " %c %d %*d %*d %*d %*d %lu %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &state, &ppid, &flags, &start_ticks) != 4)
        return false;
    undo_decoration(++comm, flags);

    int tgid;
    unsigned uid;
    const char* tgid_line = strstr(status, "\nTgid:");
    const char* uid_line = strstr(status, "\nUid:");
    if (!tgid_line || sscanf(tgid_line, "\nTgid: %d", &tgid) != 1) return false;
    if (!uid_line || sscanf(uid_line, "\nUid: %u", &uid) != 1) return false;

    fprintf(commands, "{\"pid\":%s,\"tgid\":%d,\"ppid\":%d,\"uid\":%u,\"state\":\"%c\",", pid, tgid,
            ppid, uid, state);
    fprintf(commands, "\"start_ticks\":%llu,\"comm\":", start_ticks);
    print_json_string(comm);
    fputs("}\n", commands);
    return true;
}

static void list(void) {
    DIR* proc = opendir("/proc");
    if (!proc) die("/proc");
    int count = 0;
    for (struct dirent* entry; (entry = readdir(proc));)
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') count += list_one(entry->d_name);
    closedir(proc);
    fprintf(commands, "ok %d\n", count);
}

// --- Commands ----------------------------------------------------------------------------------

static struct {
    pid_t pid;
    char name[kCommSize];
} started[kMaxStarted];

// Index of a free place in `started`; -1, with an answer, when there is none.
static int free_place(void) {
    for (int i = 0; i < kMaxStarted; i++)
        if (!started[i].pid) return i;
    fputs("error too many started processes\n", commands);
    return -1;
}

static void note_started(int place, const char* name, pid_t pid) {
    snprintf(started[place].name, sizeof started[place].name, "%s", name);
    started[place].pid = pid;
    fprintf(commands, "ok %d\n", pid);
}

static void start(const char* arguments) {
    unsigned uid;
    int name_at = 0;
    if (sscanf(arguments, "%u %n", &uid, &name_at) != 1 || !arguments[name_at]) {
        fputs("error start UID NAME\n", commands);
        return;
    }
    const int place = free_place();
    if (place >= 0) note_started(place, arguments + name_at, spawn(arguments + name_at, uid, 0));
}

static void stop(const char* name) {
    int count = 0;
    for (int i = 0; i < kMaxStarted; i++) {
        if (!started[i].pid || strcmp(started[i].name, name) != 0) continue;
        kill(started[i].pid, SIGKILL);
        waitpid(started[i].pid, NULL, 0);
        started[i].pid = 0;
        count++;
    }
    fprintf(commands, "ok %d\n", count);
}

// --- Work to be slowed ---------------------------------------------------------------------------

// A page of its own, never moved: whoever reads the guest's memory from outside finds it by the
// token and reads the count without asking the guest.
struct Work {
    char token[16];
    _Atomic uint64_t count;
};

static void work_on_cpu(struct Work* work) {
    uint64_t x = 88172645463325252u;
    for (;;) {
        for (int i = 0; i < 1000; i++) {  // xorshift64, Marsaglia 2003
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        atomic_fetch_add(&work->count, x != 0);
    }
}

static void work_by_forking(struct Work* work) {
    for (;;) {
        const pid_t child = fork();
        if (child == 0) _exit(0);
        if (child > 0 && waitpid(child, NULL, 0) == child) atomic_fetch_add(&work->count, 1);
    }
}

static void load(const char* arguments) {
    char kind[8];
    char token[sizeof(((struct Work*)0)->token) + 1];
    if (sscanf(arguments, "%7s %16s", kind, token) != 2 || strlen(token) != 16 ||
        (strcmp(kind, "cpu") != 0 && strcmp(kind, "fork") != 0)) {
        fputs("error load cpu|fork TOKEN\n", commands);
        return;
    }
    const int place = free_place();
    if (place < 0) return;
    struct Work* const work =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
    if (work == MAP_FAILED) die("mmap");
    memcpy(work->token, token, sizeof work->token);
    char name[kCommSize];
    snprintf(name, sizeof name, "load-%s", kind);
    const pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        become(name, 0);
        if (strcmp(kind, "cpu") == 0) work_on_cpu(work);
        work_by_forking(work);
    }
    munmap(work, 4096);  // it is the child's now
    note_started(place, name, pid);
}

static void tell_where(void) {
    char line[128];
    unsigned long long start, end;
    mkdir("/sys", 0755);
    if (mount("sys", "/sys", "sysfs", 0, NULL) != 0 && errno != EBUSY) die("mount /sys");
    FILE* const info = fopen("/sys/kernel/vmcoreinfo", "r");
    if (!info || fscanf(info, "%llx %llx", &start, &end) != 2) die("/sys/kernel/vmcoreinfo");
    fclose(info);
    fprintf(commands, "vmcoreinfo %llx %llx\n", start, end);
    FILE* const memory = fopen("/proc/iomem", "r");
    if (!memory) die("/proc/iomem");
    while (fgets(line, sizeof line, memory))
        if (sscanf(line, " %llx-%llx : Kernel rodata", &start, &end) == 2 &&
            strstr(line, "Kernel rodata"))
            fprintf(commands, "rodata %llx-%llx\n", start, end);
    fclose(memory);
    fputs("ok \n", commands);
}

static void obey(const char* line) {
    if (strcmp(line, "list") == 0)
        list();
    else if (strncmp(line, "start ", 6) == 0)
        start(line + 6);
    else if (strncmp(line, "stop ", 5) == 0)
        stop(line + 5);
    else if (strncmp(line, "load ", 5) == 0)
        load(line + 5);
    else if (strcmp(line, "where") == 0)
        tell_where();
    else if (strcmp(line, "poweroff") == 0)
        reboot(RB_POWER_OFF);
    else
        fputs("error unknown command\n", commands);
    fflush(commands);
}

static FILE* open_command_port(void) {
    // The kernel hands what it does not know on its command line to us (init/main.c).
    const char* const chosen = getenv("commands");
    const char* const port = chosen ? chosen : "/dev/ttyS1";
    const int fd = open(port, O_RDWR | O_NOCTTY);
    struct termios settings;
    if (fd < 0 || tcgetattr(fd, &settings) != 0) die(port);
    cfmakeraw(&settings);  // no echo, no translation
    tcsetattr(fd, TCSANOW, &settings);
    commands = fdopen(dup(fd), "w");
    FILE* const in = fdopen(fd, "r");
    if (!commands || !in) die("fdopen");
    return in;
}

int main(void) {
    mkdir("/proc", 0755);
    mkdir("/dev", 0755);
    if (mount("proc", "/proc", "proc", 0, NULL) != 0) die("mount /proc");
    if (mount("dev", "/dev", "devtmpfs", 0, NULL) != 0 && errno != EBUSY) die("mount /dev");
    FILE* const in = open_command_port();
    if (pipe(ready_pipe) != 0) die("pipe");
    spawn_family();
    puts("READY");
    fflush(stdout);

    char line[256];
    while (fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = '\0';
        obey(line);
    }
    die("the command port closed");
}

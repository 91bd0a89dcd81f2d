/* Preloaded into the daemon, and into it alone: counts its steps on the files of its state, and at the one that the suite
   has chosen ends the process, as kill -9 does, before or after that step, or makes the step fail.

   The suite and this share one page: see shim.py. A step is an open for writing, a write, an fsync, a rename, a removal
   or a folder's creation, of a path that holds the given word or of a descriptor opened by such a path; and, where the
   word is "*", also a fork and a wait for a child. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BEFORE = 1, AFTER = 2, HALF = 3, FAIL = 4 };
enum { NAMES = 1024, NAME = 64 };

struct page {
    atomic_uint count; /* of steps so far */
    atomic_uint at;    /* the step at which it happens; 0: never */
    atomic_uint how;
    atomic_uint error; /* the errno of FAIL, for this step and all after it */
    char names[NAMES][NAME];
};

static struct page *page;
static const char *folder, *word;
static _Atomic(char) ours[4096]; /* by descriptor */

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("CHAOS_SHIM");
    folder = getenv("CHAOS_SHIM_FOLDER");
    word = getenv("CHAOS_SHIM_WORD");
    /* What the daemon starts is none of ours. */
    unsetenv("LD_PRELOAD");
    unsetenv("CHAOS_SHIM");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0 || !folder || !word) return;
    void *mapped = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) page = mapped;
}

/* The folder itself counts as well: it is synced after a rename. */
static int is_ours(const char *path) {
    const char *found = page && path ? strstr(path, folder) : NULL;
    return found && (*word == '*' || !found[strlen(folder)] || strstr(found, word));
}

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Begins a step. Gives what is to be done at it; 0: nothing but the step. */
static int step(const char *what, const char *path) {
    unsigned number = atomic_fetch_add(&page->count, 1) + 1;
    const char *base = path ? strrchr(path, '/') : NULL;
    snprintf(page->names[number % NAMES], NAME, "%s %s", what, base ? base + 1 : "");
    unsigned at = atomic_load(&page->at), how = atomic_load(&page->how);
    if (!at || number < at || (number > at && how != FAIL)) return 0;
    if (how == BEFORE) end();
    return (int)how;
}

static void done(int how) {
    if (how == AFTER) end();
}

static int fails(int how) {
    if (how != FAIL) return 0;
    errno = (int)atomic_load(&page->error);
    return 1;
}

static int opened(const char *name, const char *path, int flags, mode_t mode) {
    static int (*real)(const char *, int, ...);
    if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, name);
    int counts = is_ours(path) && (flags & (O_WRONLY | O_RDWR));
    int how = counts ? step("open", path) : 0;
    if (fails(how)) return -1;
    int fd = real(path, flags, mode);
    if (fd >= 0 && fd < (int)sizeof ours) ours[fd] = (char)is_ours(path);
    done(how);
    return fd;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...) {                                                                       \
        va_list more;                                                                                                  \
        va_start(more, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;                                        \
        va_end(more);                                                                                                  \
        return opened(#name, path, flags, mode);                                                                       \
    }
OPEN(open)
OPEN(open64)

static int is_open(int fd) { return page && fd >= 0 && fd < (int)sizeof ours && ours[fd]; }

int close(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd < (int)sizeof ours) ours[fd] = 0;
    return real(fd);
}

ssize_t write(int fd, const void *from, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    int how = is_open(fd) ? step("write", NULL) : 0;
    if (fails(how)) return -1;
    if (how == HALF) { /* A torn write: half of it is there. */
        real(fd, from, count / 2);
        end();
    }
    ssize_t wrote = real(fd, from, count);
    done(how);
    return wrote;
}

#define SYNC(name)                                                                                                     \
    int name(int fd) {                                                                                                 \
        static int (*real)(int);                                                                                       \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);                                                       \
        int how = is_open(fd) ? step(#name, NULL) : 0;                                                                 \
        if (fails(how)) return -1;                                                                                     \
        int failed = real(fd);                                                                                         \
        done(how);                                                                                                     \
        return failed;                                                                                                 \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    int how = is_ours(to) || is_ours(from) ? step("rename", to) : 0;
    if (fails(how)) return -1;
    int failed = real(from, to);
    done(how);
    return failed;
}

int unlink(const char *path) {
    static int (*real)(const char *);
    if (!real) real = (int (*)(const char *))dlsym(RTLD_NEXT, "unlink");
    int how = is_ours(path) ? step("unlink", path) : 0;
    if (fails(how)) return -1;
    int failed = real(path);
    done(how);
    return failed;
}

int mkdir(const char *path, mode_t mode) {
    static int (*real)(const char *, mode_t);
    if (!real) real = (int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir");
    int how = is_ours(path) ? step("mkdir", path) : 0;
    if (fails(how)) return -1;
    int failed = real(path, mode);
    done(how);
    return failed;
}

/* Processes, where every step counts. They do not fail: the kernel has other ways for that. */

static int counts_processes(void) { return page && *word == '*'; }

pid_t fork(void) {
    static pid_t (*real)(void);
    if (!real) real = (pid_t(*)(void))dlsym(RTLD_NEXT, "fork");
    int how = counts_processes() ? step("fork", NULL) : 0;
    pid_t child = real();
    if (child > 0) done(how);
    return child;
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attrs,
                 char *const argv[], char *const envp[]) {
    static int (*real)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                       char *const[], char *const[]);
    if (!real) real = dlsym(RTLD_NEXT, "posix_spawnp");
    int how = counts_processes() ? step("spawn", file) : 0;
    int failed = real(pid, file, actions, attrs, argv, envp);
    done(how);
    return failed;
}

pid_t waitpid(pid_t pid, int *status, int options) {
    static pid_t (*real)(pid_t, int *, int);
    if (!real) real = (pid_t(*)(pid_t, int *, int))dlsym(RTLD_NEXT, "waitpid");
    int how = counts_processes() ? step("wait", NULL) : 0;
    pid_t waited = real(pid, status, options);
    done(how);
    return waited;
}

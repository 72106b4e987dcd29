/* What an agent remembers: one entry per connection, one counter per way to succeed or fail. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "counters.h"

/* Ports and addresses are in network byte order everywhere, sequence numbers in host byte order. */
struct key {
	__be32 client;
	__be32 vip;
	__be16 client_port;
	__be16 port; /* the program's port; of an ALIAS, the port on the wire */
};

enum state {
	OPENING = 1, /* SYN seen: client awaits its SYN/ACK, server accepts both ports */
	PLAIN,       /* goes on at the port the SYN named */
	BOUND,       /* goes on at the announced port */
	ALIAS,       /* client only: leads from the wire's port to the connection's own entry */
};

enum flag {
	REDIRECTED = 1 << 0,  /* server: the SYN carried REDIRECT, its SYN/ACK gets CONFIRM */
	ANNOUNCED = 1 << 1,   /* the SYN/ACK carries the option */
	ANSWERED = 1 << 2,    /* server: server_seq is known */
	HEARD = 1 << 3,       /* client: the server has spoken on the wire's port */
	FIN_LOCAL = 1 << 4,
	FIN_REMOTE = 1 << 5,
	DOUBTFUL = 1 << 6,    /* a reset was seen, or the entry was rebuilt: over, unless the program sends again */
};

struct connection {
	__u32 seen;       /* tick of the last packet, rounded: see touch() */
	__u32 client_seq; /* initial sequence number of the client */
	__u32 server_seq; /* initial sequence number of the server */
	__be16 opened;    /* port the SYN named on the wire; of an ALIAS, the program's port */
	__be16 wire;      /* port the connection is to continue on */
	__u16 early;      /* client: bytes of data in the SYN (TCP Fast Open), which its SYN/ACK may acknowledge */
	__u16 state;
	__u32 flags;      /* both directions write them, at the same time on two processors: see set() */
};

/*
 * LRU: a flood of SYNs pushes out the entries used longest ago instead of locking new connections out. A change of
 * meaning that keeps both sizes must rename the map, so that an upgrade does not misread the entries it inherits.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct key);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTERS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

#define COUNTER_INDEX(name, meaning) COUNT_##name,
enum counter { COUNTERS(COUNTER_INDEX) };

static __always_inline void count(enum counter which)
{
	__u32 index = which;
	__u64 *value = bpf_map_lookup_elem(&counters, &index);

	if (value)
		*value += 1;
}

/* Time is counted in ticks of 2^30 ns (1.07 s): a shift instead of a division, and 32 bits are enough. */
#define TICK_SHIFT 30
#define TICKS(seconds) ((__u32)((seconds) * 1000000000ULL >> TICK_SHIFT) + 1)
#define CLOSING_AGE TICKS(60)
#define OPENING_AGE TICKS(180)
#define IDLE_AGE TICKS(5ULL * 24 * 3600)
#define TOUCH_EVERY 8

static __always_inline __u32 tick(void)
{
	return bpf_ktime_get_coarse_ns() >> TICK_SHIFT;
}

/* Not a write per packet: that would bounce the entry's cache line between processors. */
static __always_inline void touch(struct connection *entry)
{
	__u32 now = tick();

	if (now - entry->seen >= TOUCH_EVERY)
		entry->seen = now;
}

/* Ticks since the entry was used; never negative, the sweeping process may read its clock a little earlier. */
static __always_inline __u32 age(const struct connection *entry, __u32 now)
{
	__s32 ticks = now - entry->seen;

	return ticks < 0 ? 0 : ticks;
}

static __always_inline void set(struct connection *entry, __u32 flags)
{
	__sync_fetch_and_or(&entry->flags, flags);
}

static __always_inline void clear(struct connection *entry, __u32 flags)
{
	__sync_fetch_and_and(&entry->flags, ~flags);
}

static __always_inline bool is_closing(const struct connection *entry)
{
	return (entry->flags & DOUBTFUL) || (entry->flags & (FIN_LOCAL | FIN_REMOTE)) == (FIN_LOCAL | FIN_REMOTE);
}

/* A connection whose port numbers another one must not take over. */
static __always_inline bool is_live(const struct connection *entry)
{
	return entry->state != OPENING && !is_closing(entry) && age(entry, tick()) <= CLOSING_AGE;
}

/* What an agent remembers: one entry per connection, one counter per way to succeed or fail. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "counters.h"
#include "naming.h"

/* Ports and addresses are in network byte order everywhere, sequence numbers in host byte order. */
struct key {
	struct address client;
	struct address vip; /* the program's; of an alias that has one, the service address on the wire */
	__be16 client_port;
	__be16 port; /* the program's port; of an alias, the port on the wire */
};

enum state {
	OPENING = 1, /* SYN seen: client awaits its SYN/ACK, server accepts both ports */
	PLAIN,       /* goes on at the port the SYN named */
	BOUND,       /* goes on at an announced port */
};

enum flag {
	REDIRECTED = 1 << 0,  /* server: the SYN asked for redirects, its SYN/ACK gets CONFIRM */
	ANNOUNCED = 1 << 1,   /* the SYN/ACK carries the option */
	ANSWERED = 1 << 2,    /* server: server_seq is known */
	HEARD = 1 << 3,       /* client: the server has spoken on the wire's port */
	FIN_LOCAL = 1 << 4,
	FIN_REMOTE = 1 << 5,
	DOUBTFUL = 1 << 6,    /* a reset was seen: over, unless the program sends again */
	BY_OPTION = 1 << 7,   /* server: asked by option alone, so answered by option alone */
	TRYING = 1 << 8,      /* nothing is heard on the wire's port: packets go to, or come from, `before` too */
	SETTLED = 1 << 9,     /* server: the client has heard us on the wire's port, or there is but one */
	MOVING = 1 << 10,     /* server: `target` is, or is to be, announced, a port to go on at in place */
	LEAVING = 1 << 11,    /* told to close and open again elsewhere */
	ENDED = 1 << 12,      /* client: the program has been told that the server has closed: see ending.h */
	FIN_ACKED = 1 << 13,  /* client, ENDED: the server has acknowledged the FIN sent for the program */
	PROGRAM_CLOSED = 1 << 14, /* client, ENDED: the program has closed, too */
	ASKED = 1 << 15,      /* client: something that needs an answer was sent to the wire's port at `since` */
	WATCHED = 1 << 16,    /* client: to be ENDED if nothing passes meanwhile: see disturb() */
	UNHEEDED = 1 << 17,   /* client, ENDED: the server has acknowledged the FIN, and sends on */
	OWN_MOVING = 1 << 18, /* `client_target` is announced, and the server has not been heard there */
	BINDING = 1 << 19,    /* client: a SYN/ACK has come that is the connection's */
	AWAY = 1 << 20,       /* the program's socket is in another network namespace: numbers are the entry's own */
	LISTED = 1 << 21,     /* closed, and in the list of those that may go: see table.h */
	CLAIMED = 1 << 22,    /* about to be replaced or deleted by one processor: see claim() */
};

struct connection {
	__u32 seen;       /* tick of the last packet; of one that ends nothing, rounded: see touch() */
	__u32 since;      /* client: moment the SYN was sent, then the moment the wire's port was announced;
			     server: tick of the client's last announcement */
	__u32 client_seq; /* initial sequence number of the client */
	__u32 server_seq; /* initial sequence number of the server; of an ENDED connection, the next one expected */
	__u32 end_seq;    /* ENDED: the server's next sequence number when the program was told; server: see `copies` */
	__u32 fin_seq;    /* ENDED: sequence number of the FIN sent for the program; server, AWAY: acknowledged last */
	__u32 sent;       /* what follows all that this host's program has sent; kept up where is_tracked() */
	__u32 received;   /* next sequence number it expects, as its last segment says; likewise */
	__u32 flags;      /* both directions write them, at the same time on two processors: see set() */
	__u32 opened;     /* server's spot the SYN named on the wire */
	__u32 wire;       /* server's spot the connection uses on the wire, or is to use */
	__u32 before;     /* server's spot used before; of a client's SYN that was steered, the port redirected from */
	__u32 target;     /* server: port announced in the middle of the connection; the wire's if the client left it again */
	union name name;  /* client: the name of the spot that has one */
	__be16 client_port; /* client's port on the wire, 0: the program's */
	union {
		__u16 early;          /* client: bytes of data in the SYN (Fast Open), which its SYN/ACK may acknowledge */
		__be16 client_target; /* once the client has announced one: another port of its that may be used */
	};
	__u16 patience;   /* client: moments an announced port may be silent */
	__u8 state;
	__u8 copies;      /* client: SYNs sent; server: times that `end_seq` has come on the port left */
};

/* Leads from other ports, or another address, on the wire to a connection. */
struct alias {
	struct address vip; /* of one at a service address, the VIP */
	__u32 flags;        /* HEARD: what comes in by it needs no look at the connection; CLAIMED */
	__u32 wire;         /* server's spot it is for */
	__be16 port;        /* the program's port of the server */
	__be16 client_port; /* the program's port of the client */
};

#define CONNECTIONS_MAX 65536

/*
 * What is open, and for a while what is closed: see table.h. A change of meaning that keeps type and sizes must rename
 * the map, so that an upgrade does not misread the entries it inherits.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CONNECTIONS_MAX);
	__type(key, struct key);
	__type(value, struct connection);
} connections SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, CONNECTIONS_MAX);
	__type(key, struct key);
	__type(value, struct alias);
} aliases SEC(".maps");

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

/* Who reads the clock leaves the tick here for packets for which that would cost too much; the sweep does at least. */
volatile __u32 lately SEC(".data.lately") = 1;

static __always_inline __u32 note_tick(__u32 now)
{
	if (lately != now)
		lately = now;
	return now;
}

static __always_inline __u32 tick(void)
{
	return note_tick(bpf_ktime_get_coarse_ns() >> TICK_SHIFT);
}

/* Moments are 2^20 ns (1.05 ms). */
#define MOMENT_SHIFT 20
#define MOMENTS(milliseconds) ((__u32)((milliseconds) * 1000000ULL >> MOMENT_SHIFT))

static __always_inline __u32 moment(void)
{
	return bpf_ktime_get_coarse_ns() >> MOMENT_SHIFT;
}

/* Not a write per packet: that would bounce the entry's cache line between processors. */
static __always_inline void touch(struct connection *entry)
{
	__u32 now = lately;

	if ((__s32)(now - entry->seen) >= TOUCH_EVERY)
		entry->seen = now;
}

/* Are the numbers of the program's segments noted in the entry? Nobody else knows them of a socket that is elsewhere. */
static __always_inline bool is_tracked(const struct connection *entry)
{
	return (entry->flags & AWAY) || (entry->state != PLAIN && !(entry->flags & (HEARD | SETTLED)));
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

/* The client's port on the wire, given the program's. */
static __always_inline __be16 client_port_of(const struct connection *entry, __be16 port)
{
	return entry->client_port ? entry->client_port : port;
}

/* Make the key of a connection that by which packets from a spot come in; `name` is the spot's, if it has one. */
static __always_inline void move_key(struct key *key, const union name *name, __be16 client_port, __u32 spot)
{
	key->port = port_of(spot);
	key->client_port = client_port;
	if (naming_of(spot) == NAME_ADDRESS)
		key->vip = name->address;
}

static __always_inline struct alias alias_of(const struct key *key, __u32 spot)
{
	struct alias alias = {.wire = spot, .port = key->port, .client_port = key->client_port};

	if (naming_of(spot) == NAME_ADDRESS)
		alias.vip = key->vip;
	return alias;
}

/* Does an alias lead to the program's connection behind `key`? */
static __always_inline bool leads_to(const struct alias *alias, const struct key *key)
{
	return alias->port == key->port && alias->client_port == key->client_port;
}

/* The connection an alias leads to; `key` becomes the connection's. None if it has been replaced or has aged away. */
static __always_inline struct connection *follow(struct key *key, const struct alias *alias)
{
	__be16 client_port = key->client_port;
	struct address address = key->vip;
	struct connection *entry;
	__u32 wire = alias->wire;

	key->port = alias->port;
	key->client_port = alias->client_port;
	if (naming_of(wire) == NAME_ADDRESS)
		key->vip = alias->vip;
	entry = bpf_map_lookup_elem(&connections, key);
	if (!entry)
		return NULL;
	if (wire != key->port && wire != entry->wire && wire != entry->before && wire != entry->opened)
		return NULL;
	if (naming_of(wire) == NAME_ADDRESS && !same_address(&address, &entry->name.address))
		return NULL;
	if (client_port != key->client_port && client_port != entry->client_port && client_port != entry->client_target)
		return NULL;
	return entry;
}

/* The maps of connections, aliases and counters. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "clock.h"
#include "connection.h"
#include "counters.h"

#define CONNECTIONS_MAX 65536

/*
 * Open connections, and closed ones for a while: table.h. If a field gets another meaning with the same type and size,
 * rename the map, so that an upgrade does not misread inherited entries.
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

#define CLOSING_AGE TICKS(60)
#define OPENING_AGE TICKS(180)
#define IDLE_AGE TICKS(5ULL * 24 * 3600)
#define TOUCH_EVERY 8

/* Writes rarely: a write per packet would bounce the entry's cache line between processors. */
static __always_inline void touch(struct connection *entry)
{
	__u32 now = coarse_tick;

	if ((__s32)(now - entry->last_used) >= TOUCH_EVERY)
		entry->last_used = now;
}

/* Does the entry keep the numbers of the program's segments? It must if the socket is in another network namespace. */
static __always_inline bool is_tracked(const struct connection *entry)
{
	return (entry->flags & SOCKET_ELSEWHERE) ||
	       (entry->state != PLAIN && !(entry->flags & (CONFIRMED | CLIENT_CONFIRMED)));
}

/* Ticks since the entry was used. Never negative: the sweep may read its clock a little earlier. */
static __always_inline __u32 age(const struct connection *entry, __u32 now)
{
	__s32 ticks = now - entry->last_used;

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
	return (entry->flags & RESET_SEEN) || (entry->flags & (FIN_LOCAL | FIN_REMOTE)) == (FIN_LOCAL | FIN_REMOTE);
}

/* May no other connection take over the port numbers of this one? */
static __always_inline bool is_live(const struct connection *entry)
{
	return entry->state != OPENING && !is_closing(entry) && age(entry, tick()) <= CLOSING_AGE;
}

/* The client's port on the wire, given the program's. */
static __always_inline __be16 client_port_of(const struct connection *entry, __be16 port)
{
	return entry->client_port ? entry->client_port : port;
}

/*
 * Both ports of a client that has announced one (row D9). They change together, by one atomic instruction: of two
 * processors that see the client move at the same time, one moves it.
 */
union client_ports {
	struct {
		__be16 now;   /* `client_port` of the connection */
		__be16 other; /* its `client_target` */
	};
	__u32 both;
};

_Static_assert(__builtin_offsetof(struct connection, client_port) % sizeof(union client_ports) == 0 &&
		       __builtin_offsetof(struct connection, client_target) -
				       __builtin_offsetof(struct connection, client_port) ==
			       __builtin_offsetof(union client_ports, other),
	       "client_port and client_target are one number");

static __always_inline union client_ports client_ports_of(const struct connection *entry)
{
	union client_ports ports = {.both = *(const volatile __u32 *)&entry->client_port};

	return ports;
}

/* False: another processor has changed them since they were `before`. */
static __always_inline bool change_client_ports(struct connection *entry, union client_ports before, __be16 now,
						__be16 other)
{
	union client_ports after = {.now = now, .other = other};

	return __sync_val_compare_and_swap((__u32 *)&entry->client_port, before.both, after.both) == before.both;
}

/*
 * Make the key of a connection the key by which packets from an endpoint arrive. `locator` is the endpoint's, if any.
 */
static __always_inline void move_key(struct key *key, const union locator *locator, __be16 client_port, __u32 endpoint)
{
	key->port = port_of(endpoint);
	key->client_port = client_port;
	if (kind_of(endpoint) == LOCATOR_ADDRESS)
		key->vip = locator->address;
}

static __always_inline struct alias alias_of(const struct key *key, __u32 endpoint)
{
	struct alias alias = {.wire = endpoint, .port = key->port, .client_port = key->client_port};

	if (kind_of(endpoint) == LOCATOR_ADDRESS)
		alias.vip = key->vip;
	return alias;
}

/* Does an alias lead to the program's connection behind `key`? */
static __always_inline bool leads_to(const struct alias *alias, const struct key *key)
{
	return alias->port == key->port && alias->client_port == key->client_port;
}

/*
 * Return the connection an alias leads to, and make `key` the connection's. NULL if the connection was replaced or
 * aged.
 */
static __always_inline struct connection *follow(struct key *key, const struct alias *alias)
{
	__be16 client_port = key->client_port;
	struct address address = key->vip;
	union client_ports ports;
	struct connection *entry;
	__u32 wire = alias->wire;

	key->port = alias->port;
	key->client_port = alias->client_port;
	if (kind_of(wire) == LOCATOR_ADDRESS)
		key->vip = alias->vip;
	entry = bpf_map_lookup_elem(&connections, key);
	if (!entry)
		return NULL;
	if (wire != key->port && wire != entry->wire && wire != entry->before && wire != entry->opened)
		return NULL;
	if (kind_of(wire) == LOCATOR_ADDRESS && !same_address(&address, &entry->locator.address))
		return NULL;
	ports = client_ports_of(entry);
	if (client_port != key->client_port && client_port != ports.now && client_port != ports.other)
		return NULL;
	return entry;
}

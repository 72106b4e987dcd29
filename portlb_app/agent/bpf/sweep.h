/*
 * Ageing. The agent's process runs it every few seconds. It runs in the kernel, because an entry that the process has
 * read may belong to a new connection by the time the process deletes it.
 *
 * Closed connections leave by the list (table.h); the sweep removes those the list has missed. An open connection stays
 * as long as its socket exists. For one that is silent the sweep looks up the socket, a sixteenth of the connections at
 * a time. If the socket is in another network namespace, time alone decides.
 */
#pragma once

#include "server/half_open.h"
#include "table.h"

#define TURNS 16

struct sweep {
	struct __sk_buff *skb; /* no packet, but a socket look-up needs one */
	__u32 now;             /* tick */
	__u32 turn;
	__u32 host;
	__u32 open; /* connections that are not closed */
};

static __always_inline bool is_its_turn(const struct key *key, const struct sweep *sweep)
{
	return (bpf_ntohs(key->client_port) + sweep->turn) % TURNS == 0;
}

static long sweep_one(void *map, struct key *map_key, struct connection *entry, struct sweep *sweep)
{
	struct key copy = *map_key, *key = &copy;
	__u32 idle = age(entry, sweep->now), host = sweep->host;
	enum counter why;

	if (is_closing(entry)) {
		if (idle <= CLOSING_AGE || has_socket(sweep->skb, key, host))
			return 0;
		why = COUNT_swept_closing;
	} else if (entry->state == OPENING) {
		sweep->open++;
		if (idle <= OPENING_AGE)
			return 0;
		why = COUNT_swept_opening;
	} else {
		sweep->open++;
		if (idle <= CLOSING_AGE)
			return 0;
		if (entry->flags & SOCKET_ELSEWHERE) {
			if (idle <= IDLE_AGE)
				return 0;
			why = COUNT_swept_idle;
		} else {
			if (!is_its_turn(key, sweep) || has_socket(sweep->skb, key, host))
				return 0;
			why = COUNT_swept_gone;
		}
	}
	if (forget(key, entry, host))
		count(why);
	return 0;
}

/* Delete an alias that leads to nothing. */
static long sweep_alias(void *map, struct key *key, struct alias *alias, struct sweep *sweep)
{
	struct key owner = *key;

	if (!follow(&owner, alias) && claim(&alias->flags))
		bpf_map_delete_elem(map, key);
	return 0;
}

static long sweep_bucket(void *map, __u32 *index, struct half_open_slot *bucket, struct sweep *sweep)
{
	for (int i = 0; i < BUCKET_SIZE; i++) {
		struct connection *half = &bucket[i].connection;

		if (half->state && age(half, sweep->now) > OPENING_AGE) {
			forget_half_open(half);
			count(COUNT_swept_opening);
		}
	}
	return 0;
}

/* Remove what has aged as of the tick in cb[0]; cb[1] is the sweep's number. Return the number of open connections. */
static __always_inline int sweep_tables(struct __sk_buff *skb, enum host host)
{
	struct sweep sweep = {.skb = skb, .now = skb->cb[0], .turn = skb->cb[1], .host = host};

	set_coarse_tick(bpf_ktime_get_ns() >> TICK_SHIFT);
	bpf_for_each_map_elem(&connections, sweep_one, &sweep, 0);
	bpf_for_each_map_elem(&aliases, sweep_alias, &sweep, 0);
	if (host == SERVER)
		bpf_for_each_map_elem(&half_open, sweep_bucket, &sweep, 0);
	return sweep.open;
}

/*
 * Ageing, run by the agent's process every few seconds. In the kernel rather than in the process, because an entry
 * read there could have been replaced by a new connection's before it is deleted.
 */
#pragma once

#include "client.h"
#include "server.h"

struct sweep {
	__u32 now; /* tick */
};

/* When the connection was last used, by itself or by the alias its received packets come in by. */
static __always_inline __u32 idle_for(const struct key *key, const struct connection *entry, __u32 now)
{
	__u32 idle = age(entry, now);
	__be16 client_port = client_port_of(entry, key->client_port);

	if (entry->wire != key->port || client_port != key->client_port) {
		struct key alias_key = key_at(key, &entry->name, client_port, entry->wire);
		struct connection *alias;

		alias = bpf_map_lookup_elem(&connections, &alias_key); /* which also marks it as used */
		if (alias && alias->state == ALIAS && alias->opened == key->port && age(alias, now) < idle)
			idle = age(alias, now);
	}
	return idle;
}

static long sweep_one(void *map, struct key *key, struct connection *entry, struct sweep *sweep)
{
	struct key owner = *key;
	__u32 idle;

	if (entry->state == ALIAS) {
		if (!follow(&owner, entry))
			bpf_map_delete_elem(map, key);
		return 0;
	}
	idle = idle_for(key, entry, sweep->now);
	if (is_closing(entry) && idle > CLOSING_AGE) {
		count(COUNT_swept_closing);
	} else if (entry->state == OPENING && idle > OPENING_AGE) {
		count(COUNT_swept_opening);
	} else if (idle > IDLE_AGE) {
		count(COUNT_swept_idle);
	} else {
		/* Looking an entry up marks it as used: the map, when full, gives up the others, which are closed. */
		if (entry->state != OPENING && !is_closing(entry))
			bpf_map_lookup_elem(map, key);
		return 0;
	}
	bpf_map_delete_elem(map, key);
	return 0;
}

static long sweep_bucket(void *map, __u32 *index, struct half *bucket, struct sweep *sweep)
{
	for (int i = 0; i < BUCKET_SIZE; i++) {
		struct connection *half = &bucket[i].connection;

		if (half->state && age(half, sweep->now) > OPENING_AGE) {
			forget_half(half);
			count(COUNT_swept_opening);
		}
	}
	return 0;
}

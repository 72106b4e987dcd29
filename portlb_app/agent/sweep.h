/*
 * Ageing, run by the agent's process every few seconds. In the kernel rather than in the process, because an entry
 * read there could have been replaced by a new connection's before it is deleted.
 */
#pragma once

#include "client.h"

struct sweep {
	__u32 now; /* tick */
};

static long sweep_one(void *map, struct key *key, struct connection *entry, struct sweep *sweep)
{
	__u32 idle = age(entry, sweep->now);

	if (entry->state == ALIAS) {
		if (!follow(key, entry))
			bpf_map_delete_elem(&connections, key);
		return 0;
	}
	if (entry->state == BOUND && entry->wire != key->port) {
		/* A client's connection may be receiving only: then its alias is the one in use. */
		struct key alias_key = *key;
		struct connection *alias;

		alias_key.port = entry->wire;
		alias = bpf_map_lookup_elem(&connections, &alias_key);
		if (alias && alias->state == ALIAS && alias->opened == key->port && age(alias, sweep->now) < idle)
			idle = age(alias, sweep->now);
	}
	if (is_closing(entry) && idle > CLOSING_AGE)
		count(COUNT_swept_closing);
	else if (entry->state == OPENING && idle > OPENING_AGE)
		count(COUNT_swept_opening);
	else if (idle > IDLE_AGE)
		count(COUNT_swept_idle);
	else
		return 0;
	bpf_map_delete_elem(&connections, key);
	return 0;
}

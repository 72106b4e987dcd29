/*
 * Aliases. Where the wire uses other ports than the program, an alias keyed by the wire's ports leads a received packet
 * to its connection, so a data packet of a redirected connection costs one look-up in either direction.
 */
#pragma once

#include "../table.h"

/* Does a connection use its port numbers on the wire? A silent one does as long as it has its socket. */
static __always_inline bool is_used(struct __sk_buff *skb, const struct key *key, const struct connection *entry)
{
	return entry->state == OPENING || is_live(entry) || (!is_closing(entry) && has_socket(skb, key, CLIENT));
}

/* Make sure that no alias has these port numbers. False: a connection uses them. */
static __always_inline bool free_alias(struct __sk_buff *skb, const struct key *at)
{
	struct alias *alias = bpf_map_lookup_elem(&aliases, at);
	struct scratch *scratch = use_scratch();
	const struct connection *owner;

	if (!alias)
		return true;
	if (!scratch)
		return false;
	scratch->owner = *at;
	owner = follow(&scratch->owner, alias);
	if ((owner && is_used(skb, &scratch->owner, owner)) || !claim(&alias->flags))
		return false;
	bpf_map_delete_elem(&aliases, at);
	return true;
}

/*
 * Let packets from the server's endpoint `wire` reach the connection behind `key`. `locator` is the endpoint's, if it
 * has one. False: it cannot; counted. Not static, as forget().
 */
__noinline int add_alias(struct __sk_buff *skb, const struct key *key, const union locator *locator, __u32 client_port,
			 __u32 wire)
{
	struct scratch *scratch = use_scratch();
	struct connection *other;
	struct alias *there;
	struct key *at;

	if (!scratch || !key || !locator)
		return false;
	if (port_of(wire) == key->port && client_port == key->client_port && kind_of(wire) != LOCATOR_ADDRESS)
		return true;
	at = &scratch->alias_key;
	*at = *key;
	move_key(at, locator, client_port, wire);
	there = bpf_map_lookup_elem(&aliases, at);
	if (there && leads_to(there, key) && there->wire == wire && !(there->flags & CLAIMED))
		return true;
	other = bpf_map_lookup_elem(&connections, at);
	if ((other && is_used(skb, at, other)) || (there && !leads_to(there, key) && !free_alias(skb, at))) {
		count(COUNT_collision);
		return false;
	}
	scratch->alias = alias_of(key, wire);
	if (bpf_map_update_elem(&aliases, at, &scratch->alias, BPF_ANY)) {
		count(COUNT_map_full);
		return false;
	}
	return true;
}

/* The same for each port that the server may know as the client's. */
static __always_inline bool add_aliases(struct __sk_buff *skb, const struct key *key, const struct connection *entry,
					__u32 wire)
{
	__be16 now = entry->client_port, target = entry->client_target;
	const union locator *locator = &entry->locator;

	if (!add_alias(skb, key, locator, key->client_port, wire))
		return false;
	if (!now && !(entry->flags & CLIENT_PORT_MOVING)) /* never moved: there is no target */
		return true;
	return add_alias(skb, key, locator, target, wire) && (!now || add_alias(skb, key, locator, now, wire));
}

/* From now on, check each packet from a former port against the connection. */
static __always_inline void recheck_alias(const struct key *key, const struct connection *entry, __be16 client_port)
{
	struct key alias_key = *key;
	struct alias *alias;

	move_key(&alias_key, &entry->locator, client_port, entry->wire);
	alias = bpf_map_lookup_elem(&aliases, &alias_key);
	if (alias)
		__sync_fetch_and_and(&alias->flags, ~CONFIRMED);
}

static __always_inline void recheck_aliases(const struct key *key, const struct connection *entry)
{
	recheck_alias(key, entry, key->client_port);
	if (entry->client_port) {
		recheck_alias(key, entry, entry->client_port);
		recheck_alias(key, entry, entry->client_target);
	}
}

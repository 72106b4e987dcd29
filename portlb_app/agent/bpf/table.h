/*
 * Admission to the table of connections, and removal.
 *
 * A closed connection joins a list in the order of closing and is removed 60 s later; meanwhile late copies of its last
 * segments are still translated. Each new connection checks the head of the list, so the list stays short without a
 * timer. If the table is full, the head of the list is removed at once. The list has a quarter of the table's places,
 * so three quarters are always left for open connections. An open connection is never removed for want of room: the new
 * one then opens plainly, and is counted.
 *
 * An entry stays as long as its socket exists, whatever segments have ended the connection.
 */
#pragma once

#include "socket.h"

#define RETIRED_PER_OPEN 2  /* closed connections checked by each new one */
#define RETIRED_WHEN_FULL 8 /* if the table is full */
#define FULL_FOR TICKS(2)

volatile __u32 full_at SEC(".data.clock") = 0; /* tick at which there was no room; 0: never */

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, CONNECTIONS_MAX / 4);
	__uint(value_size, sizeof(struct closed)); /* the kernel keeps no types for queues */
} closed SEC(".maps");

/*
 * The processor that claims an entry may delete or replace it; others leave it alone. So the sweep cannot delete, by
 * its key, the entry that a new connection on the same ports has just added.
 */
static __always_inline bool claim(__u32 *flags)
{
	return !(__sync_fetch_and_or(flags, CLAIMED) & CLAIMED);
}

static __always_inline void delete_alias(const struct key *key, const union locator *locator, __be16 client_port,
					 __u32 endpoint)
{
	struct scratch *scratch = use_scratch();
	struct key *alias_key;
	struct alias *alias;

	if (!scratch)
		return;
	alias_key = &scratch->alias_key;
	*alias_key = *key;
	move_key(alias_key, locator, client_port, endpoint);
	alias = bpf_map_lookup_elem(&aliases, alias_key);
	if (alias && leads_to(alias, key) && claim(&alias->flags))
		bpf_map_delete_elem(&aliases, alias_key);
}

/* Delete the aliases that lead to a connection from an endpoint it has left. */
static __always_inline void delete_aliases(const struct key *key, const struct connection *entry, __u32 endpoint,
					   enum host host)
{
	if (host == CLIENT)
		delete_alias(key, &entry->locator, key->client_port, endpoint);
	if (entry->client_port)
		delete_alias(key, &entry->locator, entry->client_port, endpoint);
	if (entry->client_port || (entry->flags & CLIENT_PORT_MOVING))
		delete_alias(key, &entry->locator, entry->client_target, endpoint);
}

/*
 * Delete a connection with its aliases. False: another processor has claimed it. Not static: so the verifier checks it
 * once, and not wherever it is called.
 */
__noinline int forget(const struct key *key, struct connection *entry, __u32 host)
{
	if (!key || !entry || !claim(&entry->flags))
		return false;
	if (host == SERVER) {
		delete_aliases(key, entry, key->port, host);
	} else {
		if (entry->wire != key->port || entry->client_port || (entry->flags & CLIENT_PORT_MOVING))
			delete_aliases(key, entry, entry->wire, host);
		if (entry->before && entry->before != key->port && entry->before != entry->wire)
			delete_aliases(key, entry, entry->before, host);
	}
	bpf_map_delete_elem(&connections, key);
	return true;
}

/*
 * Does a closed connection still have its socket? On a server SOCKET_OPENING means the next connection's.
 */
static __always_inline bool has_socket(struct __sk_buff *skb, const struct key *key, enum host host)
{
	struct numbers numbers = {};
	enum socket_state found = find_socket(skb, key, host, &numbers);

	return found == SOCKET_OPEN || (host == CLIENT && (found == SOCKET_OPENING || found == SOCKET_LISTENING));
}

/* Remove the closed connection at the head of the list, list it again, or find that it is open again. */
static __always_inline void retire(struct __sk_buff *skb, enum host host, struct closed *head, __u32 now,
				   bool table_full)
{
	struct connection *entry = bpf_map_lookup_elem(&connections, &head->key);

	if (!entry || !(entry->flags & IN_CLOSED_LIST))
		return;
	if (!is_closing(entry)) {
		clear(entry, IN_CLOSED_LIST);
		return;
	}
	if ((!table_full && age(entry, now) <= CLOSING_AGE) || has_socket(skb, &head->key, host)) {
		head->at = now;
		if (bpf_map_push_elem(&closed, head, 0))
			clear(entry, IN_CLOSED_LIST);
		return;
	}
	if (forget(&head->key, entry, host))
		count(table_full ? COUNT_made_room : COUNT_swept_closing);
}

/* Not static, as forget(). */
__noinline int retire_some(struct __sk_buff *skb, __u32 host, __u32 most)
{
	struct scratch *scratch = use_scratch();
	bool table_full = most > RETIRED_PER_OPEN;
	__u32 now = tick();
	struct closed *head;

	if (!scratch)
		return 0;
	head = &scratch->head;
	for (__u32 i = 0; i < RETIRED_WHEN_FULL && i < most; i++) {
		if (bpf_map_peek_elem(&closed, head) || (!table_full && (__s32)(now - head->at - CLOSING_AGE) <= 0) ||
		    bpf_map_pop_elem(&closed, head))
			break;
		retire(skb, host, head, now, table_full);
	}
	return 0;
}

/* Put a closed connection on the list, once. Not static, as forget(). */
__noinline int list_closed(struct __sk_buff *skb, const struct key *key, __u32 host)
{
	struct scratch *scratch = use_scratch();

	if (!scratch || !key)
		return 0;
	scratch->last.key = *key;
	scratch->last.at = tick();
	if (!bpf_map_push_elem(&closed, &scratch->last, 0))
		return 0;
	if (!bpf_map_pop_elem(&closed, &scratch->head))
		retire(skb, host, &scratch->head, scratch->last.at, true);
	bpf_map_push_elem(&closed, &scratch->last, 0);
	return 0;
}

/* Call after a segment that may have ended the connection. */
static __always_inline void note_closed(struct __sk_buff *skb, const struct key *key, struct connection *entry,
					enum host host)
{
	if (is_closing(entry) && !(__sync_fetch_and_or(&entry->flags, IN_CLOSED_LIST) & IN_CLOSED_LIST))
		list_closed(skb, key, host);
}

/* Note what a segment of this host's program says about the connection's end. */
static __always_inline void note_local(struct __sk_buff *skb, const struct key *key, struct connection *entry,
				       const struct segment *segment, enum host host)
{
	note_use(entry, segment);
	note_numbers(entry, segment);
	if (segment->word & TCP_RST)
		set(entry, RESET_SEEN);
	else if (entry->flags & RESET_SEEN)
		clear(entry, RESET_SEEN); /* the reset was forged */
	if (segment->word & TCP_FIN)
		set(entry, FIN_LOCAL);
	if (segment->word & (TCP_FIN | TCP_RST))
		note_closed(skb, key, entry, host);
}

/* Note what a received FIN or reset says. The kernel judges it by itself. */
static __always_inline void note_remote(struct __sk_buff *skb, const struct key *key, struct connection *entry,
					const struct segment *segment, enum host host)
{
	if (!is_acceptable(skb, segment, key, host, entry))
		return;
	set(entry, segment->word & TCP_RST ? RESET_SEEN : FIN_REMOTE);
	note_closed(skb, key, entry, host);
}

/*
 * Remember a connection, in the place of `old` unless that is NULL. False, and counted: there is no room, or another
 * processor has claimed the old one.
 */
static __always_inline bool remember(struct __sk_buff *skb, const struct key *key, const struct connection *fresh,
				     struct connection *old, enum host host)
{
	if (old && !forget(key, old, host)) {
		count(COUNT_map_full);
		return false;
	}
	retire_some(skb, host, RETIRED_PER_OPEN);
	if (!bpf_map_update_elem(&connections, key, fresh, BPF_ANY))
		return true;
	retire_some(skb, host, RETIRED_WHEN_FULL);
	if (!bpf_map_update_elem(&connections, key, fresh, BPF_ANY))
		return true;
	full_at = tick();
	count(COUNT_map_full);
	return false;
}

/* Was there no room for a connection a moment ago? */
static __always_inline bool is_table_full(void)
{
	return full_at && tick() - full_at < FULL_FOR;
}

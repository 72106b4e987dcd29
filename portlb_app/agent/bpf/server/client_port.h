/* The client goes on at another port of its own (row D9). */
#pragma once

#include "../option.h"
#include "../table.h"

/*
 * The client announces another port of its own. Send nothing there before a packet comes from there: an address
 * translator may have changed the port.
 */
static __always_inline void server_announcement(struct __sk_buff *skb, const struct packet *packet,
						const struct segment *segment, const struct key *key,
						struct connection *entry, const struct announcement *found)
{
	struct alias alias = alias_of(key, key->port), *there;
	struct key alias_key = *key, owner_key;
	struct connection *other;
	struct numbers numbers = {};
	__u32 now = tick();

	if (!in_window(skb, segment, key, SERVER)) {
		count(COUNT_forged_announcement);
		return;
	}
	if (found->port && (found->port == entry->client_port ||
			    ((entry->flags & CLIENT_PORT_MOVING) && found->port == entry->client_target)))
		return; /* announced before */
	owner_key = alias_key;
	alias_key.client_port = owner_key.client_port = found->port;
	other = bpf_map_lookup_elem(&connections, &alias_key);
	there = bpf_map_lookup_elem(&aliases, &alias_key);
	if (there && (leads_to(there, key) || (!follow(&owner_key, there) && claim(&there->flags))))
		there = NULL;
	if (!found->port || !(found->flags & OPTION_IN_PLACE) || found->port == key->client_port ||
	    entry->timer_started == now || there || (other && !is_closing(other)) ||
	    ask_socket(skb, &alias_key, SERVER, &numbers)) {
		count(COUNT_refused_announcement);
		return;
	}
	entry->timer_started = now;
	if (((entry->flags & CLIENT_PORT_MOVING) || entry->client_port) && entry->client_target != key->client_port)
		delete_alias(key, &entry->locator, entry->client_target, key->port);
	if (bpf_map_update_elem(&aliases, &alias_key, &alias, BPF_ANY)) {
		count(COUNT_map_full);
		return;
	}
	entry->client_target = found->port;
	set(entry, CLIENT_PORT_MOVING);
}

/*
 * The client sends from another of its ports than before: answer there from now on. Until the client has received that,
 * it also sends from the port before, which brings the answers back there.
 */
static __always_inline void server_follow_client(struct __sk_buff *skb, const struct packet *packet,
						 const struct segment *segment, const struct key *key,
						 struct connection *entry)
{
	if (!in_window(skb, segment, key, SERVER))
		return;
	entry->client_target = client_port_of(entry, key->client_port); /* its alias goes with the next announcement */
	entry->client_port = segment->sport == key->client_port ? 0 : segment->sport;
	clear(entry, CLIENT_CONFIRMED);
}

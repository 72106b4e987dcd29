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
	union client_ports ports = client_ports_of(entry);
	bool moving = entry->flags & CLIENT_PORT_MOVING;
	struct connection *other;
	struct numbers numbers = {};
	__u32 now = tick();

	if (!in_window(skb, segment, key, SERVER)) {
		count(COUNT_forged_announcement);
		return;
	}
	/* Not from the port in use: server_follow_client() has not believed the same segment. */
	if (segment->sport != (ports.now ? ports.now : key->client_port))
		return;
	if (found->port && (found->port == ports.now || (moving && found->port == ports.other)))
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
	if (bpf_map_update_elem(&aliases, &alias_key, &alias, BPF_ANY)) {
		count(COUNT_map_full);
		return;
	}
	if (!change_client_ports(entry, ports, ports.now, found->port))
		return; /* it will be announced again */
	set(entry, CLIENT_PORT_MOVING);
	if ((moving || ports.now) && ports.other != found->port && ports.other != key->client_port)
		delete_alias(key, &entry->locator, ports.other, key->port);
}

/*
 * The client sends from another of its ports than before: answer there from now on. Until the client has received that,
 * it also sends from the port before, which brings the answers back there.
 */
static __always_inline void server_follow_client(struct __sk_buff *skb, const struct packet *packet,
						 const struct segment *segment, const struct key *key,
						 struct connection *entry)
{
	union client_ports ports = client_ports_of(entry);
	__be16 program = key->client_port;

	if (segment->sport != program && segment->sport != ports.other)
		return; /* another processor has just given the client's other port up */
	if (!in_window(skb, segment, key, SERVER))
		return;
	/* The alias of the port before goes with the next announcement. */
	if (change_client_ports(entry, ports, segment->sport == program ? 0 : segment->sport,
				ports.now ? ports.now : program))
		clear(entry, CLIENT_CONFIRMED);
}

/* ICMP errors that a client receives and sends. */
#pragma once

#include "../icmp.h"
#include "../table.h"
#include "settings.h"

/*
 * Does an error quote a packet that is not acknowledged yet (RFC 5927, 4.1)? As long as the endpoint is not confirmed,
 * the entry knows everything that was sent.
 */
static __always_inline bool is_in_flight(struct __sk_buff *skb, const struct key *key, const struct connection *entry,
					 __u32 seq)
{
	struct numbers numbers = {};

	if (find_socket(skb, key, CLIENT, &numbers) == SOCKET_OPEN)
		return seq - numbers.unacknowledged <= numbers.sent - numbers.unacknowledged;
	return seq - (entry->client_seq + 1) <= entry->sent - (entry->client_seq + 1);
}

/* An error about a packet this host sent. It quotes the ports of the wire; the program needs its own. */
static __noinline int client_ingress_icmp(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *entry;
	struct quote quote;
	struct alias *alias;
	struct key key;

	if (!read_quote(skb, packet, &quote, &client_settings.vips, &client_settings.services, TO_VIP))
		return PASS;
	key = packet->key;
	alias = bpf_map_lookup_elem(&aliases, &key);
	if (!alias)
		return PASS;
	entry = follow(&key, alias);
	if (entry && entry->state == BOUND && !(entry->flags & CONFIRMED) && entry->wire == quote.endpoint &&
	    entry->before != entry->wire && quote.refused) {
		/* A router refuses packets to the announced port, not to this server. */
		if (is_in_flight(skb, &key, entry, quote.seq))
			set(entry, SENDING_TO_BOTH);
		else
			count(COUNT_forged_error);
		return DROP;
	}
	if (quote.service && entry && !replace_quoted_address(skb, packet, DESTINATION, &packet->key.vip, &key.vip))
		return DROP;
	return rewrite_quote(skb, packet, &quote, alias->client_port, alias->port);
}

/* An error this host sends about a packet it received. It quotes the program's ports; the wire needs its own. */
static __noinline int client_egress_icmp(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *entry;
	struct quote quote;

	if (!read_quote(skb, packet, &quote, &client_settings.vips, NULL, FROM_VIP))
		return PASS;
	entry = bpf_map_lookup_elem(&connections, &packet->key);
	if (!entry)
		return PASS;
	if (kind_of(entry->wire) == LOCATOR_ADDRESS &&
	    !replace_quoted_address(skb, packet, SOURCE, &packet->key.vip, &entry->locator.address))
		return DROP;
	return rewrite_quote(skb, packet, &quote, port_of(entry->wire), client_port_of(entry, quote.dport));
}

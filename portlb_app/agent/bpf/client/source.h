/* What the endpoint that a packet comes from says of the connection: confirmed, fallen back, or forged. */
#pragma once

#include "../readdress.h"
#include "../table.h"
#include "paths.h"

/* The server stays with the endpoint before: go back to it, and note the path for the next connections. */
static __always_inline void fall_back(const struct key *key, struct connection *entry)
{
	__u32 silent = entry->wire;

	entry->wire = entry->before;
	entry->before = silent;
	clear(entry, SENDING_TO_BOTH);
	if (entry->wire == entry->opened) {
		entry->state = PLAIN;
		note_path_fallen_back(&key->vip, silent);
	} else {
		set(entry, CONFIRMED);
	}
	count(COUNT_fallen_back);
}

/*
 * Did the server send this before it could know where the client goes on? It may have if the SYN had data (RFC 7413):
 * what acknowledges that data and no more may have left before the third packet arrived.
 */
static __always_inline bool acknowledges_syn_data_only(const struct connection *entry, const struct segment *segment)
{
	return entry->syn_data && !(entry->flags & SENDING_TO_BOTH) &&
	       segment->ack == entry->client_seq + 1 + entry->syn_data &&
	       moment() - entry->timer_started <= entry->silence_limit;
}

/* A packet of the server has arrived from the wire's endpoint. Two processors may see the first two at once: one counts. */
static __always_inline void note_endpoint_confirmed(const struct key *key, struct connection *entry)
{
	if (__sync_fetch_and_or(&entry->flags, CONFIRMED) & CONFIRMED)
		return;
	clear(entry, SENDING_TO_BOTH);
	count(COUNT_confirmed);
	note_path_confirmed(&key->vip, entry->wire);
}

/* Return the server's endpoint that a packet comes from. */
static __always_inline __u32 source_endpoint(struct __sk_buff *skb, const struct packet *packet,
					     const struct segment *segment, const struct connection *entry)
{
	switch (kind_of(entry->wire) ? kind_of(entry->wire) : kind_of(entry->before)) {
	case LOCATOR_MAC:
		return has_mac(skb, SOURCE, entry->locator.mac) ? endpoint_of(packet->key.port, LOCATOR_MAC)
								: segment->endpoint;
	case LOCATOR_LABEL:
		return has_label(skb, packet, entry->locator.label) ? endpoint_of(packet->key.port, LOCATOR_LABEL)
								    : segment->endpoint;
	default:
		return segment->endpoint;
	}
}

/* Has a segment CONFIRM, by header bit or, on paths that clear it, by option? */
static __always_inline bool has_confirm(struct __sk_buff *skb, const struct packet *packet,
					const struct segment *segment)
{
	return (segment->word & REDIRECT_CONFIRM) || (read_option(skb, packet, segment).flags & OPTION_CONFIRM);
}

/* Update the connection by the endpoint a packet comes from, and by its FIN or RST. False: drop the packet. */
static __always_inline bool client_check_source(struct __sk_buff *skb, const struct packet *packet,
						const struct segment *segment, const struct key *key,
						struct connection *entry, struct alias *alias)
{
	union client_ports ports = client_ports_of(entry);
	bool awaited = (entry->flags & CLIENT_PORT_MOVING) && packet->key.client_port == ports.other;
	bool reset = segment->word & TCP_RST;
	__u32 endpoint = source_endpoint(skb, packet, segment, entry);

	if (awaited) {
		if (reset && !has_confirm(skb, packet, segment))
			return false; /* a middlebox's: the connection works where it is */
		if (in_window(skb, segment, key, CLIENT)) {
			if (change_client_ports(entry, ports, ports.other, ports.now ? ports.now : key->client_port)) {
				clear(entry, CLIENT_PORT_MOVING);
				count(COUNT_own_port_moved);
			}
			awaited = false;
		}
	}
	if (entry->state == BOUND && endpoint == entry->wire) {
		if (!(entry->flags & CONFIRMED)) {
			if (reset && entry->before != entry->wire && !has_confirm(skb, packet, segment)) {
				/* A middlebox refuses a port it does not know. A server's own reset has CONFIRM. */
				set(entry, SENDING_TO_BOTH);
				return false;
			}
			note_endpoint_confirmed(key, entry);
		}
		if (alias && !awaited && !(entry->flags & LEAVING))
			__sync_fetch_and_or(&alias->flags, CONFIRMED);
	} else if (entry->state == BOUND) {
		if (!is_acceptable(skb, segment, key, CLIENT, entry)) {
			count(COUNT_from_old_port);
			return false;
		}
		if (reset)
			count(COUNT_reset_from_old_port);
		else if (entry->flags & CONFIRMED)
			count(COUNT_repaired);
		else if (((entry->flags & SENDING_TO_BOTH) || segment->data || (segment->word & TCP_FIN)) &&
			 !acknowledges_syn_data_only(entry, segment))
			fall_back(key, entry); /* the server sends from both, or knows no other port */
	}
	/* While opening, a reset counts only if it answers the SYN. */
	if (reset && entry->state == OPENING && segment->ack - (entry->client_seq + 1) > entry->syn_data)
		return true;
	if (segment->word & (TCP_FIN | TCP_RST))
		note_remote(skb, key, entry, segment, CLIENT);
	return true;
}

/* A segment arrives on another port than the connection's. */
#pragma once

#include "../option.h"
#include "../table.h"

#define REPEATS_TO_GO_BACK 2 /* of a segment at the port left: the new one does not reach the client */

/* Exchange the wire's endpoint and the one before. */
static __always_inline void swap_ports(struct connection *entry)
{
	__u32 left = entry->wire;

	entry->wire = entry->before;
	entry->before = left;
	entry->state = entry->wire == entry->opened ? PLAIN : BOUND;
	entry->repeats = 0;
}

/*
 * Does the segment say that the client receives what comes from the endpoint it sends to? Such a segment has no
 * CONFIRM. To a label, where CONFIRM stays, it has REDIRECT. A client that uses the option alone leaves out the option;
 * only acknowledgements could have it.
 */
static __always_inline bool confirms_endpoint(struct __sk_buff *skb, const struct packet *packet,
					      const struct segment *segment, const struct connection *entry)
{
	struct announcement found;

	if (segment->word & TCP_RST)
		return false;
	if (kind_of(segment->endpoint) == LOCATOR_LABEL)
		return segment->word & REDIRECT;
	if (!(entry->flags & OPTION_ONLY))
		return !(segment->word & REDIRECT_CONFIRM);
	if (!is_pure_ack(segment) || !has_room(packet, segment))
		return false;
	found = read_option(skb, packet, segment);
	return !found.bad && !(found.flags & OPTION_CONFIRM);
}

/*
 * A client that receives nothing from the wire's endpoint repeats its first unacknowledged segment at the endpoint
 * left, too. Several different segments at once say nothing, nor do acknowledgements, which all have one number, nor a
 * segment that this host has not acknowledged: its kernel has no room for it at any port.
 */
static __always_inline bool is_repeated(const struct segment *segment, struct connection *entry)
{
	if (!segment->data && !(segment->word & TCP_FIN))
		return false;
	if (entry->repeats == 0 || (__s32)(segment->seq - entry->end_seq) < 0) {
		entry->end_seq = segment->seq;
		entry->repeats = 0;
	} else if (segment->seq != entry->end_seq) {
		return false;
	}
	if (entry->repeats < REPEATS_TO_GO_BACK)
		entry->repeats++;
	return entry->repeats >= REPEATS_TO_GO_BACK && (__s32)(entry->received - segment->seq) > 0;
}

/*
 * Does a segment at the endpoint left acknowledge something new, that was sent from both? A client that receives
 * neither repeats old segments at both.
 */
static __always_inline bool acknowledges_new(struct __sk_buff *skb, const struct segment *segment,
					     const struct key *key, const struct connection *entry)
{
	struct numbers numbers = {};
	__u32 acknowledged = ask_socket(skb, key, SERVER, &numbers) ? numbers.unacknowledged : entry->fin_seq;

	return (__s32)(segment->ack - acknowledged) > 0;
}

/* A segment at another endpoint than the connection's. False: drop it. */
static __always_inline bool server_other_port(struct __sk_buff *skb, const struct packet *packet,
					      const struct segment *segment, const struct key *key,
					      struct connection *entry)
{
	if (!is_acceptable(skb, segment, key, SERVER, entry))
		return false;
	if (segment->word & TCP_RST)
		return true;
	if ((entry->flags & SERVER_PORT_MOVING) && segment->endpoint == entry->target) {
		entry->before = entry->wire;
		entry->wire = entry->target;
		entry->state = BOUND;
		entry->repeats = 0;
		clear(entry, SERVER_PORT_MOVING | CLIENT_CONFIRMED);
		count(COUNT_server_moved);
		return true;
	}
	if (segment->endpoint != entry->before)
		return segment->endpoint ==
		       entry->opened; /* a client that has lost its entry knows no other port */
	if (entry->flags & CLIENT_CONFIRMED)
		return true; /* it was on its way when the connection moved */
	if ((entry->flags & SENDING_TO_BOTH) && acknowledges_new(skb, segment, key, entry)) {
		swap_ports(entry);
		clear(entry, SENDING_TO_BOTH);
		if (entry->opened == entry->wire)
			count(COUNT_stayed);
		return true;
	}
	if (entry->state == PLAIN) {
		/* A client that sends to the announced endpoint without CONFIRM has confirmed it. */
		if (confirms_endpoint(skb, packet, segment, entry)) {
			swap_ports(entry);
			set(entry, CLIENT_CONFIRMED);
		}
	} else if (is_repeated(segment, entry)) {
		swap_ports(entry);
		if (entry->opened == entry->wire)
			count(COUNT_stayed);
	} else if (entry->before != entry->opened && !(entry->flags & SERVER_PORT_MOVING)) {
		/* The client had moved in place, and data on its way has led it back: announce again. */
		entry->target = entry->wire;
		set(entry, SERVER_PORT_MOVING);
	}
	return true;
}

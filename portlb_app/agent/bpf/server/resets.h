/* Resets that do not come from the client's program. */
#pragma once

#include "../socket.h"

/*
 * A router refuses packets from a port that it knows no connection to: the client's own reset to an announced port has
 * CONFIRM, always, as it may have heard the port and said nothing since. One that asked by option alone cannot say so,
 * but its program's resets have ACK. On the port left for the one opened on, such a reset answers a copy sent from
 * there: by the router, or by the kernel of a client whose agent has lost its entry. The client goes on at the other.
 */
static __always_inline bool is_middlebox_reset(const struct connection *entry, const struct segment *segment)
{
	if (entry->before == entry->wire)
		return false;
	if (entry->state == BOUND)
		return !(entry->flags & (CLIENT_CONFIRMED | OPTION_ONLY)) && segment->endpoint == entry->wire &&
		       !(segment->word & REDIRECT_CONFIRM);
	return segment->endpoint == entry->before &&
	       !(segment->word & (entry->flags & OPTION_ONLY ? TCP_ACK : REDIRECT_CONFIRM));
}

/*
 * Is this what a kernel says that has no socket for what we have sent? A program's own reset has ACK. Of a port that the
 * connection has left in place it is, too: the client knows neither.
 */
static __always_inline bool is_reset_without_socket(const struct connection *entry, const struct segment *segment)
{
	return (segment->word & (TCP_RST | TCP_ACK)) == TCP_RST && entry->state == BOUND &&
	       segment->endpoint != entry->opened &&
	       (segment->endpoint == entry->wire || segment->endpoint == entry->before) &&
	       (entry->flags & RESET_SEEN) && !kind_of(segment->endpoint);
}

/* What the client may expect next: what it has acknowledged last, or what this host has sent since. */
static __always_inline struct numbers expected_by_client(struct __sk_buff *skb, const struct key *key,
							 const struct connection *entry)
{
	struct numbers numbers = {};

	if (!ask_socket(skb, key, SERVER, &numbers)) {
		numbers.unacknowledged = entry->fin_seq;
		numbers.sent = entry->flags & SOCKET_ELSEWHERE ? entry->sent : entry->fin_seq;
	}
	return numbers;
}

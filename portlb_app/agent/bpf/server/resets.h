/* Resets that the client's program did not send. */
#pragma once

#include "../socket.h"

/*
 * Is this reset a router's, which refuses packets to or from a port it does not know?
 *
 * The client's own reset to an announced port always has CONFIRM. A client that uses the option alone has no bits, but
 * its program's resets have ACK. At the port left for the one opened on, such a reset answers a copy sent from there:
 * by the router, or by the kernel of a client whose agent has lost its entry. The client goes on at the other port.
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
 * Does this reset come from a kernel without a socket for what we have sent? A program's own reset has ACK. The same
 * holds at a port that the connection has left in place: the client knows neither.
 */
static __always_inline bool is_reset_without_socket(const struct connection *entry, const struct segment *segment)
{
	return (segment->word & (TCP_RST | TCP_ACK)) == TCP_RST && entry->state == BOUND &&
	       segment->endpoint != entry->opened &&
	       (segment->endpoint == entry->wire || segment->endpoint == entry->before) &&
	       (entry->flags & RESET_SEEN) && !kind_of(segment->endpoint);
}

/*
 * Is this a reset from a port at which the client is not answered any more (row D9), or not yet? The client's kernel has
 * no socket there, and resets what the server sent while its agent gave that port up; so may a router. A program's own
 * reset has ACK, and leaves from the port in use.
 */
static __always_inline bool is_reset_from_other_port(const struct segment *segment)
{
	return (segment->word & (TCP_RST | TCP_ACK)) == TCP_RST;
}

/* Return what the client may expect next: what it has acknowledged last, and what this host has sent since. */
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

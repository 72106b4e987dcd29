/*
 * A connection opens: its SYN, the segment that completes the handshake, and the entry that is rebuilt if it was lost.
 *
 * The key has the application's port A, which both directions reach with one look-up: packets received through the
 * static table of service ports, packets sent directly. The entry has the port that the wire uses.
 */
#pragma once

#include "../rewrite.h"
#include "../table.h"
#include "half_open.h"
#include "orphans.h"
#include "settings.h"

/* Bytes a client may have sent with, and before, the segment that completes the handshake. */
#define FIRST_WINDOW (1 << 20)

/* Return the endpoint the connection uses on the wire now. */
static __always_inline __u32 current_endpoint(const struct connection *entry)
{
	return entry->state == OPENING ? entry->opened : entry->wire;
}

/* Note what to announce in the SYN/ACK. A SYN without REDIRECT to a port that is not translated needs no entry. */
static __always_inline int server_syn(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
				      const struct key *key, struct connection *entry)
{
	struct announcement asked = read_option(skb, packet, segment);
	bool by_bit = segment->word & REDIRECT, redirect = by_bit || (asked.flags & OPTION_REDIRECT);
	struct connection *half;
	struct numbers numbers = {};
	enum socket_state found;
	__u32 answer;

	if (is_signed(skb, packet, segment)) { /* RFC 2385, RFC 5925: the receiver refuses a changed segment */
		if (entry)
			forget(key, entry, SERVER);
		half = find_half_open(key);
		if (half)
			forget_half_open(half);
		count(COUNT_signed);
		return PASS;
	}
	answer = redirect && !is_table_full() ? announcement_for(packet, segment) : 0;
	if (entry) {
		/* The kernel has such a connection and challenges the SYN (RFC 5961, 4): keep the entry. */
		found = find_socket(skb, key, SERVER, &numbers);
		if (found == SOCKET_OPEN || (entry->client_seq == segment->seq && !is_closing(entry)))
			return rewrite(skb, packet, segment, key->client_port, key->port, segment->word);
		if (found == SOCKET_NONE && is_live(entry) && current_endpoint(entry) != segment->endpoint) {
			count(COUNT_collision);
			return DROP;
		}
		if (found != SOCKET_NONE || !is_live(entry))
			forget(key, entry, SERVER);
	}
	if (asked.bad)
		count(COUNT_bad_option);
	if (redirect || key->port != segment->endpoint) {
		struct scratch *scratch = use_scratch();

		if (!scratch)
			return PASS;
		scratch->fresh = (struct connection){
			.last_used = tick(),
			.client_seq = segment->seq,
			.opened = segment->endpoint,
			.wire = answer ? answer : segment->endpoint,
			.before = segment->endpoint,
			.state = OPENING,
			.flags = (redirect ? REDIRECT_REQUESTED : 0) | (by_bit ? 0 : OPTION_ONLY) |
				 (answer ? ANNOUNCED : 0),
		};

		remember_half_open(key, &scratch->fresh);
		if (redirect)
			count(COUNT_syn_redirect);
		if (redirect && asked.port)
			count(COUNT_arrived);
	} else {
		half = find_half_open(key);
		if (half)
			forget_half_open(half);
	}
	return rewrite(skb, packet, segment, segment->sport, key->port, segment->word);
}

/*
 * The segment that completes the handshake decides where the connection goes on: at the announced endpoint (step 3),
 * or, if the client could not follow, at the one it opened on. Only a client that has received the SYN/ACK can complete
 * the handshake; any other segment changes nothing. False: the segment is at neither endpoint.
 */
static __always_inline bool server_complete_handshake(struct __sk_buff *skb, const struct key *key,
						      struct connection *half, const struct segment *segment)
{
	struct scratch *scratch = use_scratch();
	struct numbers numbers = {};
	struct connection *entry;

	if (segment->endpoint != half->wire && segment->endpoint != half->opened)
		return false;
	if ((segment->word & TCP_RST) || !(segment->word & TCP_ACK) ||
	    segment->ack - (half->server_seq + 1) > half->sent - (half->server_seq + 1) ||
	    segment->seq - (half->client_seq + 1) > FIRST_WINDOW)
		return true;
	if (!scratch)
		return true;
	entry = &scratch->fresh;
	*entry = *half;
	entry->fin_seq = segment->ack;
	touch(entry);
	if (!(half->flags & ANNOUNCED)) {
		entry->state = PLAIN;
		entry->flags |= CLIENT_CONFIRMED;
	} else if (segment->endpoint == half->wire) {
		entry->state = BOUND;
		if (half->wire == half->opened)
			entry->flags |= CLIENT_CONFIRMED;
		count(COUNT_redirected);
	} else {
		entry->state = PLAIN;
		entry->before = half->wire;
		entry->wire = half->opened;
		count(COUNT_stayed);
	}
	if (segment->word & TCP_FIN)
		entry->flags |= FIN_REMOTE;
	if (find_socket(skb, key, SERVER, &numbers) == SOCKET_NONE)
		entry->flags |= SOCKET_ELSEWHERE;
	if (!remember(skb, key, entry, NULL, SERVER))
		return true;
	forget_half_open(half);
	entry = bpf_map_lookup_elem(&connections, key);
	if (entry)
		note_closed(skb, key, entry, SERVER);
	return true;
}

/*
 * Rebuild a lost entry from the static table, so that answers leave from the right port, if this host has the socket
 * and its peer can have sent the segment. A connection that the kernel knows only by a SYN cookie has its socket at the
 * client's next segment. The connection opened on the application's port if this service port is announced for that.
 * CONFIRM says that the client has not confirmed the service port yet.
 */
static __always_inline void server_rebuild(struct __sk_buff *skb, const struct segment *segment, const struct key *key)
{
	struct scratch *scratch = use_scratch();
	__u32 opened = server_settings.announced_ports[key->port] == segment->endpoint ? key->port : segment->endpoint;
	bool confirmed = opened == segment->endpoint || !(segment->word & REDIRECT_CONFIRM);
	struct numbers numbers = {};

	if (!scratch)
		return;
	if (find_socket(skb, key, SERVER, &numbers) != SOCKET_OPEN) {
		note_orphan(key, segment);
		return;
	}
	if ((segment->word & TCP_RST) || !is_from_peer(segment, &numbers))
		return;
	scratch->fresh = (struct connection){
		.last_used = tick(),
		.sent = numbers.sent,
		.received = numbers.received,
		.opened = opened,
		.wire = segment->endpoint,
		.before = opened,
		.state = BOUND,
		.flags = REDIRECT_REQUESTED | (confirmed ? CLIENT_CONFIRMED : 0) |
			 (segment->word & TCP_FIN ? FIN_REMOTE : 0),
	};
	if (remember(skb, key, &scratch->fresh, NULL, SERVER))
		count(COUNT_rebuilt);
}

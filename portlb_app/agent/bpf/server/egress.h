/* Segments that this host's programs send. */
#pragma once

#include "handshake.h"
#include "locator.h"
#include "second_chance.h"

/* Step 2: send the SYN/ACK from the port the SYN named, with CONFIRM and the endpoint to continue at. */
static __always_inline int server_synack(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					 struct connection *entry)
{
	__be16 opened = port_of(entry->opened), dport = client_port_of(entry, segment->dport);
	__u32 announced = !(entry->flags & ANNOUNCED) ? 0 : entry->state == PLAIN ? entry->before : entry->wire;
	__u16 word = segment->word;

	if (!(entry->flags & SYNACK_SENT) || entry->server_seq != segment->seq)
		entry->sent = segment->seq + 1;
	entry->server_seq = segment->seq;
	entry->received = segment->ack;
	set(entry, SYNACK_SENT);
	if (!server_put_locator(skb, packet, entry->opened))
		return DROP;
	if (!(entry->flags & REDIRECT_REQUESTED))
		return rewrite(skb, packet, segment, opened, dport, word);
	if (!(entry->flags & OPTION_ONLY))
		word |= REDIRECT_CONFIRM;
	if (kind_of(announced)) {
		union locator locator = own_locator(packet, kind_of(announced));
		struct option option = make_locator_option(OPTION_CONFIRM, packet->v6, kind_of(announced), &locator);

		if (has_room_for(packet, segment, OPTION_LENGTH_LOCATOR)) {
			count(COUNT_announced);
			return rewrite_with(skb, packet, segment, opened, dport, word, &option);
		}
		count(COUNT_no_room);
	} else if (announced || (entry->flags & OPTION_ONLY)) {
		if (has_room(packet, segment)) {
			count(announced ? COUNT_announced : COUNT_supported);
			return rewrite_with_option(skb, packet, segment, opened, dport, word, OPTION_CONFIRM,
						   announced);
		}
		count(COUNT_no_room);
	} else {
		count(COUNT_supported);
	}
	return rewrite(skb, packet, segment, opened, dport, word);
}

/*
 * Does this segment concern the half-open connection? Before the SYN/ACK, only what answers the SYN does; other
 * segments belong to a connection that the kernel already had and that needs no entry.
 */
static __always_inline bool concerns_half_open(const struct connection *half, const struct segment *segment)
{
	return (half->flags & SYNACK_SENT) || is_synack(segment) ||
	       ((segment->word & TCP_RST) && segment->ack - (half->client_seq + 1) <= FIRST_WINDOW);
}

/*
 * Does the program repeat data from an endpoint that the client has not confirmed? Then the path may drop what comes
 * from there, and a client that only receives cannot know.
 */
static __always_inline bool is_unconfirmed_repeat(const struct connection *entry, const struct segment *segment)
{
	__u32 next = segment->seq + segment->data + !!(segment->word & TCP_FIN);

	/* A client that moves to another port of its own has confirmed ours; at its new port it knows of no other. */
	if ((entry->flags & CLIENT_PORT_MOVING) && entry->client_port)
		return false;
	return entry->state == BOUND && !(entry->flags & (CLIENT_CONFIRMED | SENDING_TO_BOTH)) &&
	       entry->before != entry->wire && entry->before && next != segment->seq && !(segment->word & TCP_RST) &&
	       (__s32)(next - entry->sent) <= 0;
}

/*
 * Send the packet from the wire's endpoint and from the one before. The client stays where it receives one; the wire's
 * is first, so a client that receives both stays there.
 */
static __always_inline int server_try_both(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					   struct connection *entry, __be16 dport)
{
	union locator locator = own_locator(packet, kind_of(entry->wire));
	__u8 mac[6] = {}, *found = mac_of(skb, SOURCE);

	count(COUNT_sent_from_both);
	if (kind_of(entry->before) || !found)
		return DROP;
	__builtin_memcpy(mac, found, sizeof(mac));
	if (rewrite(skb, packet, segment, port_of(entry->wire), dport, segment->word) == DROP ||
	    !put_locator(skb, packet, SOURCE, entry->wire, &locator))
		return DROP;
	send_copy(skb);
	if (!remove_locator(skb, packet, SOURCE, entry->wire, &locator, mac))
		return DROP;
	return rewrite(skb, packet, segment, port_of(entry->before), dport, segment->word);
}

static __noinline int server_egress_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *entry;
	struct segment segment;
	__be16 sport, dport;
	__u16 word;
	__u32 endpoint;

	if (!read_tcp(skb, packet, &segment, FROM_VIP))
		return PASS;
	entry = bpf_map_lookup_elem(&connections, &packet->key);
	if (!is_copy())
		note_program(skb, &packet->key, &segment);
	if (entry) {
		if (is_copy())
			return PASS;
		if (is_unconfirmed_repeat(entry, &segment))
			set(entry, SENDING_TO_BOTH);
		note_local(skb, &packet->key, entry, &segment, SERVER);
	} else {
		entry = find_half_open(&packet->key);
		if (!entry || !concerns_half_open(entry, &segment)) {
			endpoint = orphan_endpoint(skb, &packet->key, &segment, entry);
			if (!endpoint)
				return PASS;
			count(COUNT_answered_as_asked);
			if (!server_put_locator(skb, packet, endpoint))
				return DROP;
			return rewrite(skb, packet, &segment, port_of(endpoint), segment.dport, segment.word);
		}
		note_use(entry, &segment);
		note_numbers(entry, &segment);
		if (segment.word & TCP_FIN) /* of a connection whose SYN had data (RFC 7413) */
			set(entry, FIN_LOCAL);
	}
	if (is_synack(&segment))
		return server_synack(skb, packet, &segment, entry);
	word = segment.word;
	endpoint = is_closing(entry) ? orphan_endpoint(skb, &packet->key, &segment, NULL) : 0;
	if (!endpoint)
		endpoint = current_endpoint(entry);
	sport = port_of(endpoint);
	dport = client_port_of(entry, segment.dport);
	if (entry->flags & SENDING_TO_BOTH)
		return server_try_both(skb, packet, &segment, entry, dport);
	if (!server_put_locator(skb, packet, endpoint))
		return DROP;
	/* A client that has not confirmed this endpoint takes a bare reset for a middlebox's: add CONFIRM. */
	if ((word & TCP_RST) && entry->state == BOUND && !(entry->flags & CLIENT_CONFIRMED)) {
		if (!(entry->flags & OPTION_ONLY))
			word |= REDIRECT_CONFIRM;
		if (has_room(packet, &segment))
			return rewrite_with_option(skb, packet, &segment, sport, dport, word, OPTION_CONFIRM, 0);
	}
	return rewrite(skb, packet, &segment, sport, dport, word);
}

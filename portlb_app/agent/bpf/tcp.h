/* Reads TCP headers. */
#pragma once

#include <linux/tcp.h>

#include "ip.h"

/* Read a TCP header and the key. False: the packet passes untouched and is counted. */
static __always_inline bool read_tcp(struct __sk_buff *skb, struct packet *packet, struct segment *segment,
				     enum side side)
{
	__u32 offset = packet->payload;
	struct tcphdr *tcp;
	__u32 header;

	if (packet->fragment) {
		count(COUNT_fragment);
		return false;
	}
	tcp = readable(skb, offset, sizeof(*tcp));
	if (!tcp) {
		count(COUNT_malformed);
		return false;
	}
	segment->sport = tcp->source;
	segment->dport = tcp->dest;
	segment->seq = bpf_ntohl(tcp->seq);
	segment->ack = bpf_ntohl(tcp->ack_seq);
	segment->word = bpf_ntohs(*(__be16 *)((void *)tcp + 12));
	header = offset + (segment->word >> 12) * 4;
	if (header < offset + TCP_HEADER || header > skb->len || (packet->end && header > packet->end)) {
		count(COUNT_malformed);
		return false;
	}
	segment->data = (packet->end ? packet->end : skb->len) - header;
	packet->key.client_port = side == TO_VIP ? segment->sport : segment->dport;
	packet->key.port = side == TO_VIP ? segment->dport : segment->sport;
	segment->endpoint = endpoint_of(packet->key.port, packet->service ? LOCATOR_ADDRESS : LOCATOR_NONE);
	return true;
}

static __always_inline bool is_syn(const struct segment *segment)
{
	return (segment->word & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_SYN;
}

static __always_inline bool is_synack(const struct segment *segment)
{
	return (segment->word & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == (TCP_SYN | TCP_ACK);
}

static __always_inline bool is_pure_ack(const struct segment *segment)
{
	return segment->data == 0 && (segment->word & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) == TCP_ACK;
}

/* FIN and RST set the time exactly: the age of a closed connection counts from them. */
static __always_inline void note_use(struct connection *entry, const struct segment *segment)
{
	if (segment->word & (TCP_FIN | TCP_RST))
		entry->last_used = tick();
	else
		touch(entry);
}

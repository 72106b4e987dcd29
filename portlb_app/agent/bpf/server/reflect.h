/*
 * Resets of a client that has lost its entry.
 *
 * A client whose agent has lost its entry does not know the announced port. Its kernel resets what comes from there,
 * which ends the server's side, while the program waits for ever at the port it opened on. So the agent also sends such
 * a reset back from that port. The client accepts it at one of two numbers. The first is what the client has
 * acknowledged last, as it has received nothing since. If that acknowledgement was lost, the second number is in the
 * client's window and is challenged (RFC 5961, 3.2); the server's kernel, which has no connection any more, answers
 * with an exact reset, unless the server's program is sending just then. A client that has really closed has no socket
 * at that port, and answers no reset.
 */
#pragma once

#include "../readdress.h"
#include "../table.h"

/* Exchange source and destination; no checksum changes. */
static __noinline bool swap_ends(struct __sk_buff *skb, const struct packet *packet)
{
	__u8 macs[2 * ETH_ALEN], swapped[2 * ETH_ALEN];
	struct address addresses[2];
	__be16 ports[2];
	__u32 at = ETH_HLEN + (packet->v6 ? offsetof(struct ipv6hdr, saddr) : offsetof(struct iphdr, saddr));
	__be32 short_ones[2];

	if (bpf_skb_load_bytes(skb, 0, macs, sizeof(macs)) ||
	    bpf_skb_load_bytes(skb, packet->payload, ports, sizeof(ports)))
		return false;
	for (int i = 0; i < 2 * ETH_ALEN; i++)
		swapped[i] = macs[(i + ETH_ALEN) % (2 * ETH_ALEN)];
	ports[0] ^= ports[1];
	ports[1] ^= ports[0];
	ports[0] ^= ports[1];
	if (packet->v6) {
		if (bpf_skb_load_bytes(skb, at, addresses, sizeof(addresses)) ||
		    bpf_skb_store_bytes(skb, at, &addresses[1], sizeof(addresses[1]), 0) ||
		    bpf_skb_store_bytes(skb, at + sizeof(addresses[0]), &addresses[0], sizeof(addresses[0]), 0))
			return false;
	} else {
		if (bpf_skb_load_bytes(skb, at, short_ones, sizeof(short_ones)) ||
		    bpf_skb_store_bytes(skb, at, &short_ones[1], sizeof(short_ones[1]), 0) ||
		    bpf_skb_store_bytes(skb, at + 4, &short_ones[0], sizeof(short_ones[0]), 0))
			return false;
	}
	return !bpf_skb_store_bytes(skb, 0, swapped, sizeof(swapped), 0) &&
	       !bpf_skb_store_bytes(skb, packet->payload, ports, sizeof(ports), 0);
}

/*
 * Send a received reset back from `port`, twice: with the number that the client has acknowledged last, and with the
 * number behind everything sent to it. False: the packet is damaged.
 */
static __always_inline bool reflect(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
				    __be16 port, const struct numbers *numbers)
{
	__u32 acknowledged = numbers->unacknowledged, sent = numbers->sent;
	__be16 to = segment->dport;

	if (rewrite(skb, packet, segment, segment->sport, port, segment->word) == DROP ||
	    !replace_number(skb, packet, SEQ_AT, segment->seq, acknowledged) || !swap_ends(skb, packet))
		return false;
	send_copy(skb);
	if (!replace_number(skb, packet, SEQ_AT, acknowledged, sent))
		return false;
	if (acknowledged != sent)
		send_copy(skb);
	count(COUNT_reflected);
	return swap_ends(skb, packet) && replace_number(skb, packet, SEQ_AT, sent, segment->seq) &&
	       rewrite(skb, packet, segment, segment->sport, to, segment->word) != DROP;
}

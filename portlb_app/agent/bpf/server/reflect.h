/*
 * A client whose agent has lost its entry knows nothing of the announced port: its kernel answers what comes from there
 * by a reset, which ends the server's side, and its program, which has a socket at the port it opened on, would wait for
 * ever. So such a reset is also sent back, from that port. There it is exact by one of two numbers: what the client has
 * acknowledged last, as it has received nothing since. If its last acknowledgement was lost, the other one is in its
 * window and is challenged (RFC 5961, 3.2); the server's kernel, which knows the connection no more, answers with one that
 * is exact, unless its program is just sending: then it hears the challenge too early and says nothing. A client that has
 * really closed has no socket there either, and no reset is answered.
 */
#pragma once

#include "../readdress.h"
#include "../table.h"

/* Exchange what comes from where and goes to where: of no consequence for any checksum. */
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
 * Send a reset that was received back, from `port`, with the number that the client has acknowledged last, and with the
 * one that follows all that it was sent. False: the packet is spoilt.
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

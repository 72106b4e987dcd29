/* Changes TCP segments: ports, header bits, numbers, and REDIRECT_OPT. */
#pragma once

#include "option.h"

/* One's complement difference of one 16-bit word, to be summed with others (RFC 1624). */
static __always_inline __u32 difference(__u16 old, __u16 new)
{
	return (__u16)~old + new;
}

static __always_inline __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return sum + (sum >> 16);
}

#define CHECKSUM_AT offsetof(struct tcphdr, check)
#define WORD_AT 12
#define SEQ_AT offsetof(struct tcphdr, seq)
#define ACK_AT offsetof(struct tcphdr, ack_seq)

/* Change the sequence or acknowledgement number, given in host byte order. */
static __always_inline bool replace_number(struct __sk_buff *skb, const struct packet *packet, __u32 at, __u32 from,
					   __u32 to)
{
	__be32 old = bpf_htonl(from), new = bpf_htonl(to);

	if (from == to)
		return true;
	if (bpf_l4_csum_replace(skb, packet->payload + CHECKSUM_AT, old, new, sizeof(new)) ||
	    bpf_skb_store_bytes(skb, packet->payload + at, &new, sizeof(new), 0)) {
		count(COUNT_rewrite_failed);
		return false;
	}
	return true;
}

/*
 * Write ports and header bits, and return the sum by which the caller corrects the checksum. Writes directly: a helper
 * costs three times as much. The kernel unshares the header before such a program runs.
 */
static __always_inline __u32 write_header(struct tcphdr *tcp, struct segment *segment, __be16 sport, __be16 dport,
					  __u16 word)
{
	__be16 old = bpf_htons(segment->word), new = bpf_htons(word);
	__u32 sum = difference(segment->sport, sport) + difference(segment->dport, dport) + difference(old, new);

	tcp->source = sport;
	tcp->dest = dport;
	*(__be16 *)((void *)tcp + WORD_AT) = new;
	segment->sport = sport;
	segment->dport = dport;
	segment->word = word;
	return sum;
}

/*
 * Give the segment other ports and header bits. Without BPF_F_PSEUDO_HDR, bpf_l4_csum_replace leaves a checksum alone
 * that the kernel or the card computes later; only the helper knows.
 */
static __always_inline int rewrite(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
				   __be16 sport, __be16 dport, __u16 word)
{
	struct tcphdr *tcp;
	__u32 sum;

	if (sport == segment->sport && dport == segment->dport && word == segment->word)
		return PASS;
	tcp = readable(skb, packet->payload, sizeof(*tcp));
	if (!tcp)
		goto failed;
	sum = write_header(tcp, segment, sport, dport, word);
	if (bpf_l4_csum_replace(skb, packet->payload + CHECKSUM_AT, 0, sum, 0))
		goto failed;
	return PASS;
failed:
	count(COUNT_rewrite_failed);
	return DROP;
}

/*
 * rewrite(), and append the option, where there is room (has_room_for()). A data segment never grows, so neither the
 * MSS nor segmentation offload is affected.
 */
static __always_inline int rewrite_with(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					__be16 sport, __be16 dport, __u16 word, const struct option *option)
{
	__u32 end = packet->end, segment_length = end - packet->payload, length = option->length, sum;
	struct tcphdr *tcp;
	__be16 *place;

	if (bpf_skb_change_tail(skb, end + length, 0))
		goto failed;
	place = readable(skb, end, length);
	if (!place)
		goto failed;
	for (__u32 i = 0; i < OPTION_LENGTH_LOCATOR / 2; i++) {
		if (i < length / 2)
			place[i] = option->words[i];
	}
	if (packet->v6) {
		struct ipv6hdr *ip = readable(skb, ETH_HLEN, sizeof(*ip));

		if (!ip)
			goto failed;
		ip->payload_len = bpf_htons(end + length - ETH_HLEN - sizeof(*ip));
	} else {
		struct iphdr *ip = readable(skb, ETH_HLEN, sizeof(*ip));
		__be16 total = bpf_htons(end + length - ETH_HLEN);

		if (!ip)
			goto failed;
		ip->check = ~fold((__u16)~ip->check + difference(ip->tot_len, total));
		ip->tot_len = total;
	}
	tcp = readable(skb, packet->payload, sizeof(*tcp));
	if (!tcp)
		goto failed;
	sum = write_header(tcp, segment, sport, dport, word + (length / 4 << 12));
	for (__u32 i = 0; i < OPTION_LENGTH_LOCATOR / 2; i++)
		sum += i < length / 2 ? option->words[i] : 0;
	if (bpf_l4_csum_replace(skb, packet->payload + CHECKSUM_AT, 0, sum, 0) ||
	    bpf_l4_csum_replace(skb, packet->payload + CHECKSUM_AT, bpf_htons(segment_length),
				bpf_htons(segment_length + length), BPF_F_PSEUDO_HDR | 2))
		goto failed;
	return PASS;
failed:
	count(COUNT_rewrite_failed);
	return DROP;
}

static __always_inline int rewrite_with_option(struct __sk_buff *skb, const struct packet *packet,
					       struct segment *segment, __be16 sport, __be16 dport, __u16 word,
					       __u8 flags, __be16 port)
{
	struct option option = make_option(flags, port);

	return rewrite_with(skb, packet, segment, sport, dport, word, &option);
}

/* Changing TCP segments: ports, header bits, and REDIRECT_OPT at their end. */
#pragma once

#include "packet.h"

/* One's complement difference of one 16-bit word, to be summed with others: RFC 1624. */
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

/* Give the segment another sequence or acknowledgement number, in host byte order. */
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
 * Write ports and header bits; the checksum is the caller's to correct, by the sum returned. Direct writes: a helper
 * costs three times as much. The kernel makes the header this host's own before a program that has any is run.
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
 * Give the segment other ports and header bits. bpf_l4_csum_replace without BPF_F_PSEUDO_HDR leaves the checksum alone
 * where the kernel or the card has yet to compute it, which only the helper can tell.
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

/* REDIRECT_OPT as it is written: `port` 0 makes one of type "none", behind two bytes of padding (kind 1). */
struct option {
	__be16 words[4];
};

static __always_inline struct option make_option(__u8 flags, __be16 port)
{
	if (port)
		return (struct option){{
			bpf_htons(OPTION_KIND << 8 | OPTION_LENGTH),
			bpf_htons(OPTION_EXID),
			bpf_htons((flags << 4 | OPTION_TYPE_PORT) << 8),
			port,
		}};
	return (struct option){{
		bpf_htons(1 << 8 | 1),
		bpf_htons(OPTION_KIND << 8 | OPTION_LENGTH_NONE),
		bpf_htons(OPTION_EXID),
		bpf_htons((flags << 4 | OPTION_TYPE_NONE) << 8),
	}};
}

static __always_inline bool has_room(const struct packet *packet, const struct segment *segment)
{
	return segment->data == 0 && packet->end && (segment->word >> 12) * 4 + OPTION_LENGTH <= TCP_HEADER_MAX;
}

/*
 * rewrite(), and append REDIRECT_OPT. Only for segments with has_room(): a data segment never grows, so neither the
 * MSS nor segmentation offload is affected.
 */
static __always_inline int rewrite_with_option(struct __sk_buff *skb, const struct packet *packet,
					       struct segment *segment, __be16 sport, __be16 dport, __u16 word,
					       __u8 flags, __be16 port)
{
	__u32 end = packet->end, segment_length = end - packet->payload, sum;
	struct option option = make_option(flags, port), *place;
	struct tcphdr *tcp;

	if (bpf_skb_change_tail(skb, end + OPTION_LENGTH, 0))
		goto failed;
	place = readable(skb, end, sizeof(*place));
	if (!place)
		goto failed;
	*place = option;
	if (packet->v6) {
		struct ipv6hdr *ip = readable(skb, ETH_HLEN, sizeof(*ip));

		if (!ip)
			goto failed;
		ip->payload_len = bpf_htons(end + OPTION_LENGTH - ETH_HLEN - sizeof(*ip));
	} else {
		struct iphdr *ip = readable(skb, ETH_HLEN, sizeof(*ip));
		__be16 length = bpf_htons(end + OPTION_LENGTH - ETH_HLEN);

		if (!ip)
			goto failed;
		ip->check = ~fold((__u16)~ip->check + difference(ip->tot_len, length));
		ip->tot_len = length;
	}
	tcp = readable(skb, packet->payload, sizeof(*tcp));
	if (!tcp)
		goto failed;
	sum = write_header(tcp, segment, sport, dport, word + (OPTION_LENGTH / 4 << 12));
	sum += (__u32)option.words[0] + option.words[1] + option.words[2] + option.words[3];
	if (bpf_l4_csum_replace(skb, packet->payload + CHECKSUM_AT, 0, sum, 0) ||
	    bpf_l4_csum_replace(skb, packet->payload + CHECKSUM_AT, bpf_htons(segment_length),
				bpf_htons(segment_length + OPTION_LENGTH), BPF_F_PSEUDO_HDR | 2))
		goto failed;
	return PASS;
failed:
	count(COUNT_rewrite_failed);
	return DROP;
}

struct announcement {
	__be16 port; /* 0: none */
	__u8 flags;
	bool bad;
};

/* Find REDIRECT_OPT. At most 40 steps of at least one byte, all inside `options`. */
static __always_inline struct announcement read_option(struct __sk_buff *skb, const struct packet *packet,
						       const struct segment *segment)
{
	struct announcement found = {};
	__u8 options[64 + OPTION_LENGTH] = {}; /* so that any index below 64 is inside, and the 8 bytes from there on */
	__u32 length = (segment->word >> 12) * 4 - TCP_HEADER;
	__u64 at = 0;

	if (length == 0 || length > TCP_OPTIONS_MAX ||
	    bpf_skb_load_bytes(skb, packet->payload + TCP_HEADER, options, length))
		return found;
	for (int step = 0; step < TCP_OPTIONS_MAX; step++) {
		__u8 kind, size;

		if (at >= length)
			return found;
		barrier_var(at); /* or the compiler, which knows, drops the bound that the verifier needs to see */
		at &= 63;
		kind = options[at];
		if (kind == 0) /* end of options */
			return found;
		if (kind == 1) { /* padding */
			at++;
			continue;
		}
		size = options[at + 1];
		if (size < 2 || at + size > length) {
			found.bad = true;
			return found;
		}
		if (kind == OPTION_KIND && (options[at + 2] << 8 | options[at + 3]) == OPTION_EXID && size >= 4) {
			__u8 type = options[at + 4] & 0xf;
			__be16 port = bpf_htons(options[at + 6] << 8 | options[at + 7]);

			found.flags = options[at + 4] >> 4;
			if (type == OPTION_TYPE_PORT && size == OPTION_LENGTH && port) {
				found.port = port;
			} else if (type != OPTION_TYPE_NONE || size != OPTION_LENGTH_NONE) {
				found.flags = 0;
				found.bad = true;
			}
			return found;
		}
		at += size;
	}
	return found;
}

/*
 * An announcement in the middle of a connection: the header bits may have been cleared on the way, so it is told by
 * its shape, which is no other segment's: 8 bytes of options and no data.
 */
static __always_inline bool may_announce(const struct segment *segment)
{
	return is_pure_ack(segment) && (segment->word >> 12) * 4 == ANNOUNCEMENT_HEADER;
}

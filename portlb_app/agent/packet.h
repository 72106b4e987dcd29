/* Reading and rewriting IPv4 TCP packets. Every length comes from an attacker: check it, then use it. */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#include "maps.h"
#include "protocol.h"

/* PASS leaves the verdict to whatever other filters the administrator has attached behind this one. */
#define PASS TC_ACT_UNSPEC
#define DROP TC_ACT_SHOT

struct packet {
	__be32 source;
	__be32 destination;
	__u32 payload; /* offset of the transport header in the frame */
	__u32 end;     /* offset of the end of the IP packet in the frame; no padding; 0 if the packet is a large GSO one */
	__u8 protocol;
	bool fragment;
};

struct segment {
	__be16 sport;
	__be16 dport;
	__u32 seq;
	__u32 ack;
	__u16 word; /* data offset (4 bits) and flags (12 bits) */
	__u32 data; /* bytes behind the header; only a segment without any may carry the option */
};

/* A pointer to `length` bytes of the frame at `offset`, NULL if the frame is shorter. Invalidates earlier pointers. */
static __always_inline void *readable(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	void *at = (void *)(long)skb->data + offset;

	barrier_var(at); /* or the compiler checks one pointer and reads through another, which the verifier refuses */
	if (at + length <= (void *)(long)skb->data_end)
		return at;
	if (bpf_skb_pull_data(skb, offset + length))
		return NULL;
	at = (void *)(long)skb->data + offset;
	barrier_var(at);
	return at + length <= (void *)(long)skb->data_end ? at : NULL;
}

/* False: nothing an agent looks at (no IPv4, or tagged: an agent is attached to the VLAN's own interface). */
static __always_inline bool read_ip(struct __sk_buff *skb, struct packet *packet)
{
	struct iphdr *ip;

	if (skb->protocol != bpf_htons(ETH_P_IP) || skb->vlan_present) {
		if (skb->protocol == bpf_htons(ETH_P_IPV6))
			count(COUNT_ipv6);
		return false;
	}
	ip = readable(skb, ETH_HLEN, sizeof(*ip));
	if (!ip || ip->version != 4 || ip->ihl < 5)
		return false;
	packet->source = ip->saddr;
	packet->destination = ip->daddr;
	packet->payload = ETH_HLEN + ip->ihl * 4;
	packet->end = ip->tot_len ? ETH_HLEN + bpf_ntohs(ip->tot_len) : 0;
	packet->protocol = ip->protocol;
	packet->fragment = ip->frag_off & bpf_htons(0x3fff);
	return true;
}

/* False: passed untouched, counted. */
static __always_inline bool read_tcp(struct __sk_buff *skb, const struct packet *packet, struct segment *segment)
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

/* One's complement difference of one 16-bit word, to be summed with others: RFC 1624. */
static __always_inline __u32 difference(__u16 old, __u16 new)
{
	return (__u16)~old + new;
}

#define SPORT_AT offsetof(struct tcphdr, source)
#define DPORT_AT offsetof(struct tcphdr, dest)
#define CHECKSUM_AT offsetof(struct tcphdr, check)
#define WORD_AT 12

/*
 * Give the segment another port and other header bits. The helpers, not direct writes: they touch only packets that
 * change (a direct write would unclone every packet that passes), and bpf_l4_csum_replace without BPF_F_PSEUDO_HDR
 * leaves the checksum alone where the kernel or the card has yet to compute it.
 */
static __always_inline int rewrite(struct __sk_buff *skb, const struct packet *packet, const struct segment *segment,
				   __u32 port_at, __be16 port, __u16 word)
{
	__be16 old_port = port_at == SPORT_AT ? segment->sport : segment->dport;
	__be16 new_word = bpf_htons(word);
	__u32 sum = 0;

	if (port != old_port) {
		sum += difference(old_port, port);
		if (bpf_skb_store_bytes(skb, packet->payload + port_at, &port, sizeof(port), 0))
			goto failed;
	}
	if (word != segment->word) {
		sum += difference(bpf_htons(segment->word), new_word);
		if (bpf_skb_store_bytes(skb, packet->payload + WORD_AT, &new_word, sizeof(new_word), 0))
			goto failed;
	}
	if (sum && bpf_l4_csum_replace(skb, packet->payload + CHECKSUM_AT, 0, sum, 0))
		goto failed;
	return PASS;
failed:
	count(COUNT_rewrite_failed);
	return DROP;
}

/* Note what a segment sent by this host's program says about the connection's life. */
static __always_inline void note_local(struct connection *entry, const struct segment *segment)
{
	touch(entry);
	if (segment->word & TCP_RST)
		set(entry, DOUBTFUL);
	else if (entry->flags & DOUBTFUL)
		clear(entry, DOUBTFUL); /* the reset was forged, or the rebuilt connection is real */
	if (segment->word & TCP_FIN)
		set(entry, FIN_LOCAL);
}

struct option {
	__u8 kind;
	__u8 length;
	__be16 exid;
	__u8 flags_type;
	__u8 reserved;
	__be16 port;
};

static __always_inline bool has_room(const struct segment *segment)
{
	return segment->data == 0 && (segment->word >> 12) * 4 + OPTION_LENGTH <= TCP_HEADER_MAX;
}

/*
 * rewrite(), and append REDIRECT_OPT naming a port. Only for segments with has_room(): a data segment never grows, so
 * neither the MSS nor segmentation offload is affected.
 */
static __always_inline int rewrite_with_option(struct __sk_buff *skb, const struct packet *packet,
					       const struct segment *segment, __u32 port_at, __be16 port, __u16 word,
					       __be16 named)
{
	struct option option = {
		.kind = OPTION_KIND,
		.length = OPTION_LENGTH,
		.exid = bpf_htons(OPTION_EXID),
		.flags_type = OPTION_FLAG_CONFIRM << 4 | OPTION_TYPE_PORT,
		.port = named,
	};
	__u32 total = packet->end - ETH_HLEN, segment_length = packet->end - packet->payload;
	__be16 new_total = bpf_htons(total + OPTION_LENGTH);
	const __u16 *words = (const __u16 *)&option;
	__u32 sum;

	if (bpf_skb_change_tail(skb, packet->end + OPTION_LENGTH, 0) ||
	    bpf_skb_store_bytes(skb, packet->end, &option, sizeof(option), 0) ||
	    bpf_skb_store_bytes(skb, ETH_HLEN + offsetof(struct iphdr, tot_len), &new_total, sizeof(new_total), 0) ||
	    bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), bpf_htons(total), new_total, 2))
		goto failed;
	sum = (__u32)words[0] + words[1] + words[2] + words[3];
	if (bpf_l4_csum_replace(skb, packet->payload + CHECKSUM_AT, 0, sum, 0) ||
	    bpf_l4_csum_replace(skb, packet->payload + CHECKSUM_AT, bpf_htons(segment_length),
				bpf_htons(segment_length + OPTION_LENGTH), BPF_F_PSEUDO_HDR | 2))
		goto failed;
	return rewrite(skb, packet, segment, port_at, port, word + (OPTION_LENGTH / 4 << 12));
failed:
	count(COUNT_rewrite_failed);
	return DROP;
}

struct announcement {
	__be16 port;  /* 0: none */
	bool confirm; /* the option's own copy of CONFIRM, for paths that clear the header bits */
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
		if (kind == OPTION_KIND) {
			__u8 type = options[at + 4];
			__u16 exid = options[at + 2] << 8 | options[at + 3];
			__be16 port = bpf_htons(options[at + 6] << 8 | options[at + 7]);

			if (size != OPTION_LENGTH || exid != OPTION_EXID ||
			    (type & 0xf) != OPTION_TYPE_PORT || port == 0) {
				found.bad = true;
				return found;
			}
			found.port = port;
			found.confirm = (type >> 4) & OPTION_FLAG_CONFIRM;
			return found;
		}
		at += size;
	}
	return found;
}

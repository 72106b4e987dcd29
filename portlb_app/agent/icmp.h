/*
 * ICMP errors quote the packet that caused them as it was on the wire, so the port in the quote is translated in the
 * same sense as on packets; without it path MTU discovery dies (RFC 1191, RFC 5508 section 4).
 */
#pragma once

#include "packet.h"

/* <linux/icmp.h> needs the C library's headers, which the BPF target does not have. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

#define ICMP_DEST_UNREACH 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12

/* The packet an ICMP error quotes. */
struct quote {
	__be32 source;
	__be32 destination;
	__be16 sport;
	__be16 dport;
	__u32 ports; /* offset of the quoted source port in the frame */
};

/* False: not an error about a TCP packet with ports (destination unreachable, time exceeded, parameter problem). */
static __always_inline bool read_quote(struct __sk_buff *skb, const struct packet *packet, struct quote *quote)
{
	struct icmp_header icmp;
	struct iphdr ip;
	__be16 ports[4]; /* 8 bytes are all that RFC 792 promises */

	if (bpf_skb_load_bytes(skb, packet->payload, &icmp, sizeof(icmp)))
		return false;
	if (icmp.type != ICMP_DEST_UNREACH && icmp.type != ICMP_TIME_EXCEEDED && icmp.type != ICMP_PARAMETERPROB)
		return false;
	if (packet->fragment) {
		count(COUNT_fragment);
		return false;
	}
	if (bpf_skb_load_bytes(skb, packet->payload + sizeof(icmp), &ip, sizeof(ip))) {
		count(COUNT_icmp_truncated);
		return false;
	}
	if (ip.version != 4 || ip.ihl < 5 || ip.protocol != IPPROTO_TCP || (ip.frag_off & bpf_htons(0x1fff)))
		return false;
	quote->source = ip.saddr;
	quote->destination = ip.daddr;
	quote->ports = packet->payload + sizeof(icmp) + ip.ihl * 4;
	if (bpf_skb_load_bytes(skb, quote->ports, ports, sizeof(ports))) {
		count(COUNT_icmp_truncated);
		return false;
	}
	quote->sport = ports[0];
	quote->dport = ports[1];
	return true;
}

/*
 * Replace the quoted source or destination port. The quoted TCP checksum is left alone: receivers do not verify it,
 * and mostly it is not quoted at all.
 */
static __always_inline int rewrite_quote(struct __sk_buff *skb, const struct packet *packet, const struct quote *quote,
					 __u32 port_at, __be16 port)
{
	__be16 old_port = port_at == SPORT_AT ? quote->sport : quote->dport;

	if (port == old_port)
		return PASS;
	if (bpf_skb_store_bytes(skb, quote->ports + port_at, &port, sizeof(port), 0) ||
	    bpf_l4_csum_replace(skb, packet->payload + offsetof(struct icmp_header, checksum), old_port, port, 2)) {
		count(COUNT_rewrite_failed);
		return DROP;
	}
	count(COUNT_icmp_translated);
	return PASS;
}

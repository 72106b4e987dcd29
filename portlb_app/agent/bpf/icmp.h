/*
 * ICMP errors quote a packet as it was on the wire. The quoted ports and addresses are translated like those of
 * packets; otherwise path MTU discovery fails (RFC 1191, RFC 8201, RFC 5508 section 4).
 */
#pragma once

#include "readdress.h"

/* <linux/icmp.h> needs the C library's headers, which the BPF target does not have. */
struct icmp_header {
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be32 rest;
};

#define ICMP_DEST_UNREACH 3
#define ICMP_FRAG_NEEDED 4 /* code */
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PARAMETERPROB 4 /* types 1 to 4 are errors; 2 is packet too big */

/* The TCP packet an ICMP error quotes. */
struct quote {
	__be16 sport;
	__be16 dport;
	__u32 seq;
	__u32 endpoint; /* the server's, from its port and address */
	bool service;   /* a service address stands where a VIP is expected */
	__u32 ports;    /* offset of the quoted source port in the frame */
	bool refused;   /* destination unreachable, but not for the packet's size */
};

static __always_inline bool read_quoted_ip4(struct __sk_buff *skb, struct packet *packet, struct quote *quote,
					    const volatile struct vips *vips, const volatile struct services *services,
					    enum side side)
{
	__u32 at = packet->payload + sizeof(struct icmp_header);
	struct iphdr ip;
	bool ours;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip))) {
		count(COUNT_icmp_truncated);
		return false;
	}
	ours = is_vip4(vips, side == TO_VIP ? ip.daddr : ip.saddr);
	quote->service = !ours && is_service4(services, side == TO_VIP ? ip.daddr : ip.saddr);
	if (ip.version != 4 || ip.ihl < 5 || ip.protocol != IPPROTO_TCP || (ip.frag_off & bpf_htons(0x1fff)) ||
	    (!ours && !quote->service))
		return false;
	set_mapped(&packet->key.client, side == TO_VIP ? ip.saddr : ip.daddr);
	set_mapped(&packet->key.vip, side == TO_VIP ? ip.daddr : ip.saddr);
	quote->ports = at + ip.ihl * 4;
	return true;
}

static __always_inline bool read_quoted_ip6(struct __sk_buff *skb, struct packet *packet, struct quote *quote,
					    const volatile struct vips *vips, const volatile struct services *services,
					    enum side side)
{
	__u32 at = packet->payload + sizeof(struct icmp_header);
	struct ipv6hdr ip;
	bool ours;
	__u8 next;

	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip))) {
		count(COUNT_icmp_truncated);
		return false;
	}
	ours = is_vip6(vips, side == TO_VIP ? ip.daddr.in6_u.u6_addr32 : ip.saddr.in6_u.u6_addr32);
	quote->service =
		!ours && is_service6(services, side == TO_VIP ? ip.daddr.in6_u.u6_addr32 : ip.saddr.in6_u.u6_addr32);
	if (ip.version != 6 || (!ours && !quote->service))
		return false;
	set_address(&packet->key.client, side == TO_VIP ? &ip.saddr : &ip.daddr);
	set_address(&packet->key.vip, side == TO_VIP ? &ip.daddr : &ip.saddr);
	at += sizeof(ip);
	next = ip.nexthdr;
	for (int step = 0; step < EXTENSION_HEADERS_MAX; step++) {
		struct extension extension;

		if (next == IPPROTO_TCP) {
			quote->ports = at;
			return true;
		}
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
			return false;
		if (bpf_skb_load_bytes(skb, at, &extension, sizeof(extension))) {
			count(COUNT_icmp_truncated);
			return false;
		}
		if (next == IPPROTO_FRAGMENT && (extension.offset & bpf_htons(0xfff8)))
			return false;
		at += next == IPPROTO_FRAGMENT ? 8 : (extension.length + 1) * 8;
		next = extension.next;
	}
	return false;
}

/*
 * Read an error about a TCP packet whose `side` is a VIP or a service address, and set packet->key to that packet's.
 * False: the packet is something else.
 */
static __always_inline bool read_quote(struct __sk_buff *skb, struct packet *packet, struct quote *quote,
				       const volatile struct vips *vips, const volatile struct services *services,
				       enum side side)
{
	struct icmp_header icmp;
	__be16 ports[4]; /* RFC 792 promises 8 bytes */

	if (bpf_skb_load_bytes(skb, packet->payload, &icmp, sizeof(icmp)))
		return false;
	if (packet->v6) {
		if (icmp.type < ICMPV6_DEST_UNREACH || icmp.type > ICMPV6_PARAMETERPROB)
			return false;
		quote->refused = icmp.type == ICMPV6_DEST_UNREACH;
	} else {
		if (icmp.type != ICMP_DEST_UNREACH && icmp.type != ICMP_TIME_EXCEEDED &&
		    icmp.type != ICMP_PARAMETERPROB)
			return false;
		quote->refused = icmp.type == ICMP_DEST_UNREACH && icmp.code != ICMP_FRAG_NEEDED;
	}
	if (packet->fragment) {
		count(COUNT_fragment);
		return false;
	}
	if (packet->v6 ? !read_quoted_ip6(skb, packet, quote, vips, services, side)
		       : !read_quoted_ip4(skb, packet, quote, vips, services, side))
		return false;
	if (bpf_skb_load_bytes(skb, quote->ports, ports, sizeof(ports))) {
		count(COUNT_icmp_truncated);
		return false;
	}
	quote->sport = ports[0];
	quote->dport = ports[1];
	quote->seq = (__u32)bpf_ntohs(ports[2]) << 16 | bpf_ntohs(ports[3]);
	packet->key.client_port = side == TO_VIP ? quote->sport : quote->dport;
	packet->key.port = side == TO_VIP ? quote->dport : quote->sport;
	quote->endpoint = endpoint_of(packet->key.port, quote->service ? LOCATOR_ADDRESS : LOCATOR_NONE);
	return true;
}

/*
 * Replace an address in the quoted header. In IPv4 the quoted header's checksum makes up for it, so the error's own
 * stays right.
 */
static __always_inline bool replace_quoted_address(struct __sk_buff *skb, const struct packet *packet, enum end end,
						   const struct address *from, const struct address *to)
{
	__u32 quoted = packet->payload + sizeof(struct icmp_header), at;
	struct address old = *from, new = *to;
	__s64 sum;

	if (packet->v6) {
		at = quoted + (end == SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
		sum = bpf_csum_diff(old.word, sizeof(old), new.word, sizeof(new), 0);
		if (sum < 0 || bpf_skb_store_bytes(skb, at, &new, sizeof(new), 0) ||
		    bpf_l4_csum_replace(skb, packet->payload + offsetof(struct icmp_header, checksum), 0, sum, 0))
			return failed_to_rewrite();
		count(COUNT_icmp_translated);
		return true;
	}
	at = quoted + (end == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
	if (bpf_skb_store_bytes(skb, at, &new.word[3], 4, 0) ||
	    bpf_l3_csum_replace(skb, quoted + offsetof(struct iphdr, check), old.word[3], new.word[3], 4))
		return failed_to_rewrite();
	count(COUNT_icmp_translated);
	return true;
}

/* Replace the quoted ports. The quoted TCP checksum stays: receivers do not verify it, and mostly it is not quoted. */
static __always_inline int rewrite_quote(struct __sk_buff *skb, const struct packet *packet, const struct quote *quote,
					 __be16 sport, __be16 dport)
{
	__be16 ports[2] = {sport, dport};
	__u32 sum;

	if (sport == quote->sport && dport == quote->dport)
		return PASS;
	sum = (__u16)~quote->sport + sport + (__u16)~quote->dport + dport;
	if (bpf_skb_store_bytes(skb, quote->ports, ports, sizeof(ports), 0) ||
	    bpf_l4_csum_replace(skb, packet->payload + offsetof(struct icmp_header, checksum), 0, sum, 0)) {
		count(COUNT_rewrite_failed);
		return DROP;
	}
	count(COUNT_icmp_translated);
	return PASS;
}

/* Reads Ethernet, IPv4 and IPv6 headers, up to the transport header. */
#pragma once

#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include "frame.h"
#include "vips.h"

#define EXTENSION_HEADERS_MAX 6
#define IPPROTO_HOPOPTS 0
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6 58
#define IPPROTO_DSTOPTS 60

static __always_inline bool read_ip4(struct __sk_buff *skb, struct packet *packet, const volatile struct vips *vips,
				     const volatile struct services *services, enum side side)
{
	struct iphdr *ip = readable(skb, ETH_HLEN, sizeof(*ip));
	__be32 source, destination;
	bool ours;

	if (!ip || ip->version != 4 || ip->ihl < 5)
		return false;
	source = ip->saddr;
	destination = ip->daddr;
	packet->protocol = ip->protocol;
	ours = is_vip4(vips, side == TO_VIP ? destination : source);
	packet->service = !ours && is_service4(services, side == TO_VIP ? destination : source);
	if (packet->protocol == IPPROTO_TCP) {
		if (!ours && !packet->service)
			return false;
		set_mapped(&packet->key.client, side == TO_VIP ? source : destination);
		set_mapped(&packet->key.vip, side == TO_VIP ? destination : source);
	} else if (packet->protocol != IPPROTO_ICMP) {
		return false;
	}
	packet->v6 = false;
	packet->payload = ETH_HLEN + ip->ihl * 4;
	packet->end = ip->tot_len ? ETH_HLEN + bpf_ntohs(ip->tot_len) : 0;
	packet->fragment = ip->frag_off & bpf_htons(0x3fff);
	return true;
}

struct extension {
	__u8 next;
	__u8 length;   /* units of 8 bytes beyond the first, in most headers */
	__be16 offset; /* of a fragment header */
};

/*
 * Step over hop-by-hop options, destination options and the fragment header of an unfragmented packet (RFC 6946) to the
 * transport header. False: another header is in between. Under IPsec a port must not change; a routing header has
 * another destination.
 */
static __always_inline bool walk_extensions(struct __sk_buff *skb, struct packet *packet, __u8 next)
{
	__u32 at = ETH_HLEN + sizeof(struct ipv6hdr);

	for (int step = 0; step < EXTENSION_HEADERS_MAX; step++) {
		struct extension extension;

		if (next == IPPROTO_TCP || next == IPPROTO_ICMPV6) {
			packet->protocol = next;
			packet->payload = at;
			return true;
		}
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_DSTOPTS && next != IPPROTO_FRAGMENT)
			return false;
		if (bpf_skb_load_bytes(skb, at, &extension, sizeof(extension)))
			return false;
		if (next == IPPROTO_FRAGMENT) {
			packet->fragment = extension.offset & bpf_htons(0xfff9);
			if (packet->fragment) { /* later fragments have no transport header */
				packet->protocol = extension.next;
				packet->payload = at + 8;
				return true;
			}
			at += 8;
		} else {
			at += (extension.length + 1) * 8;
		}
		next = extension.next;
	}
	return false;
}

static __always_inline bool read_ip6(struct __sk_buff *skb, struct packet *packet, const volatile struct vips *vips,
				     const volatile struct services *services, enum side side)
{
	struct ipv6hdr *ip = readable(skb, ETH_HLEN, sizeof(*ip));
	const __be32 *address;
	bool ours;
	__u8 next;

	if (!ip || ip->version != 6)
		return false;
	next = ip->nexthdr;
	address = side == TO_VIP ? ip->daddr.in6_u.u6_addr32 : ip->saddr.in6_u.u6_addr32;
	ours = is_vip6(vips, address);
	packet->service = !ours && is_service6(services, address);
	ours |= packet->service;
	if (!ours && next == IPPROTO_TCP)
		return false;
	set_address(&packet->key.client, side == TO_VIP ? &ip->saddr : &ip->daddr);
	set_address(&packet->key.vip, side == TO_VIP ? &ip->daddr : &ip->saddr);
	packet->end = ip->payload_len ? ETH_HLEN + sizeof(*ip) + bpf_ntohs(ip->payload_len) : 0;
	packet->v6 = true;
	packet->fragment = false;
	if (!walk_extensions(skb, packet, next)) {
		if (ours && next != IPPROTO_UDP)
			count(COUNT_extension);
		return false;
	}
	return ours || packet->protocol == IPPROTO_ICMPV6;
}

#define VLAN_NUMBER 0xfff

static __always_inline bool is_tag(__be16 protocol)
{
	return protocol == bpf_htons(ETH_P_8021Q) || protocol == bpf_htons(ETH_P_8021AD);
}

/*
 * VLAN number 0 means a priority and no VLAN (IEEE 802.1Q, 9.6): Linux treats such a frame as untagged. Move a tag out
 * of the frame, so that headers are at their usual offsets; the frame on the wire stays the same. False: a frame of a
 * VLAN, or with a second tag.
 */
static __always_inline bool is_untagged(struct __sk_buff *skb)
{
	struct {
		__be16 number; /* behind three bits of priority and one of drop eligibility */
		__be16 protocol;
	} tag;
	__be16 protocol = skb->protocol;

	if (!is_tag(protocol))
		return !skb->vlan_present || !(skb->vlan_tci & VLAN_NUMBER);
	if (skb->vlan_present || bpf_skb_load_bytes(skb, ETH_HLEN, &tag, sizeof(tag)))
		return false;
	if ((tag.number & bpf_htons(VLAN_NUMBER)) || is_tag(tag.protocol) || bpf_skb_vlan_pop(skb))
		return false;
	bpf_skb_vlan_push(skb, protocol, bpf_ntohs(tag.number));
	return true;
}

/*
 * Read the headers of packets an agent handles: TCP segments whose `side` is a VIP (or a service address, unless
 * `services` is NULL), and ICMP messages, because any router may send errors. False for all others. An agent is
 * attached to a VLAN's own interface, so it skips tagged frames.
 */
static __always_inline bool read_ip(struct __sk_buff *skb, struct packet *packet, const volatile struct vips *vips,
				    const volatile struct services *services, enum side side)
{
	if (!is_untagged(skb))
		return false;
	if (skb->protocol == bpf_htons(ETH_P_IP) && vips->v4_count)
		return read_ip4(skb, packet, vips, services, side);
	if (skb->protocol == bpf_htons(ETH_P_IPV6) && vips->v6_count)
		return read_ip6(skb, packet, vips, services, side);
	return false;
}

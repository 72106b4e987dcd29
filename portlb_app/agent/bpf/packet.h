/* Reading IPv4 and IPv6 packets. Every length comes from an attacker: check it, then use it. */
#pragma once

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>

#include "maps.h"
#include "protocol.h"

/* PASS leaves the verdict to whatever other filters the administrator has attached behind this one. */
#define PASS TC_ACT_UNSPEC
#define DROP TC_ACT_SHOT

#define VIPS_MAX 16
#define EXTENSION_HEADERS_MAX 6
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6 58
#define IPPROTO_DSTOPTS 60

/* An agent's addresses. Constants, so that the verifier leaves of the loops below what these addresses need. */
struct vips {
	__be32 v4[VIPS_MAX];
	struct address v6[VIPS_MAX];
	__u32 v4_count;
	__u32 v6_count;
};

#define SERVICES_MAX 16

/*
 * Networks that service addresses are of (row X1): on a client those that a redirect may name addresses of, on a server
 * its own addresses, whole. Constants, too.
 */
struct services {
	struct {
		__be32 address;
		__be32 mask;
	} v4[SERVICES_MAX];
	struct {
		struct address address;
		struct address mask;
	} v6[SERVICES_MAX];
	__u32 v4_count;
	__u32 v6_count;
};

struct packet {
	struct key key; /* of a TCP segment: addresses, and with read_tcp() the ports as they stand in the packet */
	__u32 payload;  /* offset of the transport header in the frame */
	__u32 end;      /* offset of the end of the IP packet in the frame; no padding; 0 if the packet is a large GSO one */
	__u8 protocol;
	bool v6;
	bool fragment;
	bool service; /* it is a service address that stands where a VIP is looked for */
};

struct segment {
	__be16 sport;
	__be16 dport;
	__u32 spot; /* the server's, as far as its port and address tell */
	__u32 seq;
	__u32 ack;
	__u16 word; /* data offset (4 bits) and flags (12 bits) */
	__u32 data; /* bytes behind the header; only a segment without any may carry the option */
};

/* Which end of the packets in this direction has the VIP. */
enum side { TO_VIP, FROM_VIP };

/* Loads of a program's argument must be at fixed offsets from it: the compiler, left alone, shares their addresses. */
#define LOAD(result, skb, field)                                                   \
	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(result) : "r"(skb), "i"(offsetof(struct __sk_buff, field)))

#define OFFSET_MAX 0x7fff /* of what is looked at in a frame: headers */

static __always_inline void *inside(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	__u64 bounded = offset;
	void *at, *end;

	barrier_var(bounded); /* or the compiler, which knows more, drops a bound that the verifier needs to see */
	if (bounded > OFFSET_MAX)
		return NULL;
	LOAD(at, skb, data);
	LOAD(end, skb, data_end);
	at += bounded;
	barrier_var(at); /* or the compiler checks one pointer and reads through another, which the verifier refuses */
	return at + length <= end ? at : NULL;
}

/* A pointer to `length` bytes of the frame at `offset`, NULL if the frame is shorter. Invalidates earlier pointers. */
static __always_inline void *readable(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	void *at = inside(skb, offset, length);

	if (at)
		return at;
	return bpf_skb_pull_data(skb, offset + length) ? NULL : inside(skb, offset, length);
}

static __always_inline bool is_vip4(const volatile struct vips *vips, __be32 address)
{
	for (__u32 i = 0; i < VIPS_MAX; i++) {
		if (i < vips->v4_count && vips->v4[i] == address)
			return true;
	}
	return false;
}

static __always_inline bool is_vip6(const volatile struct vips *vips, const __be32 *address)
{
	for (__u32 i = 0; i < VIPS_MAX; i++) {
		if (i < vips->v6_count && vips->v6[i].word[3] == address[3] && vips->v6[i].word[2] == address[2] &&
		    vips->v6[i].word[1] == address[1] && vips->v6[i].word[0] == address[0])
			return true;
	}
	return false;
}

static __always_inline bool is_service4(const volatile struct services *services, __be32 address)
{
	for (__u32 i = 0; services && i < SERVICES_MAX; i++) {
		if (i < services->v4_count && (address & services->v4[i].mask) == services->v4[i].address)
			return true;
	}
	return false;
}

static __always_inline bool is_service6(const volatile struct services *services, const __be32 *address)
{
	for (__u32 i = 0; services && i < SERVICES_MAX; i++) {
		const volatile struct address *network = &services->v6[i].address, *mask = &services->v6[i].mask;

		if (i < services->v6_count && (address[3] & mask->word[3]) == network->word[3] &&
		    (address[2] & mask->word[2]) == network->word[2] &&
		    (address[1] & mask->word[1]) == network->word[1] && (address[0] & mask->word[0]) == network->word[0])
			return true;
	}
	return false;
}

static __always_inline bool is_vip(const volatile struct vips *vips, const struct address *address)
{
	if (address->word[0] == 0 && address->word[1] == 0 && address->word[2] == bpf_htonl(0xffff))
		return is_vip4(vips, address->word[3]);
	return is_vip6(vips, address->word);
}

static __always_inline void set_mapped(struct address *address, __be32 v4)
{
	address->word[0] = 0;
	address->word[1] = 0;
	address->word[2] = bpf_htonl(0xffff);
	address->word[3] = v4;
}

static __always_inline void set_address(struct address *address, const struct in6_addr *v6)
{
	const __be32 *word = v6->in6_u.u6_addr32;

	address->word[0] = word[0];
	address->word[1] = word[1];
	address->word[2] = word[2];
	address->word[3] = word[3];
}

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
	__u8 length; /* of most: units of 8 bytes beyond the first */
	__be16 offset; /* of a fragment header */
};

/*
 * Step over hop-by-hop and destination options, and the header of a packet that is its only fragment (RFC 6946), to
 * the transport header. False: something else stands in between, such as IPsec, which no port of ours may be
 * changed under, or a routing header, which makes the destination another one.
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
 * A tag with VLAN number 0 tells a priority and no VLAN (IEEE 802.1Q, 9.6): Linux takes the frame for an untagged one.
 * A tag within the frame becomes one beside it, so that all headers are where they are without; on the wire it is the
 * same. False: a frame of a VLAN, or with a second tag.
 */
static __always_inline bool is_untagged(struct __sk_buff *skb)
{
	struct {
		__be16 number; /* behind three bits of priority and one of eligibility to be dropped */
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
 * False: nothing an agent looks at. That is every packet but TCP segments whose `side` is a VIP (or, unless `services`
 * is NULL, a service address), and ICMP messages, of which any router sends errors. (Frames of a VLAN: an agent is
 * attached to the VLAN's own interface.)
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

/* False: passed untouched, counted. */
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
	segment->spot = spot_of(packet->key.port, packet->service ? NAME_ADDRESS : NAME_NONE);
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

/* The last packets of a connection are told to the tick: its age is counted from them. */
static __always_inline void note_use(struct connection *entry, const struct segment *segment)
{
	if (segment->word & (TCP_FIN | TCP_RST))
		entry->seen = tick();
	else
		touch(entry);
}

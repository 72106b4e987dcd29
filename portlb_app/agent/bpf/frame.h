/* Reads frames. Every length comes from an attacker: check it, then use it. */
#pragma once

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "maps.h"
#include "protocol.h"

/* PASS leaves the verdict to whatever other filters the administrator has attached behind this one. */
#define PASS TC_ACT_UNSPEC
#define DROP TC_ACT_SHOT

struct packet {
	struct key key; /* of a TCP segment: addresses, and with read_tcp() the ports as they stand in the packet */
	__u32 payload;  /* offset of the transport header in the frame */
	__u32 end; /* offset of the end of the IP packet in the frame; no padding; 0 if the packet is a large GSO one */
	__u8 protocol;
	bool v6;
	bool fragment;
	bool service; /* it is a service address that stands where a VIP is looked for */
};

struct segment {
	__be16 sport;
	__be16 dport;
	__u32 endpoint; /* the server's, as far as its port and address tell */
	__u32 seq;
	__u32 ack;
	__u16 word; /* data offset (4 bits) and flags (12 bits) */
	__u32 data; /* bytes behind the header; only a segment without any may carry the option */
};

/* Which end of the packets in this direction has the VIP. */
enum side { TO_VIP, FROM_VIP };

/* Loads of a program's argument must be at fixed offsets from it: the compiler, left alone, shares their addresses. */
#define LOAD(result, skb, field)                                                                                       \
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

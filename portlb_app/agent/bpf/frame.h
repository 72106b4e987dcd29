/* Reads frames. Every length comes from an attacker: check it, then use it. */
#pragma once

#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>

#include "maps.h"
#include "protocol.h"

/* PASS leaves the verdict to the administrator's filters behind this one. */
#define PASS TC_ACT_UNSPEC
#define DROP TC_ACT_SHOT

struct packet {
	struct key key; /* TCP: addresses, and after read_tcp() the ports in the packet */
	__u32 payload;  /* offset of the transport header in the frame */
	__u32 end; /* offset of the end of the IP packet (without padding) in the frame; 0 for a large GSO packet */
	__u8 protocol;
	bool v6;
	bool fragment;
	bool service; /* a service address stands where a VIP is expected */
};

struct segment {
	__be16 sport;
	__be16 dport;
	__u32 endpoint; /* the server's, from its port and address */
	__u32 seq;
	__u32 ack;
	__u16 word; /* data offset (4 bits) and flags (12 bits) */
	__u32 data; /* bytes behind the header; only a segment without data may carry the option */
};

/* Which end of the packets in this direction has the VIP. */
enum side { TO_VIP, FROM_VIP };

/*
 * The verifier wants loads of a program's argument at fixed offsets. Left alone, the compiler shares their addresses.
 */
#define LOAD(result, skb, field)                                                                                       \
	asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(result) : "r"(skb), "i"(offsetof(struct __sk_buff, field)))

#define OFFSET_MAX 0x7fff /* enough for headers */

static __always_inline void *inside(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	__u64 bounded = offset;
	void *at, *end;

	barrier_var(bounded); /* or the compiler drops a bound that it knows to hold and the verifier does not */
	if (bounded > OFFSET_MAX)
		return NULL;
	LOAD(at, skb, data);
	LOAD(end, skb, data_end);
	at += bounded;
	barrier_var(at); /* or the compiler checks one pointer and reads through another, which the verifier refuses */
	return at + length <= end ? at : NULL;
}

/*
 * Return a pointer to `length` bytes of the frame at `offset`, NULL if the frame is shorter. Earlier pointers become
 * invalid.
 */
static __always_inline void *readable(struct __sk_buff *skb, __u32 offset, __u32 length)
{
	void *at = inside(skb, offset, length);

	if (at)
		return at;
	return bpf_skb_pull_data(skb, offset + length) ? NULL : inside(skb, offset, length);
}

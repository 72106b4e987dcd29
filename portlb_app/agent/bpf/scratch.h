/* Memory that programs need for a moment. */
#pragma once

#include "maps.h"

/*
 * Memory beside the stack: a program and all functions it calls share 512 bytes. No program interrupts another one on
 * the same processor; a clone that is sent passes client_egress within the program that sends it.
 */
struct closed {
	struct key key;
	__u32 at; /* tick */
};

/* A connection that the process is to close: by RST if `reset`, else by FIN. */
struct closure {
	struct key key;
	__u32 reset;
};

struct scratch {
	struct bpf_sock_tuple tuple;
	struct key received; /* of the connection that a received packet belongs to */
	struct key alias_key;
	struct key owner;
	struct alias alias;
	struct closed head;
	struct closed last;
	struct closure closure;
	struct connection fresh;
	__u32 copying; /* a copy is passing server_egress, which must not change it */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

static __always_inline struct scratch *use_scratch(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&scratches, &zero);
}

/*
 * Send a copy past this agent's own server_egress. The mark cannot tell the copy: it belongs to the host's routing and
 * filters.
 */
static __always_inline void send_copy(struct __sk_buff *skb)
{
	struct scratch *scratch = use_scratch();

	if (!scratch)
		return;
	scratch->copying = 1;
	bpf_clone_redirect(skb, skb->ifindex, 0);
	scratch->copying = 0;
}

static __always_inline bool is_copy(void)
{
	struct scratch *scratch = use_scratch();

	return scratch && scratch->copying;
}

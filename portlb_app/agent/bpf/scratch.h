/* Memory that programs need for a moment. */
#pragma once

#include "maps.h"

/*
 * Room that programs need for a moment, and that their stacks have not: 512 bytes with all that they call. Nothing
 * interrupts a program for another one, but that a clone sent on its way passes client_egress within it.
 */
struct closed {
	struct key key;
	__u32 at; /* tick */
};

/* What the process is to close. `reset`: by RST, not by FIN. */
struct closure {
	struct key key;
	__u32 reset;
};

struct scratch {
	struct bpf_sock_tuple tuple;
	struct key received; /* of the connection that a packet received belongs to */
	struct key alias_key;
	struct key owner;
	struct alias alias;
	struct closed head;
	struct closed last;
	struct closure closure;
	struct connection fresh;
	__u32 copying; /* a copy is passing server_egress, which lets it through */
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
 * Send a copy as it stands, past this agent's own server_egress. By a note beside the packet: its mark is the host's, for
 * routing and filters.
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

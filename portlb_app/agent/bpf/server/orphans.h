/* Segments to a service port that belong to no connection, and where their answers leave from. */
#pragma once

#include "../socket.h"

/*
 * The kernel gets a segment to a service port without a connection at the application's port. It answers with a reset
 * (RFC 9293, 3.10.7.1) that has the acknowledged number as its own. By that number the agent knows the reset, and sends
 * it from the port the segment came to; the client expects nothing from the application's port.
 */
struct orphan {
	__u32 endpoint;
	__u32 ack;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, struct orphan);
} orphans SEC(".maps");

static __always_inline void note_orphan(const struct key *key, const struct segment *segment)
{
	struct orphan fresh = {.endpoint = segment->endpoint, .ack = segment->ack};

	if ((segment->word & (TCP_ACK | TCP_RST)) == TCP_ACK)
		bpf_map_update_elem(&orphans, key, &fresh, BPF_ANY);
}

/*
 * Return the endpoint to send a segment without a connection from, 0 if from its own port. The segment is the reset
 * described above, or TIME-WAIT's challenge of a SYN that reuses the ports and came to another port of the application.
 */
static __always_inline __u32 orphan_endpoint(struct __sk_buff *skb, const struct key *key,
					     const struct segment *segment, const struct connection *half)
{
	struct numbers numbers = {};
	struct orphan *found;

	if (half)
		return is_pure_ack(segment) && find_socket(skb, key, SERVER, &numbers) == SOCKET_OVER ? half->opened
												      : 0;
	if (!(segment->word & TCP_RST) || (segment->word & TCP_ACK))
		return 0;
	found = bpf_map_lookup_elem(&orphans, key);
	return found && found->ack == segment->seq ? found->endpoint : 0;
}

/* Segments to a service port that belong to no connection, and where their answers leave from. */
#pragma once

#include "../socket.h"

/*
 * What came to a service port and belongs to no connection is handed to the kernel at the application's port, which
 * answers it by a reset (RFC 9293, 3.10.7.1) whose number is the one acknowledged. By that it is known again, and
 * leaves from where the segment went, for nobody listens to the application's port there.
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
 * The endpoint that a segment without a connection is to be sent from, 0 if as it stands: it is the reset described above,
 * or TIME-WAIT's challenge of a SYN that uses the same ports again, which has come to another of the application's.
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

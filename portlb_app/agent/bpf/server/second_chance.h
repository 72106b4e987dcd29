/*
 * A segment for a server that its slot had before (docs/second-chance.md).
 *
 * Where a slot of a pool has moved, the source MAC address stands for the slot's former servers. A segment of a
 * connection that was opened on one of them finds no socket here. It goes back to the switch with that address as its
 * destination, and the switch delivers it to the latest former server, with an address that stands for the others.
 */
#pragma once

#include "../readdress.h"
#include "../socket.h"
#include "half_open.h"
#include "settings.h"

/* portlb_app/pipeline/marks.py: two bytes of ours, and four that stand for the former servers, 0 for none. */
#define MARK_PREFIX bpf_htons(0x524c)

struct mark {
	__be16 prefix;
	__be16 servers[2];
};

/*
 * SYN/ACKs that carry a cookie: by a hash of the connection, the acknowledgement that completes the handshake. Such a
 * connection has no socket until that comes. Newer ones take the places of older ones: with 100,000 SYNs a second, 4 %
 * of those that the client needs 0.1 s for. (The kernel's helpers that verify a cookie are for programs under the GPL.)
 */
#define COOKIES (1 << 18) /* a power of two */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COOKIES);
	__type(key, __u32);
	__type(value, __u32);
} cookies SEC(".maps");

/* Ports whose packets come from another network namespace: a container behind this host. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __be16);
	__type(value, __u32);
} elsewhere SEC(".maps");

static __always_inline __u32 *cookie_of(const struct key *key)
{
	__u32 index = hash_of(key) % COOKIES;

	return bpf_map_lookup_elem(&cookies, &index);
}

/* Note what a packet that leaves says of the programs of its port: they are elsewhere if this host forwards it. */
static __always_inline void note_program(struct __sk_buff *skb, const struct key *key, const struct segment *segment)
{
	__be16 port = key->port;
	__u32 one = 1, *cookie;

	if (skb->ingress_ifindex) {
		if (!bpf_map_lookup_elem(&elsewhere, &port))
			bpf_map_update_elem(&elsewhere, &port, &one, BPF_ANY);
		return;
	}
	if (!is_synack(segment))
		return;
	if (bpf_map_lookup_elem(&elsewhere, &port))
		bpf_map_delete_elem(&elsewhere, &port);
	if (skb->sk)
		return;
	cookie = cookie_of(key); /* the kernel gives such a SYN/ACK no socket */
	if (cookie)
		*cookie = segment->seq + 1;
}

/* Send a segment out of the interface it came in by, to the switch. */
static __always_inline int hand_back(struct __sk_buff *skb, const struct mark *mark)
{
	__u8 own[ETH_ALEN];

	if (bpf_skb_load_bytes(skb, 0, own, sizeof(own)) || bpf_skb_store_bytes(skb, 0, mark, sizeof(*mark), 0) ||
	    bpf_skb_store_bytes(skb, ETH_ALEN, own, sizeof(own), 0)) {
		count(COUNT_rewrite_failed);
		return DROP;
	}
	count(COUNT_handed_back);
	return bpf_redirect(skb->ifindex, 0);
}

/*
 * A segment without an entry, to a port that names no server. One that has a socket in this namespace is the kernel's,
 * whatever the socket's state, and so is one to a port where no program listens in this namespace.
 */
static __noinline int server_second_chance(struct __sk_buff *skb, const struct key *key, const struct segment *segment)
{
	struct numbers numbers = {};
	struct mark mark;
	__be16 port;
	__u32 *cookie;

	if (bpf_skb_load_bytes(skb, ETH_ALEN, &mark, sizeof(mark)) || mark.prefix != MARK_PREFIX ||
	    (segment->word & TCP_SYN) || server_settings.applications[segment->dport])
		return PASS;
	port = key->port;
	switch (find_socket(skb, key, SERVER, &numbers)) {
	case SOCKET_LISTENING:
		break;
	case SOCKET_NONE:
		count(COUNT_kept_elsewhere);
		return PASS;
	default:
		return PASS;
	}
	if (bpf_map_lookup_elem(&elsewhere, &port)) {
		count(COUNT_kept_elsewhere);
		return PASS;
	}
	cookie = cookie_of(key);
	if (cookie && *cookie == segment->ack && (segment->word & (TCP_ACK | TCP_RST)) == TCP_ACK) {
		count(COUNT_kept_cookie);
		return PASS;
	}
	if (!(mark.servers[0] | mark.servers[1])) {
		count(COUNT_no_former);
		return PASS;
	}
	return hand_back(skb, &mark);
}

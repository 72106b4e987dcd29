/* What this host's own socket says about a segment: only who sees the connection's packets knows its numbers. */
#pragma once

#include "packet.h"

/*
 * How far a sequence number may lie from the next expected one, in bytes: an announcement is sent with the number last
 * acknowledged to its sender, so what is in flight lies between. The acknowledgement number has no such slack.
 */
#define IN_FLIGHT_MAX (1 << 25)
/* The kernel heeds a reset only at the number it expects; but what the socket has yet to take up may come before it. */
#define RESET_AHEAD_MAX (1 << 20)

#define TCP_STATE_SYN_SENT 2
#define TCP_STATE_SYN_RECV 3
#define TCP_STATE_LISTEN 10
#define TCP_STATE_NEW_SYN_RECV 12

/* The host at whose socket a question is asked. */
enum host { CLIENT, SERVER };

/* Numbers of the socket of an established connection. */
struct numbers {
	__u32 received;       /* next sequence number expected */
	__u32 unacknowledged; /* lowest sequence number sent and not acknowledged */
	__u32 sent;           /* next sequence number to send */
};

/* Ask the kernel for the socket behind a program's connection, in this network namespace. False: there is none. */
static __always_inline bool ask_socket(struct __sk_buff *skb, const struct packet *packet, const struct key *key,
				       enum host host, struct numbers *numbers)
{
	const struct address *remote = host == CLIENT ? &key->vip : &key->client;
	const struct address *local = host == CLIENT ? &key->client : &key->vip;
	__be16 remote_port = host == CLIENT ? key->port : key->client_port;
	__be16 local_port = host == CLIENT ? key->client_port : key->port;
	struct bpf_sock_tuple tuple;
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *socket;
	bool found = false;

	if (packet->v6) {
		__builtin_memcpy(tuple.ipv6.saddr, remote, sizeof(*remote));
		__builtin_memcpy(tuple.ipv6.daddr, local, sizeof(*local));
		tuple.ipv6.sport = remote_port;
		tuple.ipv6.dport = local_port;
		socket = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	} else {
		tuple.ipv4.saddr = remote->word[3];
		tuple.ipv4.daddr = local->word[3];
		tuple.ipv4.sport = remote_port;
		tuple.ipv4.dport = local_port;
		socket = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	}
	if (!socket)
		return false;
	tcp = bpf_tcp_sock(socket);
	if (tcp && socket->state != TCP_STATE_LISTEN && socket->state != TCP_STATE_SYN_SENT &&
	    socket->state != TCP_STATE_SYN_RECV && socket->state != TCP_STATE_NEW_SYN_RECV) {
		numbers->received = tcp->rcv_nxt;
		numbers->unacknowledged = tcp->snd_una;
		numbers->sent = tcp->snd_nxt;
		found = true;
	}
	bpf_sk_release(socket);
	return found;
}

/*
 * Could the peer have sent this segment? RFC 5961 asks as much of a reset: a sequence number near the expected one and
 * an acknowledgement of something sent and not yet acknowledged. A blind attacker meets both once in 2^38 attempts.
 */
static __always_inline bool is_from_peer(const struct segment *segment, const struct numbers *numbers)
{
	return (segment->word & TCP_ACK) &&
	       segment->seq - numbers->received + IN_FLIGHT_MAX <= 2 * IN_FLIGHT_MAX &&
	       segment->ack - numbers->unacknowledged <= numbers->sent - numbers->unacknowledged;
}

static __always_inline bool in_window(struct __sk_buff *skb, const struct packet *packet,
				      const struct segment *segment, const struct key *key, enum host host)
{
	struct numbers numbers;

	return ask_socket(skb, packet, key, host, &numbers) && is_from_peer(segment, &numbers);
}

/*
 * Does the socket disown this segment? A reset may come without an acknowledgement, so it is told by its sequence
 * number alone. Without a socket, as the connection is over or its program in another namespace, nothing is disowned.
 */
static __always_inline bool is_disowned(struct __sk_buff *skb, const struct packet *packet,
					const struct segment *segment, const struct key *key, enum host host)
{
	struct numbers numbers;

	if (!ask_socket(skb, packet, key, host, &numbers))
		return false;
	if (segment->word & TCP_RST)
		return segment->seq - numbers.received + 1 > RESET_AHEAD_MAX;
	return !is_from_peer(segment, &numbers);
}

/* Note what a FIN or a reset received says about the connection's life; the kernel judges it by itself. */
static __always_inline void note_end(struct __sk_buff *skb, const struct packet *packet,
				     const struct segment *segment, const struct key *key, enum host host,
				     struct connection *entry)
{
	if (!is_disowned(skb, packet, segment, key, host))
		set(entry, segment->word & TCP_RST ? DOUBTFUL : FIN_REMOTE);
}

/*
 * What the connection's own socket says about a segment. Only the socket sees all of the connection's numbers. If it is
 * in another network namespace (a container or virtual machine behind this host), the entry keeps numbers instead.
 */
#pragma once

#include "scratch.h"
#include "tcp.h"

/*
 * Distance in bytes that a sequence number may have from the next expected one. An announcement carries the number last
 * acknowledged to its sender, so the data in flight lies between. The acknowledgement number has no such tolerance.
 */
#define IN_FLIGHT_MAX (1 << 25)
/* The same where only the entry's numbers are known; for acknowledgements, too. */
#define TRACKED_WINDOW (1 << 20)

#define TCP_STATE_SYN_SENT 2
#define TCP_STATE_SYN_RECV 3
#define TCP_STATE_TIME_WAIT 6
#define TCP_STATE_CLOSE 7
#define TCP_STATE_LISTEN 10
#define TCP_STATE_NEW_SYN_RECV 12

/* The role whose socket is looked up. */
enum host { CLIENT, SERVER };

/* The socket of a connection in this network namespace. */
enum socket_state {
	SOCKET_NONE,      /* the program is elsewhere, or gone */
	SOCKET_LISTENING, /* it listens for connections to this port */
	SOCKET_OPENING,   /* it opens the connection */
	SOCKET_OPEN,      /* it is the connection's */
	SOCKET_OVER,      /* TIME-WAIT is left of it */
};

/* Numbers of an open connection's socket. */
struct numbers {
	__u32 received;       /* next sequence number expected */
	__u32 unacknowledged; /* lowest sequence number sent and not acknowledged */
	__u32 sent;           /* next sequence number to send */
};

static __always_inline bool is_mapped(const struct address *address)
{
	return address->word[0] == 0 && address->word[1] == 0 && address->word[2] == bpf_htonl(0xffff);
}

/*
 * Look up the socket of a program's connection; fill in `numbers` if it is SOCKET_OPEN. Not inlined: so the verifier
 * checks it once.
 */
__noinline int find_socket(struct __sk_buff *skb, const struct key *key, __u32 host, struct numbers *numbers)
{
	const struct address *remote, *local;
	__be16 remote_port, local_port;
	struct scratch *scratch = use_scratch();
	enum socket_state found = SOCKET_OPENING;
	struct bpf_sock_tuple *tuple;
	struct bpf_tcp_sock *tcp;
	struct bpf_sock *socket;

	if (!key || !numbers || !scratch)
		return SOCKET_NONE;
	remote = host == CLIENT ? &key->vip : &key->client;
	local = host == CLIENT ? &key->client : &key->vip;
	remote_port = host == CLIENT ? key->port : key->client_port;
	local_port = host == CLIENT ? key->client_port : key->port;
	tuple = &scratch->tuple;
	if (is_mapped(remote)) {
		tuple->ipv4.saddr = remote->word[3];
		tuple->ipv4.daddr = local->word[3];
		tuple->ipv4.sport = remote_port;
		tuple->ipv4.dport = local_port;
		socket = bpf_skc_lookup_tcp(skb, tuple, sizeof(tuple->ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple->ipv6.saddr, remote, sizeof(*remote));
		__builtin_memcpy(tuple->ipv6.daddr, local, sizeof(*local));
		tuple->ipv6.sport = remote_port;
		tuple->ipv6.dport = local_port;
		socket = bpf_skc_lookup_tcp(skb, tuple, sizeof(tuple->ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!socket)
		return SOCKET_NONE;
	switch (socket->state) {
	case TCP_STATE_LISTEN:
		found = SOCKET_LISTENING;
		break;
	case TCP_STATE_SYN_SENT:
	case TCP_STATE_SYN_RECV:
	case TCP_STATE_NEW_SYN_RECV:
		break;
	case TCP_STATE_TIME_WAIT:
	case TCP_STATE_CLOSE:
		found = SOCKET_OVER;
		break;
	default:
		found = SOCKET_OVER;
		tcp = bpf_tcp_sock(socket);
		if (tcp) {
			numbers->received = tcp->rcv_nxt;
			numbers->unacknowledged = tcp->snd_una;
			numbers->sent = tcp->snd_nxt;
			found = SOCKET_OPEN;
		}
	}
	bpf_sk_release(socket);
	return found;
}

static __always_inline bool ask_socket(struct __sk_buff *skb, const struct key *key, enum host host,
				       struct numbers *numbers)
{
	return find_socket(skb, key, host, numbers) == SOCKET_OPEN;
}

/*
 * Could the peer have sent this segment? A blind attacker guesses the sequence number and an acknowledgement of
 * unacknowledged data once in 2^38 attempts.
 */
static __always_inline bool is_from_peer(const struct segment *segment, const struct numbers *numbers)
{
	return (segment->word & TCP_ACK) && segment->seq - numbers->received + IN_FLIGHT_MAX <= 2 * IN_FLIGHT_MAX &&
	       segment->ack - numbers->unacknowledged <= numbers->sent - numbers->unacknowledged;
}

/* The same by an entry's own numbers. */
static __always_inline bool is_near_entry_numbers(const struct segment *segment, const struct connection *entry)
{
	return (segment->word & TCP_ACK) && segment->seq - entry->received + TRACKED_WINDOW <= 2 * TRACKED_WINDOW &&
	       entry->sent - segment->ack <= TRACKED_WINDOW;
}

static __always_inline bool in_window(struct __sk_buff *skb, const struct segment *segment, const struct key *key,
				      enum host host)
{
	struct numbers numbers = {};

	return ask_socket(skb, key, host, &numbers) && is_from_peer(segment, &numbers);
}

/*
 * Is this segment the peer's?
 *
 * A reset counts only at exactly the expected number (RFC 5961, 3.2). The kernel challenges any other, and a peer that
 * has no connection answers with an exact one. While the socket has data in its backlog, an exact reset looks early;
 * the socket is gone at the next look-up. A closed connection needs no protection: the kernel answers as plain TCP
 * does. A segment leaves before its socket counts it as sent, and another processor may receive its acknowledgement
 * first; the entry knows, while it keeps numbers.
 */
static __always_inline bool is_acceptable(struct __sk_buff *skb, const struct segment *segment, const struct key *key,
					  enum host host, const struct connection *entry)
{
	struct numbers numbers = {};

	switch (find_socket(skb, key, host, &numbers)) {
	case SOCKET_OPEN:
		if (is_tracked(entry) && entry->sent - numbers.sent <= TRACKED_WINDOW)
			numbers.sent = entry->sent;
		return segment->word & TCP_RST ? segment->seq == numbers.received : is_from_peer(segment, &numbers);
	case SOCKET_LISTENING:
	case SOCKET_OPENING:
	case SOCKET_NONE:
		if (is_tracked(entry))
			return segment->word & TCP_RST ? segment->seq == entry->received
						       : is_near_entry_numbers(segment, entry);
		return true;
	default:
		return true;
	}
}

/* Note what this host's program has sent and what it expects, where the entry keeps numbers. */
static __always_inline void note_numbers(struct connection *entry, const struct segment *segment)
{
	__u32 next = segment->seq + segment->data + !!(segment->word & (TCP_SYN | TCP_FIN));

	if (!is_tracked(entry) || (segment->word & TCP_RST))
		return;
	if ((__s32)(next - entry->sent) > 0)
		entry->sent = next;
	if ((segment->word & TCP_ACK) && entry->received != segment->ack)
		entry->received = segment->ack;
}

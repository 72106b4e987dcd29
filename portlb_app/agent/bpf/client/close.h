/*
 * Closing a connection that the program is to open elsewhere (row D5).
 *
 * The agent's process injects a FIN that the server never sent. The program reads the end of the stream, as when a
 * server closes an idle connection; programs that keep connections handle that. From then on the kernel is one sequence
 * number ahead of the server. The agent sends the FIN to the server for the program at once, and answers for the
 * program until it closes. So the server sees an orderly close (RFC 9293, 3.6) however long the program takes:
 *
 *   server's numbers        end_seq                server_seq: next expected, rises with what it sends
 *   kernel expects          end_seq + 1            for good: it has received the FIN
 *   client's numbers        fin_seq: the FIN's     the kernel's own FIN, if the program closes, has the same
 *
 * The numbers must be final. What a program writes on another processor passes client_egress a moment before the socket
 * counts it. So there are three steps: CLOSE_ARMED; the process looks at the socket, which takes the socket's lock;
 * then the FIN is injected if the numbers are the same and no packet has passed.
 */
#pragma once

#include "../probe.h"
#include "../table.h"
#include "settings.h"
#include "steer.h"

/* Marks the injected FIN, so that client_ingress lets it pass. */
#define ENDING_MARK 0x52500001

/* A packet passes: disarm the close. True: the FIN is injected already. */
static __always_inline bool cancel_close(struct connection *entry)
{
	return __sync_fetch_and_and(&entry->flags, ~CLOSE_ARMED) & FIN_INJECTED;
}

/*
 * Rewrite what the kernel sends after the injected FIN. `bits`: header bits that keep it with its server; `reset_bit`:
 * the bit that a reset has besides.
 */
static __always_inline int ended_egress(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					struct connection *entry, __be16 sport, __u16 bits, __u16 reset_bit)
{
	__u16 word = (segment->word & ~TCP_FLAGS) | TCP_ACK | bits;
	__u32 seq = entry->fin_seq;

	note_use(entry, segment);
	if (segment->data) {
		/*
		 * A request that the server must not see: the program is to ask elsewhere. The socket cannot be saved.
		 */
		ask_to_close(&packet->key, true);
		return DROP;
	}
	if (segment->word & (TCP_FIN | TCP_RST))
		set(entry, PROGRAM_CLOSED);
	if ((entry->flags & (PROGRAM_CLOSED | PEER_STILL_SENDING | FIN_REMOTE)) ==
	    (PROGRAM_CLOSED | PEER_STILL_SENDING)) {
		/* The program has closed and reads nothing: reset, as its host would (RFC 9293, 3.6). */
		seq++;
		word |= TCP_RST | (entry->state == BOUND ? reset_bit : 0);
		set(entry, RESET_SEEN);
	} else if (entry->flags & FIN_ACKED) {
		seq++;
	} else {
		word |= TCP_FIN;
		set(entry, FIN_LOCAL);
	}
	if (segment->word & (TCP_FIN | TCP_RST))
		note_closed(skb, &packet->key, entry, CLIENT);
	if (!replace_number(skb, packet, SEQ_AT, segment->seq, seq) ||
	    !replace_number(skb, packet, ACK_AT, segment->ack, entry->server_seq))
		return DROP;
	return rewrite(skb, packet, segment, sport, port_of(entry->wire), word);
}

/* Rewrite what the server sends after the injected FIN. */
static __always_inline int ended_ingress(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					 const struct key *key, struct connection *entry)
{
	bool fin = segment->word & TCP_FIN;
	__u32 next = segment->seq + segment->data + fin, seq = entry->end_seq + 1, ack = segment->ack;
	__u32 already = entry->server_seq - segment->seq; /* bytes of the segment that were received before */

	note_use(entry, segment);
	if (already <= segment->data + fin) { /* in order, and nothing is missing: a forger fails here */
		entry->server_seq = next;
		if (fin)
			set(entry, FIN_REMOTE);
	}
	/*
	 * The server could have closed. More data, or a probe (of the last received byte), shows that it goes on
	 * sending.
	 */
	if ((entry->flags & FIN_ACKED) && !fin && (segment->data ? already <= segment->data : already == 1))
		set(entry, PEER_STILL_SENDING);
	if (segment->ack == entry->fin_seq + 1)
		set(entry, FIN_ACKED);
	if (segment->word & TCP_RST) {
		if (already == 0)
			set(entry, RESET_SEEN);
		seq = entry->end_seq + 1 - already; /* the kernel judges a reset by its number */
	} else {
		/* The kernel has sent no FIN that could be acknowledged, unless the program has closed. */
		if (!(entry->flags & PROGRAM_CLOSED))
			ack = entry->fin_seq;
		/*
		 * The kernel answers a segment that it has already received, and does not read it (RFC 9293, 3.10.7.4).
		 */
		if (segment->data || fin || already == 1)
			seq = entry->end_seq - segment->data;
	}
	if (fin || (segment->word & TCP_RST))
		note_closed(skb, key, entry, CLIENT);
	if (!replace_number(skb, packet, SEQ_AT, segment->seq, seq) ||
	    !replace_number(skb, packet, ACK_AT, segment->ack, ack))
		return DROP;
	return rewrite(skb, packet, segment, key->port, key->client_port, segment->word & ~TCP_FIN);
}

/* Inject a FIN into the program behind a frame to it, on interface cb[0], in two calls: see above. */
static __always_inline int end_program(struct __sk_buff *skb, __u32 interface)
{
	struct connection *entry;
	struct numbers numbers = {};
	struct segment segment;
	struct packet packet;
	__u32 flags, isn;

	if (!read_ip(skb, &packet, &client_settings.vips, NULL, FROM_VIP) || packet.protocol != IPPROTO_TCP ||
	    !read_tcp(skb, &packet, &segment, FROM_VIP))
		return IMPOSSIBLE;
	entry = bpf_map_lookup_elem(&connections, &packet.key);
	if (!entry || !(entry->flags & LEAVING))
		return GONE;
	flags = *(volatile __u32 *)&entry->flags;
	isn = entry->server_seq;
	if (flags & (FIN_INJECTED | FIN_LOCAL | FIN_REMOTE | RESET_SEEN))
		return FOLLOWED;
	if (!ask_socket(skb, &packet.key, CLIENT, &numbers))
		return NO_SOCKET;
	if (numbers.sent != numbers.unacknowledged)
		return BUSY;
	if (!(flags & CLOSE_ARMED) || entry->end_seq != numbers.received || entry->fin_seq != numbers.sent) {
		entry->end_seq = numbers.received;
		entry->fin_seq = numbers.sent;
		set(entry, CLOSE_ARMED);
		return CALL_AGAIN;
	}
	if (!replace_number(skb, &packet, SEQ_AT, segment.seq, numbers.received) ||
	    !replace_number(skb, &packet, ACK_AT, segment.ack, numbers.sent) ||
	    rewrite(skb, &packet, &segment, segment.sport, segment.dport, segment.word | TCP_FIN) == DROP)
		return IMPOSSIBLE;
	entry->server_seq = numbers.received;
	if (__sync_val_compare_and_swap(&entry->flags, flags, (flags & ~CLOSE_ARMED) | FIN_INJECTED) != flags) {
		entry->server_seq = isn;
		return BUSY;
	}
	skb->mark = ENDING_MARK;
	return bpf_clone_redirect(skb, interface, BPF_F_INGRESS) ? IMPOSSIBLE : MADE;
}

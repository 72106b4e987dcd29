/*
 * The end of a connection that the program is to open again elsewhere (row D5).
 *
 * The agent's process has the kernel hear a FIN that the server never sent: the program reads the end of the stream,
 * as when a server closes an idle connection, which is what programs that keep connections are ready for. From then on
 * the kernel is one sequence number ahead of the server. Towards the server the agent sends the FIN for the program at
 * once, and answers for it until it closes, so that the server sees an orderly close (RFC 9293, 3.6) however long the
 * program takes:
 *
 *   server's numbers        end_seq                server_seq: next expected, rises with what it sends
 *   kernel expects          end_seq + 1            all its life: it has heard the FIN
 *   client's numbers        fin_seq: the FIN's     the kernel's own FIN, if the program closes, has the same
 *
 * The numbers must be final: what a program writes on another processor has passed client_egress a moment before the
 * socket counts it. So the connection is first CLOSE_ARMED; then the process looks at the socket, which takes the socket's
 * lock; and then the connection is ended if the numbers are the same, and nothing has passed.
 */
#pragma once

#include "../probe.h"
#include "../table.h"
#include "settings.h"
#include "steer.h"

/* On the frame that ends the program's stream, so that client_ingress lets it through. */
#define ENDING_MARK 0x52500001

/* Something is about to pass on a connection that is CLOSE_ARMED or FIN_INJECTED. True: it is FIN_INJECTED, watching is over anyhow. */
static __always_inline bool cancel_close(struct connection *entry)
{
	return __sync_fetch_and_and(&entry->flags, ~CLOSE_ARMED) & FIN_INJECTED;
}

/*
 * What the kernel sends on an FIN_INJECTED connection; `bits` are the header bits it needs to keep to its server, `reset_bit` the
 * one that a reset has besides.
 */
static __always_inline int ended_egress(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					struct connection *entry, __be16 sport, __u16 bits, __u16 reset_bit)
{
	__u16 word = (segment->word & ~TCP_FLAGS) | TCP_ACK | bits;
	__u32 seq = entry->fin_seq;

	note_use(entry, segment);
	if (segment->data) {
		/* A request the server must not see: the program is to ask elsewhere. Its socket is past saving. */
		ask_to_close(&packet->key, true);
		return DROP;
	}
	if (segment->word & (TCP_FIN | TCP_RST))
		set(entry, PROGRAM_CLOSED);
	if ((entry->flags & (PROGRAM_CLOSED | PEER_STILL_SENDING | FIN_REMOTE)) ==
	    (PROGRAM_CLOSED | PEER_STILL_SENDING)) {
		/* Nobody is there to read what the server sends: what a host says for a closed program (RFC 9293, 3.6). */
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

/* What the server sends on one. */
static __always_inline int ended_ingress(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					 const struct key *key, struct connection *entry)
{
	bool fin = segment->word & TCP_FIN;
	__u32 next = segment->seq + segment->data + fin, seq = entry->end_seq + 1, ack = segment->ack;
	__u32 already = entry->server_seq - segment->seq; /* bytes of the segment that have been received before */

	note_use(entry, segment);
	if (already <=
	    segment->data + fin) { /* in order, and nothing is missing: who does not know the numbers fails */
		entry->server_seq = next;
		if (fin)
			set(entry, FIN_REMOTE);
	}
	/* It has had its chance to close; more data, or a probe (of the byte received last), says that it does not. */
	if ((entry->flags & FIN_ACKED) && !fin && (segment->data ? already <= segment->data : already == 1))
		set(entry, PEER_STILL_SENDING);
	if (segment->ack == entry->fin_seq + 1)
		set(entry, FIN_ACKED);
	if (segment->word & TCP_RST) {
		if (already == 0)
			set(entry, RESET_SEEN);
		seq = entry->end_seq + 1 - already; /* the kernel judges a reset by its number, as ever */
	} else {
		/* The kernel has sent no FIN that could be acknowledged, unless the program has closed. */
		if (!(entry->flags & PROGRAM_CLOSED))
			ack = entry->fin_seq;
		/* As something it has already received it is answered, and not looked at (RFC 9293, 3.10.7.4). */
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

/* Tell the program behind a frame to it, on interface cb[0], that the server has closed, in two calls: see ending.h. */
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

/*
 * Announcements in the middle of a connection (rows D2 to D9). `portlb agent redirect` runs these programs on a frame
 * of the connection with the program's ports and no data (BPF_PROG_TEST_RUN), and sends what they make of it: a
 * keep-alive probe (RFC 9293, 3.8.4) with REDIRECT and the option. A probe needs no segment of the program's to ride
 * on, wakes an idle connection, and is answered at once.
 */
#pragma once

#include "client.h"
#include "server.h"

/* What the caller puts into cb[0] and cb[1]: the port to announce (network byte order), and the option's flags. */
enum answer {
	MADE,       /* the frame is to be sent */
	GONE,       /* no such connection, or it is over */
	FOLLOWED,   /* the peer has followed */
	NO_SOCKET,  /* the entry is there, the connection's socket is not in this network namespace */
	IMPOSSIBLE, /* not in this state, or the port is taken */
	BUSY,       /* not now: the program has sent something that is not acknowledged */
	LOOK_AGAIN = 7, /* WATCHED: look at the socket, and call again */
};

/* Turn the frame into the probe, with header bit `bit`. */
static __always_inline int make_probe(struct __sk_buff *skb, struct packet *packet, struct segment *segment,
				      enum host host, __be16 sport, __be16 dport, __u16 bit, __u8 flags, __be16 port)
{
	struct numbers numbers = {};

	if (!ask_socket(skb, &packet->key, host, &numbers))
		return NO_SOCKET;
	/* Told to close while data is on its way to it, the client might take a pause of the path for the end. */
	if (host == SERVER && !(flags & (OPTION_IN_PLACE | OPTION_RESET)) && numbers.sent != numbers.unacknowledged)
		return BUSY;
	if (!has_room(packet, segment) ||
	    !replace_number(skb, packet, SEQ_AT, segment->seq, numbers.unacknowledged - 1) ||
	    !replace_number(skb, packet, ACK_AT, segment->ack, numbers.received) ||
	    rewrite_with_option(skb, packet, segment, sport, dport, segment->word | bit, flags, port) == DROP)
		return IMPOSSIBLE;
	return MADE;
}

static __always_inline int make_server_announcement(struct __sk_buff *skb, __be16 port, __u8 flags)
{
	struct connection *entry;
	struct segment segment;
	struct packet packet;

	if (!read_ip(skb, &packet, &server_settings.vips, NULL, FROM_VIP) || packet.protocol != IPPROTO_TCP ||
	    !read_tcp(skb, &packet, &segment, FROM_VIP))
		return IMPOSSIBLE;
	entry = bpf_map_lookup_elem(&connections, &packet.key);
	if (!entry)
		return GONE;
	if (is_closing(entry) || (entry->flags & (FIN_LOCAL | FIN_REMOTE)))
		return entry->flags & LEAVING ? FOLLOWED : GONE;
	if (!(entry->flags & REDIRECTED))
		return IMPOSSIBLE;
	if (flags & OPTION_IN_PLACE) {
		if (entry->wire == port && !(entry->flags & MOVING))
			return FOLLOWED;
		entry->target = port;
		set(entry, MOVING);
	} else {
		set(entry, LEAVING);
	}
	/* As the program's own, which the host's firewall knows: server_egress makes it the wire's. */
	return make_probe(skb, &packet, &segment, SERVER, segment.sport, segment.dport, REDIRECT, OPTION_REDIRECT | flags,
			  port);
}

/*
 * The client's own port (row D9). With OPTION_CONFIRM among the flags the frame does not announce the port but is sent
 * from it, with CONFIRM, as the third packet of a connection is: the server answers it there.
 */
static __always_inline int make_client_announcement(struct __sk_buff *skb, __be16 port, __u8 flags)
{
	struct connection *entry;
	struct segment segment;
	struct packet packet;

	if (!read_ip(skb, &packet, &client_settings.vips, NULL, TO_VIP) || packet.protocol != IPPROTO_TCP ||
	    !read_tcp(skb, &packet, &segment, TO_VIP))
		return IMPOSSIBLE;
	entry = bpf_map_lookup_elem(&connections, &packet.key);
	if (!entry || is_closing(entry))
		return GONE;
	if (entry->client_port == port)
		return FOLLOWED;
	if (entry->state != BOUND || !(entry->flags & HEARD) || port == segment.sport)
		return IMPOSSIBLE;
	if (!put_name(skb, &packet, DESTINATION, entry->wire, &entry->name))
		return IMPOSSIBLE;
	if (flags & OPTION_CONFIRM) {
		if (!(entry->flags & OWN_MOVING) || entry->client_target != port)
			return IMPOSSIBLE;
		return make_probe(skb, &packet, &segment, CLIENT, port, port_of(entry->wire), REDIRECT_CONFIRM,
				  OPTION_CONFIRM, client_port_of(entry, segment.sport));
	}
	if (((entry->flags & OWN_MOVING) || entry->client_port) && entry->client_target != port &&
	    entry->client_target != packet.key.client_port)
		delete_alias(&packet.key, &entry->name, entry->client_target, entry->wire);
	if (!add_alias(skb, &packet.key, &entry->name, port, entry->wire))
		return IMPOSSIBLE;
	entry->client_target = port;
	set(entry, OWN_MOVING);
	return make_probe(skb, &packet, &segment, CLIENT, client_port_of(entry, segment.sport), port_of(entry->wire),
			  REDIRECT, OPTION_REDIRECT | flags, port);
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
	if (flags & (ENDED | FIN_LOCAL | FIN_REMOTE | DOUBTFUL))
		return FOLLOWED;
	if (!ask_socket(skb, &packet.key, CLIENT, &numbers))
		return NO_SOCKET;
	if (numbers.sent != numbers.unacknowledged)
		return BUSY;
	if (!(flags & WATCHED) || entry->end_seq != numbers.received || entry->fin_seq != numbers.sent) {
		entry->end_seq = numbers.received;
		entry->fin_seq = numbers.sent;
		set(entry, WATCHED);
		return LOOK_AGAIN;
	}
	if (!replace_number(skb, &packet, SEQ_AT, segment.seq, numbers.received) ||
	    !replace_number(skb, &packet, ACK_AT, segment.ack, numbers.sent) ||
	    rewrite(skb, &packet, &segment, segment.sport, segment.dport, segment.word | TCP_FIN) == DROP)
		return IMPOSSIBLE;
	entry->server_seq = numbers.received;
	if (__sync_val_compare_and_swap(&entry->flags, flags, (flags & ~WATCHED) | ENDED) != flags) {
		entry->server_seq = isn;
		return BUSY;
	}
	skb->mark = ENDING_MARK;
	return bpf_clone_redirect(skb, interface, BPF_F_INGRESS) ? IMPOSSIBLE : MADE;
}

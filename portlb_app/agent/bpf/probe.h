/*
 * Announcements in the middle of a connection (rows D2 to D9).
 *
 * `portlb agent redirect` runs these programs (BPF_PROG_TEST_RUN) on a frame of the connection with the program's ports
 * and no data, and sends the result: a keep-alive probe (RFC 9293, 3.8.4) with REDIRECT and the option. A probe needs
 * no segment of the program's, reaches an idle connection, and is answered at once. cb[0] is the port to announce
 * (network byte order), cb[1] the option's flags.
 */
#pragma once

#include "rewrite.h"
#include "socket.h"

/* What a program returns that the process or a command calls. */
enum call_result {
	MADE,           /* the frame is to be sent */
	GONE,           /* there is no such connection, or it is over */
	FOLLOWED,       /* the peer has followed */
	NO_SOCKET,      /* the connection's socket is not in this network namespace */
	IMPOSSIBLE,     /* the connection is in another state, or the port is taken */
	BUSY,           /* the program has sent data that is not acknowledged: try later */
	CALL_AGAIN = 7, /* CLOSE_ARMED is set: look at the socket, and call again */
};

/* Turn the frame into the probe, with header bit `bit`. */
static __always_inline int make_probe(struct __sk_buff *skb, struct packet *packet, struct segment *segment,
				      enum host host, __be16 sport, __be16 dport, __u16 bit, __u8 flags, __be16 port)
{
	struct numbers numbers = {};

	if (!ask_socket(skb, &packet->key, host, &numbers))
		return NO_SOCKET;
	/* A client that is told to close during an answer could take a pause of the path for its end. */
	if (host == SERVER && !(flags & (OPTION_IN_PLACE | OPTION_RESET)) && numbers.sent != numbers.unacknowledged)
		return BUSY;
	if (!has_room(packet, segment) ||
	    !replace_number(skb, packet, SEQ_AT, segment->seq, numbers.unacknowledged - 1) ||
	    !replace_number(skb, packet, ACK_AT, segment->ack, numbers.received) ||
	    rewrite_with_option(skb, packet, segment, sport, dport, segment->word | bit, flags, port) == DROP)
		return IMPOSSIBLE;
	return MADE;
}

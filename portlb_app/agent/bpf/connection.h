/*
 * What an agent remembers of a connection.
 *
 * Ports and addresses are in network byte order everywhere, sequence numbers in host byte order. "The wire's endpoint"
 * (`wire`) is the server's endpoint that the connection uses, or is about to use, on the wire.
 */
#pragma once

#include <linux/types.h>
#include <stdbool.h>

#include "locator.h"

/* A connection as the program knows it. The key of an alias has the wire's values instead. */
struct key {
	struct address client;
	struct address vip; /* alias: the service address, if it has one */
	__be16 client_port;
	__be16 port;
};

/* docs/protocol.md, "States", has the transitions. */
enum state {
	OPENING = 1, /* SYN seen. The client waits for the SYN/ACK, the server accepts both ports */
	PLAIN,       /* stays at the port the SYN named */
	BOUND,       /* goes on at an announced endpoint */
};

/*
 * Flags, not further states: both directions change them at the same time on two processors, each by one atomic
 * instruction. docs/protocol.md, "States", groups them.
 */
enum flag {
	/* server, how the connection opened */
	REDIRECT_REQUESTED = 1 << 0, /* the SYN asks for a redirect, so the SYN/ACK gets CONFIRM */
	ANNOUNCED = 1 << 1,          /* both roles: the SYN/ACK carries the option */
	SYNACK_SENT = 1 << 2,        /* server_seq is known */
	/* client: does the server answer from the wire's endpoint? */
	CONFIRMED = 1 << 3, /* a packet has arrived from there */
	/* how it ends */
	FIN_LOCAL = 1 << 4,
	FIN_REMOTE = 1 << 5,
	RESET_SEEN = 1 << 6, /* over, unless the program sends again */
	/* server */
	OPTION_ONLY = 1 << 7, /* the client uses no header bits, so the server uses none */
	/* both roles */
	SENDING_TO_BOTH = 1 << 8, /* the wire's endpoint is silent: packets use `before`, too */
	/* server */
	CLIENT_CONFIRMED = 1 << 9,    /* the client receives what comes from the wire's endpoint */
	SERVER_PORT_MOVING = 1 << 10, /* `target` is announced in place, and the client has not followed */
	/* both roles: the connection is to be closed and opened elsewhere */
	LEAVING = 1 << 11,
	/* client: the close on behalf of the program, client/close.h */
	FIN_INJECTED = 1 << 12,   /* the program has received a FIN that the server never sent */
	FIN_ACKED = 1 << 13,      /* the server has acknowledged the FIN sent for the program */
	PROGRAM_CLOSED = 1 << 14, /* the program has closed */
	/* client */
	AWAITING_REPLY = 1 << 15, /* data or FIN went to the wire's endpoint at `timer_started` */
	CLOSE_ARMED = 1 << 16,    /* the FIN is injected unless a packet passes first: cancel_close() */
	PEER_STILL_SENDING = 1 << 17, /* the server sends after it has acknowledged the FIN */
	/* both roles */
	CLIENT_PORT_MOVING = 1 << 18, /* `client_target` is announced, and the server has not answered there */
	SYNACK_TAKEN = 1 << 19,       /* client: the connection is bound, or is being bound */
	SOCKET_ELSEWHERE = 1 << 20,   /* the socket is in another network namespace: the entry keeps its numbers */
	IN_CLOSED_LIST = 1 << 21,     /* closed, and in the list of table.h */
	CLAIMED = 1 << 22,            /* one processor is about to replace or delete the entry: claim() */
};

struct connection {
	__u32 last_used;     /* tick of the last packet; rounded, but for FIN and RST: touch() */
	__u32 timer_started; /* client: moment of the SYN, later of the announcement or of AWAITING_REPLY;
				server: tick of the client's last announcement */
	__u32 client_seq;    /* client's initial sequence number */
	__u32 server_seq;    /* server's initial sequence number; FIN_INJECTED: the next one expected */
	__u32 end_seq;       /* FIN_INJECTED: the server's next number at that time; server: see `repeats` */
	__u32 fin_seq;       /* FIN_INJECTED: number of the FIN sent for the program;
				server and SOCKET_ELSEWHERE: the last number the client has acknowledged */
	__u32 sent;          /* number behind everything this host's program has sent; kept where is_tracked() */
	__u32 received;      /* next number the program expects, by its last segment; kept where is_tracked() */
	__u32 flags;         /* enum flag; changed by set() and clear() only */
	__u32 opened;        /* endpoint the SYN named on the wire */
	__u32 wire;          /* the wire's endpoint */
	__u32 before;        /* endpoint used before; of a steered SYN, the port that redirected it */
	__u32 target;        /* server: port announced in place; the wire's if the client has gone back */
	union locator locator; /* client: of that endpoint which has one */
	__be16 client_port;    /* client's port on the wire, 0: the program's */
	union {
		__u16 syn_data;       /* client: data in the SYN (Fast Open), which its SYN/ACK may acknowledge */
		__be16 client_target; /* once a client port was announced: the other port of the client in use */
	};
	__u16 silence_limit; /* client: moments an announced endpoint may be silent */
	__u8 state;          /* enum state */
	__u8 repeats;        /* client: SYNs sent; server: times that `end_seq` has come on the port left */
};

/* Leads from other ports, or another address, on the wire to a connection. */
struct alias {
	struct address vip; /* VIP, where the key has a service address */
	__u32 flags;        /* CONFIRMED: data needs no look at the connection; CLAIMED */
	__u32 wire;         /* server's endpoint it is for */
	__be16 port;        /* the program's port of the server */
	__be16 client_port; /* the program's port of the client */
};

/* The server announces another port in the middle of a connection (rows D2 to D8). */
#pragma once

#include "../probe.h"
#include "settings.h"

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
	if (!(entry->flags & REDIRECT_REQUESTED))
		return IMPOSSIBLE;
	if (flags & OPTION_IN_PLACE) {
		if (entry->wire == port && !(entry->flags & SERVER_PORT_MOVING))
			return FOLLOWED;
		entry->target = port;
		set(entry, SERVER_PORT_MOVING);
	} else {
		set(entry, LEAVING);
	}
	/* With the program's ports, which the host's firewall knows. server_egress makes them the wire's. */
	return make_probe(skb, &packet, &segment, SERVER, segment.sport, segment.dport, REDIRECT,
			  OPTION_REDIRECT | flags, port);
}

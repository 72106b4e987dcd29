/* The client announces another port of its own (row D9). */
#pragma once

#include "../probe.h"
#include "../readdress.h"
#include "aliases.h"
#include "settings.h"

/*
 * Announce the client's port, or, with OPTION_CONFIRM, send a probe from it with CONFIRM, like the third packet of a
 * connection: the server answers there.
 */
static __always_inline int make_client_announcement(struct __sk_buff *skb, __be16 port, __u8 flags)
{
	union client_ports ports;
	struct connection *entry;
	struct segment segment;
	struct packet packet;
	bool moving;

	if (!read_ip(skb, &packet, &client_settings.vips, NULL, TO_VIP) || packet.protocol != IPPROTO_TCP ||
	    !read_tcp(skb, &packet, &segment, TO_VIP))
		return IMPOSSIBLE;
	entry = bpf_map_lookup_elem(&connections, &packet.key);
	if (!entry || is_closing(entry))
		return GONE;
	moving = entry->flags & CLIENT_PORT_MOVING;
	ports = client_ports_of(entry);
	if (ports.now == port)
		return FOLLOWED;
	if (entry->state != BOUND || !(entry->flags & CONFIRMED) || port == segment.sport)
		return IMPOSSIBLE;
	if (!put_locator(skb, &packet, DESTINATION, entry->wire, &entry->locator))
		return IMPOSSIBLE;
	if (flags & OPTION_CONFIRM) {
		if (!moving || ports.other != port)
			return IMPOSSIBLE;
		return make_probe(skb, &packet, &segment, CLIENT, port, port_of(entry->wire), REDIRECT_CONFIRM,
				  OPTION_CONFIRM, client_port_of(entry, segment.sport));
	}
	if (!add_alias(skb, &packet.key, &entry->locator, port, entry->wire))
		return IMPOSSIBLE;
	if (ports.other != port || !moving) {
		if (!change_client_ports(entry, ports, ports.now, port))
			return BUSY; /* the server has just answered at the port announced before */
		/* The alias of the port given up stays until the sweep: what comes late is dropped there, not reset. */
		set(entry, CLIENT_PORT_MOVING);
	}
	return make_probe(skb, &packet, &segment, CLIENT, client_port_of(entry, segment.sport), port_of(entry->wire),
			  REDIRECT, OPTION_REDIRECT | flags, port);
}

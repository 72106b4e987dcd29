/* The server's constants: which ports and locators it announces. */
#pragma once

#include "../tcp.h"

#define PORTS 65536

/* Both tables are indexed by the port as it stands in the packet (network byte order); 0: no such row. */
const volatile struct {
	struct vips vips;
	struct services services;      /* this server's service addresses (row X1) */
	struct address own[2];         /* the VIP that the IPv4 one, and the IPv6 one, stands for */
	__be32 label;                  /* its service label (row X3), 0: none */
	__u8 mac[6];                   /* its service MAC address (row X2), 0: none */
	__u8 announced_kinds[2];       /* what kind of name is announced over IPv4, and over IPv6 */
	__u8 announces_locator[PORTS]; /* X -> whether a name is announced to who opens on X, and no port */
	__be16 announced_ports[PORTS]; /* X -> Y: the port announced to who opens on X */
	__be16 applications[PORTS];    /* port on the wire -> the application's, where they differ */
} server_settings SEC(".rodata.server");

static __always_inline __be16 application_of(__be16 port)
{
	__be16 application = server_settings.applications[port];

	return application ? application : port;
}

/* What is announced to a SYN that asks for a redirect. 0: nothing. */
static __always_inline __u32 announcement_for(const struct packet *packet, const struct segment *segment)
{
	__be16 port = server_settings.announced_ports[segment->dport];
	enum locator_kind kind = server_settings.announced_kinds[packet->v6];

	if (port || !kind || kind_of(segment->endpoint) || !server_settings.announces_locator[segment->dport])
		return port;
	if (kind == LOCATOR_LABEL && !(segment->word & REDIRECT)) /* and will not have the other bit either */
		return 0;
	return endpoint_of(segment->dport, kind);
}

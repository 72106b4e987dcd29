/* The server's constants: which ports and locators it announces. */
#pragma once

#include "../tcp.h"

#define PORTS 65536

/* The tables are indexed by a port in network byte order; 0: no such row. */
const volatile struct {
	struct vips vips;
	struct services services;      /* this server's service addresses (row X1) */
	struct address own[2];         /* the VIPs that the IPv4 and the IPv6 service address stand for */
	__be32 label;                  /* its service label (row X3), 0: none */
	__u8 mac[6];                   /* its service MAC address (row X2), 0: none */
	__u8 announced_kinds[2];       /* kind of locator announced over IPv4, and over IPv6 */
	__u8 announces_locator[PORTS]; /* X -> whether a locator is announced to a client that opens on X */
	__be16 announced_ports[PORTS]; /* X -> Y: the port announced to a client that opens on X */
	__be16 applications[PORTS];    /* port on the wire -> the application's, where they differ */
} server_settings SEC(".rodata.server");

static __always_inline __be16 application_of(__be16 port)
{
	__be16 application = server_settings.applications[port];

	return application ? application : port;
}

/* Return what to announce to a SYN that asks for a redirect, 0 if nothing. */
static __always_inline __u32 announcement_for(const struct packet *packet, const struct segment *segment)
{
	__be16 port = server_settings.announced_ports[segment->dport];
	enum locator_kind kind = server_settings.announced_kinds[packet->v6];

	if (port || !kind || kind_of(segment->endpoint) || !server_settings.announces_locator[segment->dport])
		return port;
	if (kind == LOCATOR_LABEL && !(segment->word & REDIRECT)) /* the client will not set the other bit either */
		return 0;
	return endpoint_of(segment->dport, kind);
}

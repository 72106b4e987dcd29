/* ICMP errors that a server receives and sends. */
#pragma once

#include "../icmp.h"
#include "handshake.h"
#include "locator.h"

/* An error about a packet this host sent. It quotes the ports of the wire; the program needs its own. */
static __noinline int server_ingress_icmp(struct __sk_buff *skb, struct packet *packet)
{
	struct quote quote;
	struct alias *alias;
	struct address vip;
	__be16 client_port;

	if (!read_quote(skb, packet, &quote, &server_settings.vips, &server_settings.services, FROM_VIP))
		return PASS;
	vip = own_vip(packet);
	if (packet->service) {
		union locator locator = own_locator(packet, LOCATOR_ADDRESS);

		if (!replace_address(skb, packet, DESTINATION, &locator.address, &vip))
			return DROP;
	}
	if (quote.service) {
		if (!replace_quoted_address(skb, packet, SOURCE, &packet->key.vip, &vip))
			return DROP;
		packet->key.vip = vip;
	}
	client_port = quote.dport;
	packet->key.port = application_of(quote.sport);
	alias = bpf_map_lookup_elem(&aliases, &packet->key);
	if (alias)
		client_port = alias->client_port;
	return rewrite_quote(skb, packet, &quote, packet->key.port, client_port);
}

/* An error this host sends about a packet it received. It quotes the program's ports; the wire needs its own. */
static __noinline int server_egress_icmp(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *entry;
	struct quote quote;

	if (!read_quote(skb, packet, &quote, &server_settings.vips, NULL, TO_VIP))
		return PASS;
	entry = bpf_map_lookup_elem(&connections, &packet->key);
	if (!entry)
		return PASS;
	if (kind_of(current_endpoint(entry)) == LOCATOR_ADDRESS) {
		union locator locator = own_locator(packet, LOCATOR_ADDRESS);

		if (!replace_quoted_address(skb, packet, DESTINATION, &packet->key.vip, &locator.address))
			return DROP;
	}
	return rewrite_quote(skb, packet, &quote, client_port_of(entry, quote.sport), port_of(current_endpoint(entry)));
}

/* Gives packets this server's own locator, and takes it away. */
#pragma once

#include "../readdress.h"
#include "settings.h"

/* Return this server's own locator of a kind. */
static __always_inline union locator own_locator(const struct packet *packet, enum locator_kind kind)
{
	union locator locator = {};

	switch (kind) {
	case LOCATOR_ADDRESS:
		if (packet->v6) {
			for (int i = 0; i < 4; i++)
				locator.address.word[i] = server_settings.services.v6[0].address.word[i];
		} else {
			set_mapped(&locator.address, server_settings.services.v4[0].address);
		}
		break;
	case LOCATOR_MAC:
		for (int i = 0; i < 6; i++)
			locator.mac[i] = server_settings.mac[i];
		break;
	case LOCATOR_LABEL:
		locator.label = server_settings.label;
		break;
	default:
		break;
	}
	return locator;
}

/* Return the VIP that this server's service address stands for. */
static __always_inline struct address own_vip(const struct packet *packet)
{
	struct address vip;

	for (int i = 0; i < 4; i++)
		vip.word[i] = server_settings.own[packet->v6].word[i];
	return vip;
}

/* Write the locator of an endpoint into a program's packet. */
static __always_inline bool server_put_locator(struct __sk_buff *skb, const struct packet *packet, __u32 endpoint)
{
	union locator locator;

	if (!kind_of(endpoint))
		return true;
	locator = own_locator(packet, kind_of(endpoint));
	return put_locator(skb, packet, SOURCE, endpoint, &locator);
}

/* Note this server's locator in the segment's endpoint, and replace it by what the kernel knows. */
static __always_inline bool server_take_locator(struct __sk_buff *skb, struct packet *packet, struct segment *segment)
{
	union locator locator;

	if (packet->service) {
		struct address vip = own_vip(packet);

		if (!replace_address(skb, packet, DESTINATION, &packet->key.vip, &vip))
			return false;
		packet->key.vip = vip;
		return true;
	}
	locator = own_locator(packet, LOCATOR_MAC);
	if ((locator.mac[0] | locator.mac[1] | locator.mac[2] | locator.mac[3] | locator.mac[4] | locator.mac[5]) &&
	    has_mac(skb, DESTINATION, locator.mac)) {
		segment->endpoint = endpoint_of(segment->dport, LOCATOR_MAC);
		bpf_skb_change_type(skb, PACKET_HOST);
		return true;
	}
	locator = own_locator(packet, LOCATOR_LABEL);
	if (locator.label && (segment->word & REDIRECT_CONFIRM) && has_label(skb, packet, locator.label))
		segment->endpoint = endpoint_of(segment->dport, LOCATOR_LABEL);
	return true;
}

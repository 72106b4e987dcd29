/* The client's constants, and what they allow. */
#pragma once

#include "../option.h"

#define MACS_MAX 16

const volatile struct {
	struct vips vips;
	struct services services;
	/* MAC addresses that a redirect may name (row X2), by their first bits; the low 48 bits of 64. */
	struct {
		__u64 address;
		__u64 mask;
	} macs[MACS_MAX];
	__u32 macs_count;
	__u32 by_option; /* ask for redirects by the option alone, for paths that clear the header bits */
} client_settings SEC(".rodata.client");

/* The header bits tell the switch, packet by packet, that the pool decides. */
static __always_inline __u16 redirect_bit(void)
{
	return client_settings.by_option ? 0 : REDIRECT;
}

static __always_inline __u16 confirm_bit(void)
{
	return client_settings.by_option ? 0 : REDIRECT_CONFIRM;
}

/*
 * Header bits of a client's packet to a service label. CONFIRM tells the switch that the label is one and so stays on
 * every packet. REDIRECT beside it says that the endpoint is confirmed.
 */
static __always_inline __u16 label_bits(const struct connection *entry)
{
	if (kind_of(entry->wire) != LOCATOR_LABEL)
		return 0;
	return entry->flags & CONFIRMED ? REDIRECT | REDIRECT_CONFIRM : REDIRECT_CONFIRM;
}

static __always_inline bool may_follow_mac(const __u8 *mac)
{
	__u64 number = 0;

	for (int i = 0; i < 6; i++)
		number = number << 8 | mac[i];
	for (__u32 i = 0; i < MACS_MAX; i++) {
		if (i < client_settings.macs_count &&
		    (number & client_settings.macs[i].mask) == client_settings.macs[i].address)
			return true;
	}
	return false;
}

/*
 * May a redirect name this locator? A port or a label leads to the same VIP, whichever host announces it. An address or
 * a MAC address could lead anywhere, so the administrator of this host lists those of services. Completes an IPv6
 * address.
 */
static __always_inline bool may_follow(const struct packet *packet, const struct key *key, struct announcement *found)
{
	struct address *address = &found->locator.address;

	switch (found->kind) {
	case LOCATOR_ADDRESS:
		if (packet->v6 != found->v6)
			return false;
		if (packet->v6) {
			address->word[0] = key->vip.word[0];
			address->word[1] = key->vip.word[1];
			return is_service6(&client_settings.services, address->word) &&
			       !is_vip6(&client_settings.vips, address->word);
		}
		return is_service4(&client_settings.services, address->word[3]) &&
		       !is_vip4(&client_settings.vips, address->word[3]);
	case LOCATOR_MAC:
		return may_follow_mac(found->locator.mac);
	case LOCATOR_LABEL:
		return packet->v6 && !client_settings.by_option;
	default:
		return true;
	}
}

/*
 * A locator identifies a server on the wire beside its port: an IP address, a MAC address or a flow label (rows X1, X2,
 * X3).
 *
 * An endpoint is a port and the kind of locator that goes with it, in one number. Without a locator it equals the port.
 * Most connections have none, so locators cost them nothing, and one comparison tells two endpoints apart.
 */
#pragma once

#include <linux/types.h>
#include <stdbool.h>

/* An IPv6 address, or an IPv4 address mapped into one (RFC 4291, 2.5.5.2). */
struct address {
	__be32 word[4];
};

enum locator_kind { LOCATOR_NONE, LOCATOR_ADDRESS, LOCATOR_MAC, LOCATOR_LABEL };

union locator {
	struct address address;
	__u8 mac[6];
	__be32 label; /* 20 bits */
};

static __always_inline __be16 port_of(__u32 endpoint)
{
	return endpoint;
}

static __always_inline enum locator_kind kind_of(__u32 endpoint)
{
	return endpoint >> 16;
}

static __always_inline __u32 endpoint_of(__be16 port, enum locator_kind kind)
{
	return (__u32)kind << 16 | port;
}

static __always_inline bool same_address(const struct address *one, const struct address *other)
{
	return one->word[3] == other->word[3] && one->word[2] == other->word[2] && one->word[1] == other->word[1] &&
	       one->word[0] == other->word[0];
}

static __always_inline bool same_mac(const __u8 *one, const __u8 *other)
{
	__u8 differences = 0;

	for (int i = 0; i < 6; i++)
		differences |= one[i] ^ other[i];
	return !differences;
}

static __always_inline bool same_locator(enum locator_kind kind, const union locator *one, const union locator *other)
{
	switch (kind) {
	case LOCATOR_ADDRESS:
		return same_address(&one->address, &other->address);
	case LOCATOR_MAC:
		return same_mac(one->mac, other->mac);
	case LOCATOR_LABEL:
		return one->label == other->label;
	default:
		return true;
	}
}

/* VIPs and service addresses of an agent. */
#pragma once

#include <linux/ipv6.h>

#include "maps.h"

#define VIPS_MAX 16

/* An agent's VIPs. They are constants, so that the verifier cuts the loops below to the addresses in use. */
struct vips {
	__be32 v4[VIPS_MAX];
	struct address v6[VIPS_MAX];
	__u32 v4_count;
	__u32 v6_count;
};

#define SERVICES_MAX 16

/*
 * Networks of service addresses (row X1), constants too. Client: networks that a redirect may name. Server: its own
 * addresses, with full masks.
 */
struct services {
	struct {
		__be32 address;
		__be32 mask;
	} v4[SERVICES_MAX];
	struct {
		struct address address;
		struct address mask;
	} v6[SERVICES_MAX];
	__u32 v4_count;
	__u32 v6_count;
};

static __always_inline bool is_vip4(const volatile struct vips *vips, __be32 address)
{
	for (__u32 i = 0; i < VIPS_MAX; i++) {
		if (i < vips->v4_count && vips->v4[i] == address)
			return true;
	}
	return false;
}

static __always_inline bool is_vip6(const volatile struct vips *vips, const __be32 *address)
{
	for (__u32 i = 0; i < VIPS_MAX; i++) {
		if (i < vips->v6_count && vips->v6[i].word[3] == address[3] && vips->v6[i].word[2] == address[2] &&
		    vips->v6[i].word[1] == address[1] && vips->v6[i].word[0] == address[0])
			return true;
	}
	return false;
}

static __always_inline bool is_service4(const volatile struct services *services, __be32 address)
{
	for (__u32 i = 0; services && i < SERVICES_MAX; i++) {
		if (i < services->v4_count && (address & services->v4[i].mask) == services->v4[i].address)
			return true;
	}
	return false;
}

static __always_inline bool is_service6(const volatile struct services *services, const __be32 *address)
{
	for (__u32 i = 0; services && i < SERVICES_MAX; i++) {
		const volatile struct address *network = &services->v6[i].address, *mask = &services->v6[i].mask;

		if (i < services->v6_count && (address[3] & mask->word[3]) == network->word[3] &&
		    (address[2] & mask->word[2]) == network->word[2] &&
		    (address[1] & mask->word[1]) == network->word[1] &&
		    (address[0] & mask->word[0]) == network->word[0])
			return true;
	}
	return false;
}

static __always_inline void set_mapped(struct address *address, __be32 v4)
{
	address->word[0] = 0;
	address->word[1] = 0;
	address->word[2] = bpf_htonl(0xffff);
	address->word[3] = v4;
}

static __always_inline void set_address(struct address *address, const struct in6_addr *v6)
{
	const __be32 *word = v6->in6_u.u6_addr32;

	address->word[0] = word[0];
	address->word[1] = word[1];
	address->word[2] = word[2];
	address->word[3] = word[3];
}

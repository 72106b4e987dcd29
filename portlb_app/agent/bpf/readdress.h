/*
 * Writes a server's locator into a packet, or the VIP's address back, and corrects every checksum that covers an
 * address.
 */
#pragma once

#include "rewrite.h"

/* The end of a packet. */
enum end { SOURCE, DESTINATION };

static __always_inline struct address mapped(__be32 v4)
{
	struct address address;

	set_mapped(&address, v4);
	return address;
}

static __always_inline bool failed_to_rewrite(void)
{
	count(COUNT_rewrite_failed);
	return false;
}

/* Return the offset in the frame of the transport checksum that covers addresses, 0 if none does. */
static __always_inline __u32 covering_checksum(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_TCP)
		return packet->payload + CHECKSUM_AT;
	return packet->protocol == IPPROTO_ICMPV6 ? packet->payload + 2 : 0;
}

/*
 * Replace an address. In IPv6 it changes the sum over the whole packet that a card may have made; in IPv4 the header's
 * checksum makes up for it. Hence BPF_F_RECOMPUTE_CSUM.
 */
static __always_inline bool replace_address(struct __sk_buff *skb, const struct packet *packet, enum end end,
					    const struct address *from, const struct address *to)
{
	__u32 checksum = covering_checksum(packet), at;
	struct address old = *from, new = *to;
	__s64 sum;

	if (packet->v6) {
		at = ETH_HLEN + (end == SOURCE ? offsetof(struct ipv6hdr, saddr) : offsetof(struct ipv6hdr, daddr));
		sum = bpf_csum_diff(old.word, sizeof(old), new.word, sizeof(new), 0);
		if (sum < 0 || (checksum && bpf_l4_csum_replace(skb, checksum, 0, sum, BPF_F_PSEUDO_HDR)) ||
		    bpf_skb_store_bytes(skb, at, &new, sizeof(new), BPF_F_RECOMPUTE_CSUM))
			return failed_to_rewrite();
		return true;
	}
	at = ETH_HLEN + (end == SOURCE ? offsetof(struct iphdr, saddr) : offsetof(struct iphdr, daddr));
	if ((checksum && bpf_l4_csum_replace(skb, checksum, old.word[3], new.word[3], BPF_F_PSEUDO_HDR | 4)) ||
	    bpf_l3_csum_replace(skb, ETH_HLEN + offsetof(struct iphdr, check), old.word[3], new.word[3], 4) ||
	    bpf_skb_store_bytes(skb, at, &new.word[3], 4, 0))
		return failed_to_rewrite();
	return true;
}

static __always_inline __be32 *label_word(struct __sk_buff *skb)
{
	return readable(skb, ETH_HLEN, sizeof(struct ipv6hdr));
}

static __always_inline bool has_label(struct __sk_buff *skb, const struct packet *packet, __be32 label)
{
	const __be32 *word = packet->v6 ? label_word(skb) : NULL;

	return word && (*word & bpf_htonl(LABEL_MASK)) == label;
}

static __always_inline bool put_label(struct __sk_buff *skb, __be32 label)
{
	__be32 *word = label_word(skb);

	if (!word)
		return failed_to_rewrite();
	*word = (*word & ~bpf_htonl(LABEL_MASK)) | label;
	return true;
}

static __always_inline __u8 *mac_of(struct __sk_buff *skb, enum end end)
{
	struct ethhdr *ethernet = readable(skb, 0, sizeof(*ethernet));

	return !ethernet ? NULL : end == SOURCE ? ethernet->h_source : ethernet->h_dest;
}

static __always_inline bool has_mac(struct __sk_buff *skb, enum end end, const __u8 *mac)
{
	const __u8 *found = mac_of(skb, end);

	return found && same_mac(found, mac);
}

static __always_inline bool put_mac(struct __sk_buff *skb, enum end end, const __u8 *mac)
{
	__u8 *place = mac_of(skb, end);

	if (!place)
		return failed_to_rewrite();
	for (int i = 0; i < 6; i++)
		place[i] = mac[i];
	return true;
}

/* Write the locator of an endpoint, if it has one, into a packet that has the VIP's address. False: drop the packet. */
static __always_inline bool put_locator(struct __sk_buff *skb, const struct packet *packet, enum end end,
					__u32 endpoint, const union locator *locator)
{
	switch (kind_of(endpoint)) {
	case LOCATOR_ADDRESS:
		return replace_address(skb, packet, end, &packet->key.vip, &locator->address);
	case LOCATOR_MAC:
		return put_mac(skb, end, locator->mac);
	case LOCATOR_LABEL:
		return put_label(skb, locator->label);
	default:
		return true;
	}
}

/* The reverse of put_locator(). `mac` is the former MAC address. */
static __always_inline bool remove_locator(struct __sk_buff *skb, const struct packet *packet, enum end end,
					   __u32 endpoint, const union locator *locator, const __u8 *mac)
{
	switch (kind_of(endpoint)) {
	case LOCATOR_ADDRESS:
		return replace_address(skb, packet, end, &locator->address, &packet->key.vip);
	case LOCATOR_MAC:
		return put_mac(skb, end, mac);
	case LOCATOR_LABEL:
		return put_label(skb, 0);
	default:
		return true;
	}
}

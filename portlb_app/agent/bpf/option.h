/* REDIRECT_OPT (docs/protocol.md, "On the wire"): composing and parsing. */
#pragma once

#include "tcp.h"

/* REDIRECT_OPT as it is written: padding (kind 1), then the option; `length` in bytes. */
struct option {
	__be16 words[OPTION_LENGTH_LOCATOR / 2];
	__u32 length;
};

/* Compose an option with a port; port 0 makes type "none". */
static __always_inline struct option make_option(__u8 flags, __be16 port)
{
	if (port)
		return (struct option){{
					       bpf_htons(OPTION_KIND << 8 | OPTION_LENGTH),
					       bpf_htons(OPTION_EXID),
					       bpf_htons((flags << 4 | OPTION_TYPE_PORT) << 8),
					       port,
				       },
				       OPTION_LENGTH};
	return (struct option){{
				       bpf_htons(1 << 8 | 1),
				       bpf_htons(OPTION_KIND << 8 | OPTION_LENGTH_NONE),
				       bpf_htons(OPTION_EXID),
				       bpf_htons((flags << 4 | OPTION_TYPE_NONE) << 8),
			       },
			       OPTION_LENGTH};
}

#define PADDING bpf_htons(1 << 8 | 1)
#define OPTION_HEAD(type, flags)                                                                                       \
	bpf_htons(OPTION_KIND << 8 | OPTION_LENGTH_##type), bpf_htons(OPTION_EXID),                                    \
		bpf_htons(((flags) << 4 | OPTION_TYPE_##type) << 8)

static __always_inline __be16 half_of(__be32 word, int half)
{
	return bpf_htons(bpf_ntohl(word) >> (half ? 0 : 16));
}

/* Compose an option with a locator. */
static __always_inline struct option make_locator_option(__u8 flags, bool v6, enum locator_kind kind,
							 const union locator *locator)
{
	const __be32 *word = locator->address.word;
	const __u8 *mac = locator->mac;

	if (kind == LOCATOR_MAC)
		return (struct option){{
					       PADDING,
					       PADDING,
					       OPTION_HEAD(MAC, flags),
					       bpf_htons(mac[0] << 8 | mac[1]),
					       bpf_htons(mac[2] << 8 | mac[3]),
					       bpf_htons(mac[4] << 8 | mac[5]),
				       },
				       OPTION_LENGTH_LOCATOR};
	if (kind == LOCATOR_LABEL)
		return (struct option){{
					       PADDING,
					       PADDING,
					       PADDING,
					       OPTION_HEAD(LABEL, flags),
					       half_of(locator->label, 0),
					       half_of(locator->label, 1),
				       },
				       OPTION_LENGTH_LOCATOR};
	if (v6)
		return (struct option){{
					       PADDING,
					       OPTION_HEAD(ADDRESS6, flags),
					       half_of(word[2], 0),
					       half_of(word[2], 1),
					       half_of(word[3], 0),
					       half_of(word[3], 1),
				       },
				       OPTION_LENGTH_LOCATOR};
	return (struct option){{
				       PADDING,
				       PADDING,
				       PADDING,
				       OPTION_HEAD(ADDRESS4, flags),
				       half_of(word[3], 0),
				       half_of(word[3], 1),
			       },
			       OPTION_LENGTH_LOCATOR};
}

static __always_inline bool has_room_for(const struct packet *packet, const struct segment *segment, __u32 length)
{
	return segment->data == 0 && packet->end && (segment->word >> 12) * 4 + length <= TCP_HEADER_MAX;
}

static __always_inline bool has_room(const struct packet *packet, const struct segment *segment)
{
	return has_room_for(packet, segment, OPTION_LENGTH);
}

struct announcement {
	__be16 port; /* 0: none */
	__u8 flags;
	bool bad;
	enum locator_kind kind;
	bool v6; /* `locator` has the last half of an IPv6 address */
	union locator locator;
};

/* Return the endpoint that an option announces to a client that opened on a port, 0 if none. */
static __always_inline __u32 announced_endpoint(const struct announcement *found, __be16 opened)
{
	return found->kind ? endpoint_of(opened, found->kind) : found->port;
}

/* Parse an option of `size` bytes. */
static __always_inline void read_value(struct announcement *found, __u8 size, const __u8 *option)
{
	__u8 type = option[4] & 0xf;
	__be32 words[2] = {
		bpf_htonl(option[6] << 24 | option[7] << 16 | option[8] << 8 | option[9]),
		bpf_htonl(option[10] << 24 | option[11] << 16 | option[12] << 8 | option[13]),
	};

	found->flags = option[4] >> 4;
	if (type == OPTION_TYPE_NONE && size == OPTION_LENGTH_NONE)
		return;
	if (type == OPTION_TYPE_PORT && size == OPTION_LENGTH && (option[6] | option[7])) {
		found->port = bpf_htons(option[6] << 8 | option[7]);
	} else if (type == OPTION_TYPE_ADDRESS4 && size == OPTION_LENGTH_ADDRESS4) {
		found->kind = LOCATOR_ADDRESS;
		found->locator.address = (struct address){{0, 0, bpf_htonl(0xffff), words[0]}};
	} else if (type == OPTION_TYPE_ADDRESS6 && size == OPTION_LENGTH_ADDRESS6) {
		found->kind = LOCATOR_ADDRESS;
		found->locator.address = (struct address){{0, 0, words[0], words[1]}};
		found->v6 = true;
	} else if (type == OPTION_TYPE_MAC && size == OPTION_LENGTH_MAC) {
		found->kind = LOCATOR_MAC;
		for (int i = 0; i < 6; i++)
			found->locator.mac[i] = option[6 + i];
	} else if (type == OPTION_TYPE_LABEL && size == OPTION_LENGTH_LABEL && words[0] &&
		   !(words[0] & ~bpf_htonl(LABEL_MASK))) {
		found->kind = LOCATOR_LABEL;
		found->locator.label = words[0];
	} else {
		found->flags = 0;
		found->bad = true;
	}
}

/*
 * Find REDIRECT_OPT between the offsets `at` and `end` of the frame, in at most 40 steps of at least one byte. Not
 * inlined: so the verifier checks it once.
 */
__noinline int find_option(struct __sk_buff *skb, __u32 at, __u32 end, struct announcement *found)
{
	__u8 option[OPTION_LENGTH_MAX] = {};

	if (!found)
		return 0;
	for (int step = 0; step < TCP_OPTIONS_MAX; step++) {
		__u32 size;

		if (at >= end || bpf_skb_load_bytes(skb, at, option, at + 1 < end ? 2 : 1) || option[0] == 0)
			return 0;     /* end of options */
		if (option[0] == 1) { /* padding */
			at++;
			continue;
		}
		if (at + 1 == end)
			break;
		size = option[1];
		if (size < 2 || at + size > end)
			break;
		if (option[0] == OPTION_KIND && size >= 4) {
			if (bpf_skb_load_bytes(skb, at, option, size <= OPTION_LENGTH_MAX ? size : 4))
				break;
			if ((option[2] << 8 | option[3]) == OPTION_EXID) {
				read_value(found, size, option);
				return 0;
			}
		}
		at += size;
	}
	found->bad = true;
	return 0;
}

#define OPTION_KIND_MD5 19
#define OPTION_KIND_AO 29

/* Do the options have a signature? It covers the whole segment with its ports and header bits. */
__noinline int find_signature(struct __sk_buff *skb, __u32 at, __u32 end)
{
	__u8 option[2] = {};

	for (int step = 0; step < TCP_OPTIONS_MAX; step++) {
		if (at + 2 > end || bpf_skb_load_bytes(skb, at, option, sizeof(option)) || option[0] == 0)
			return 0;
		if (option[0] == OPTION_KIND_MD5 || option[0] == OPTION_KIND_AO)
			return 1;
		if (option[0] != 1 && option[1] < 2)
			return 0;
		at += option[0] == 1 ? 1 : option[1];
	}
	return 0;
}

static __always_inline bool is_signed(struct __sk_buff *skb, const struct packet *packet, const struct segment *segment)
{
	return find_signature(skb, packet->payload + TCP_HEADER, packet->payload + (segment->word >> 12) * 4);
}

static __always_inline struct announcement read_option(struct __sk_buff *skb, const struct packet *packet,
						       const struct segment *segment)
{
	struct announcement found = {};

	find_option(skb, packet->payload + TCP_HEADER, packet->payload + (segment->word >> 12) * 4, &found);
	return found;
}

/*
 * Does the segment have the shape of an announcement in the middle of a connection: 8 bytes of options and no data? No
 * other segment has. Header bits cannot tell, because a path may clear them.
 */
static __always_inline bool may_announce(const struct segment *segment)
{
	return is_pure_ack(segment) && (segment->word >> 12) * 4 == ANNOUNCEMENT_HEADER;
}

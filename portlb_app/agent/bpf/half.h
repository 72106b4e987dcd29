/* What a server remembers of those who have not opened a connection: half-open ones, and segments that belong to none. */
#pragma once

#include "window.h"

#define OPENING_MAX 16384

/*
 * Half-open connections: buckets of an array, because putting one into a map and taking it out costs ten times as
 * much. A full bucket gives up its oldest place. Which bucket is a secret, so that no flood can be aimed at one.
 */
struct half {
	struct key key;
	struct connection connection; /* state 0: a free place */
};

#define BUCKET_SIZE 4
#define BUCKETS (OPENING_MAX / BUCKET_SIZE) /* a power of two */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, struct half[BUCKET_SIZE]);
} half_open SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} secret SEC(".maps");

static __always_inline bool same_key(const struct key *one, const struct key *other)
{
	const __u32 *a = (const __u32 *)one, *b = (const __u32 *)other;
	__u32 differences = 0;

	if (a[8] != b[8] || a[3] != b[3]) /* the ports, and the end of the client's address */
		return false;
	for (int i = 0; i < 8; i++)
		differences |= a[i] ^ b[i];
	return !differences;
}

static __always_inline __u64 mix(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;
	return hash ^ hash >> 32;
}

/* The places a half-open connection can be in. */
static __always_inline struct half *bucket_of(const struct key *key)
{
	const __u32 *words = (const __u32 *)key;
	__u32 zero = 0, index;
	__u64 *seed = bpf_map_lookup_elem(&secret, &zero), hash;

	if (!seed)
		return NULL;
	if (!*seed)
		*seed = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1;
	hash = *seed;
	for (int i = 0; i < 8; i += 2)
		hash = mix(hash, (__u64)words[i] << 32 | words[i + 1]);
	index = mix(hash, words[8]) % BUCKETS;
	return bpf_map_lookup_elem(&half_open, &index);
}

static __always_inline struct connection *find_half(const struct key *key)
{
	struct half *bucket = bucket_of(key);

	for (int i = 0; bucket && i < BUCKET_SIZE; i++) {
		if (bucket[i].connection.state && same_key(&bucket[i].key, key))
			return &bucket[i].connection;
	}
	return NULL;
}

static __always_inline void forget_half(struct connection *half)
{
	half->state = 0;
}

/* Remember one, instead of an older one of the same key. */
static __always_inline void remember_half(const struct key *key, const struct connection *fresh)
{
	struct half *bucket = bucket_of(key), *place = bucket;

	if (!bucket)
		return;
	for (int i = 0; i < BUCKET_SIZE; i++) {
		struct half *each = &bucket[i];

		if (each->connection.state && same_key(&each->key, key)) {
			place = each;
			break;
		}
		if (place->connection.state &&
		    (!each->connection.state || (__s32)(each->connection.seen - place->connection.seen) < 0))
			place = each;
	}
	forget_half(&place->connection); /* no packet on another processor may find it half written */
	barrier();
	place->key = *key;
	barrier();
	place->connection = *fresh;
}

/*
 * What came to a service port and belongs to no connection is handed to the kernel at the application's port, which
 * answers it by a reset (RFC 9293, 3.10.7.1) whose number is the one acknowledged. By that it is known again, and
 * leaves from where the segment went, for nobody listens to the application's port there.
 */
struct asked {
	__u32 spot;
	__u32 ack;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, struct asked);
} asked SEC(".maps");

static __always_inline void note_asked(const struct key *key, const struct segment *segment)
{
	struct asked fresh = {.spot = segment->spot, .ack = segment->ack};

	if ((segment->word & (TCP_ACK | TCP_RST)) == TCP_ACK)
		bpf_map_update_elem(&asked, key, &fresh, BPF_ANY);
}

/*
 * The spot that a segment without a connection is to be sent from, 0 if as it stands: it is the reset described above,
 * or TIME-WAIT's challenge of a SYN that uses the same ports again, which has come to another of the application's.
 */
static __always_inline __u32 asked_at(struct __sk_buff *skb, const struct key *key, const struct segment *segment,
				      const struct connection *half)
{
	struct numbers numbers = {};
	struct asked *found;

	if (half)
		return is_pure_ack(segment) && find_socket(skb, key, SERVER, &numbers) == OVER ? half->opened : 0;
	if (!(segment->word & TCP_RST) || (segment->word & TCP_ACK))
		return 0;
	found = bpf_map_lookup_elem(&asked, key);
	return found && found->ack == segment->seq ? found->spot : 0;
}

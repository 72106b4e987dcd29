/*
 * Half-open connections have a table of their own. They move to `connections` when the client has acknowledged the
 * SYN/ACK, so a flood of SYNs takes no room from open connections.
 */
#pragma once

#include "../maps.h"

#define OPENING_MAX 16384

/*
 * Buckets of an array: adding to a map and removing costs ten times as much. A full bucket gives up its oldest place.
 * The hash has a secret seed, so that no flood can be aimed at one bucket.
 */
struct half_open_slot {
	struct key key;
	struct connection connection; /* state 0: the place is free */
};

#define BUCKET_SIZE 4
#define BUCKETS (OPENING_MAX / BUCKET_SIZE) /* a power of two */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__type(key, __u32);
	__type(value, struct half_open_slot[BUCKET_SIZE]);
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

	if (a[8] != b[8] || a[3] != b[3]) /* the ports, and the end of the client's address, differ most often */
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

/* Return a hash of a connection that nobody else can compute. */
static __always_inline __u64 hash_of(const struct key *key)
{
	const __u32 *words = (const __u32 *)key;
	__u32 zero = 0;
	__u64 *seed = bpf_map_lookup_elem(&secret, &zero), hash;

	if (!seed)
		return 0;
	if (!*seed)
		*seed = (__u64)bpf_get_prandom_u32() << 32 | bpf_get_prandom_u32() | 1;
	hash = *seed;
	for (int i = 0; i < 8; i += 2)
		hash = mix(hash, (__u64)words[i] << 32 | words[i + 1]);
	return mix(hash, words[8]);
}

/* Return the bucket of a half-open connection. */
static __always_inline struct half_open_slot *bucket_of(const struct key *key)
{
	__u32 index = hash_of(key) % BUCKETS;

	return bpf_map_lookup_elem(&half_open, &index);
}

static __always_inline struct connection *find_half_open(const struct key *key)
{
	struct half_open_slot *bucket = bucket_of(key);

	for (int i = 0; bucket && i < BUCKET_SIZE; i++) {
		if (bucket[i].connection.state && same_key(&bucket[i].key, key))
			return &bucket[i].connection;
	}
	return NULL;
}

static __always_inline void forget_half_open(struct connection *half)
{
	half->state = 0;
}

/* Remember a half-open connection, in the place of an older one with the same key. */
static __always_inline void remember_half_open(const struct key *key, const struct connection *fresh)
{
	struct half_open_slot *bucket = bucket_of(key), *place = bucket;

	if (!bucket)
		return;
	for (int i = 0; i < BUCKET_SIZE; i++) {
		struct half_open_slot *each = &bucket[i];

		if (each->connection.state && same_key(&each->key, key)) {
			place = each;
			break;
		}
		if (place->connection.state &&
		    (!each->connection.state || (__s32)(each->connection.last_used - place->connection.last_used) < 0))
			place = each;
	}
	forget_half_open(&place->connection); /* no packet on another processor may find a half-written place */
	barrier();
	place->key = *key;
	barrier();
	place->connection = *fresh;
}

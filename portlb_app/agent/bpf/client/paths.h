/*
 * Does the path to a VIP let announced endpoints through? Known for each kind of locator.
 *
 * A connection that has fallen back is evidence against the path, a confirmed one evidence for it. If no connection was
 * confirmed in the last 300 s, one that fell back is enough. Otherwise it takes three, seconds apart, with none
 * confirmed in between: many connections of a busy client in one short stall of the path count once. After 8 s, then 16
 * s and so on up to 256 s, one connection tries a silent path again; the others stay on their ports until that one is
 * confirmed.
 */
#pragma once

#include "../maps.h"

struct path_key {
	struct address vip;
	__u32 kind;
};

struct path {
	__u32 silent_until; /* tick until which announced endpoints are not followed; 0: they are followed */
	__u32 confirmed;    /* tick of the last confirmation, rounded; 0: never */
	__u32 fallen_back;  /* tick of the last connection that counted as evidence */
	__u16 evidence;     /* pieces of evidence since the last confirmation */
	__u16 tries;        /* times the path was called silent since then */
};

#define PATH_MEMORY TICKS(300)
#define PATH_EVIDENCE 3
#define EVIDENCE_APART TICKS(3)
#define PATH_SILENT_SHIFT 3 /* 8 ticks at first */
#define PATH_DOUBLED_MAX 5

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 256);
	__type(key, struct path_key);
	__type(value, struct path);
} paths SEC(".maps");

/* Must a new connection stay off an endpoint? When the time is over, the first connection may try. */
static __always_inline bool is_path_silent(const struct address *vip, __u32 endpoint)
{
	const struct path_key key = {.vip = *vip, .kind = kind_of(endpoint)};
	struct path *path = bpf_map_lookup_elem(&paths, &key);
	__u32 until, now;

	until = path ? path->silent_until : 0;
	if (!until)
		return false;
	now = tick();
	if ((__s32)(until - now) > 0)
		return true;
	return __sync_val_compare_and_swap(&path->silent_until, until, now + EVIDENCE_APART) != until;
}

static __always_inline void note_path_confirmed(const struct address *vip, __u32 endpoint)
{
	const struct path_key key = {.vip = *vip, .kind = kind_of(endpoint)};
	struct path *path = bpf_map_lookup_elem(&paths, &key), fresh = {.confirmed = coarse_tick};

	if (!path) {
		bpf_map_update_elem(&paths, &key, &fresh, BPF_ANY);
		return;
	}
	if (path->evidence | path->silent_until) {
		path->silent_until = 0;
		path->evidence = path->tries = 0;
	}
	if (fresh.confirmed - path->confirmed >= TOUCH_EVERY)
		path->confirmed = fresh.confirmed;
}

static __always_inline void note_path_fallen_back(const struct address *vip, __u32 endpoint)
{
	const struct path_key key = {.vip = *vip, .kind = kind_of(endpoint)};
	struct path *path = bpf_map_lookup_elem(&paths, &key), fresh = {};
	__u32 now = tick(), doubled;

	if (!path) {
		bpf_map_update_elem(&paths, &key, &fresh, BPF_ANY);
		path = bpf_map_lookup_elem(&paths, &key);
		if (!path)
			return;
	}
	if (path->evidence && now - path->fallen_back < EVIDENCE_APART)
		return;
	if (path->silent_until && (__s32)(path->silent_until - now) > (__s32)EVIDENCE_APART)
		return; /* a connection that had begun before */
	path->fallen_back = now;
	if (path->evidence < PATH_EVIDENCE)
		path->evidence++;
	if (!path->tries && path->evidence < PATH_EVIDENCE && path->confirmed && now - path->confirmed < PATH_MEMORY)
		return;
	doubled = path->tries < PATH_DOUBLED_MAX ? path->tries : PATH_DOUBLED_MAX;
	path->tries = doubled + 1;
	path->silent_until = now + (1 << (PATH_SILENT_SHIFT + doubled));
}

/*
 * What a client knows of the path to a VIP, for each kind of name: does it let announced endpoints of the kind through?
 *
 * A connection that has fallen back is evidence that it does not; one that was heard, that it does. Where none was heard
 * lately, one that fell back is enough. Else it takes several, seconds apart, with none heard between: a busy client has
 * many connections in one short stall of the path, and they are one piece of evidence. Of a silent path one connection
 * tries again, after 8 s, then 16 s and so on up to 256 s; the others stay on their ports until that one has been heard.
 */
#pragma once

#include "../maps.h"

struct path_key {
	struct address vip;
	__u32 kind;
};

struct path {
	__u32 silent_until; /* tick until which announced endpoints are not followed; 0: they are */
	__u32 confirmed;    /* tick at which one was heard last, rounded; 0: never */
	__u32 fallen_back;  /* tick of the last connection that counts as evidence */
	__u16 evidence;     /* pieces of it since one was heard */
	__u16 tries;        /* times the path has been called silent since */
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

/* May a connection that begins not follow to an endpoint? Once the time is over, the one that asks first may. */
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
		return; /* one that had begun before */
	path->fallen_back = now;
	if (path->evidence < PATH_EVIDENCE)
		path->evidence++;
	if (!path->tries && path->evidence < PATH_EVIDENCE && path->confirmed && now - path->confirmed < PATH_MEMORY)
		return;
	doubled = path->tries < PATH_DOUBLED_MAX ? path->tries : PATH_DOUBLED_MAX;
	path->tries = doubled + 1;
	path->silent_until = now + (1 << (PATH_SILENT_SHIFT + doubled));
}

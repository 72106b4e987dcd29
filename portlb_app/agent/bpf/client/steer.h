/*
 * Redirects with a new connection. The agent's process closes the program's socket, and the program's next connection
 * to the same port opens where the old one was redirected to.
 */
#pragma once

#include "../rewrite.h"
#include "../socket.h"

#define STEER_SLOTS 4
#define STEER_AGE TICKS(60)

/*
 * The ports at which the next connections of one client address to one port are to open, how many at each, and the
 * ports that redirected them.
 */
struct steer {
	__u32 until; /* tick */
	struct {
		__u32 count;
		__be16 to;
		__be16 from;
	} slots[STEER_SLOTS];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key); /* client_port 0 */
	__type(value, struct steer);
} steers SEC(".maps");

/* Connections for the process to close. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 18);
} closures SEC(".maps");

static __always_inline void add_steer(const struct key *connection, __be16 to, __be16 from)
{
	struct steer fresh = {.slots[0] = {.count = 1, .to = to, .from = from}};
	struct key key = *connection;
	struct steer *steer;

	fresh.until = tick() + STEER_AGE;
	key.client_port = 0;
	steer = bpf_map_lookup_elem(&steers, &key);
	if (!steer || (__s32)(steer->until - tick()) <= 0) {
		bpf_map_update_elem(&steers, &key, &fresh, BPF_ANY);
		return;
	}
	steer->until = fresh.until;
	for (int i = 0; i < STEER_SLOTS; i++) {
		if (steer->slots[i].to == to && steer->slots[i].from == from) {
			__sync_fetch_and_add(&steer->slots[i].count, 1);
			return;
		}
	}
	for (int i = 0; i < STEER_SLOTS; i++) {
		if (steer->slots[i].count == 0) {
			steer->slots[i].to = to;
			steer->slots[i].from = from;
			__sync_fetch_and_add(&steer->slots[i].count, 1);
			return;
		}
	}
	/* More targets at once than slots: use the first. Any of the load balancer's targets will do. */
	__sync_fetch_and_add(&steer->slots[0].count, 1);
}

/* Take one of the redirects that wait for such a connection. False: there is none. */
static __always_inline bool take_steer(const struct key *connection, __be16 *to, __be16 *from)
{
	struct key key = *connection;
	struct steer *steer;

	key.client_port = 0;
	steer = bpf_map_lookup_elem(&steers, &key);
	if (!steer || (__s32)(steer->until - tick()) <= 0)
		return false;
	for (int i = 0; i < STEER_SLOTS; i++) {
		__u32 left = steer->slots[i].count;

		if (left && __sync_val_compare_and_swap(&steer->slots[i].count, left, left - 1) == left) {
			*to = steer->slots[i].to;
			*from = steer->slots[i].from;
			return true;
		}
	}
	return false;
}

static __always_inline void ask_to_close(const struct key *key, bool reset)
{
	struct scratch *scratch = use_scratch();

	if (!scratch)
		return;
	scratch->closure.key = *key;
	scratch->closure.reset = reset;
	bpf_ringbuf_output(&closures, &scratch->closure, sizeof(scratch->closure), 0);
}

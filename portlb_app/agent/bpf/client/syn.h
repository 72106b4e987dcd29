/* The SYN of a program leaves (step 1). */
#pragma once

#include "../rewrite.h"
#include "aliases.h"
#include "settings.h"
#include "steer.h"

#define STEERED_SYNS 2 /* SYNs sent to the port of a redirect before the program's own port is tried */

/* Step 1: send the SYN with REDIRECT. A repeated SYN keeps its entry, a new one replaces it. */
static __always_inline int client_syn(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
				      struct connection *entry)
{
	const struct key *key = &packet->key;
	__be16 opened = key->port, from = 0;
	__u16 word = segment->word | redirect_bit();

	if (is_signed(skb, packet, segment)) { /* RFC 2385, RFC 5925: the receiver refuses a changed segment */
		if (entry)
			forget(key, entry, CLIENT);
		count(COUNT_signed);
		return PASS;
	}
	if (entry && entry->client_seq == segment->seq) {
		touch(entry);
		clear(entry, RESET_SEEN);
		if (entry->state == OPENING) {
			entry->timer_started = moment();
			entry->repeats++;
			if (entry->opened != key->port && entry->repeats > STEERED_SYNS) {
				entry->opened = entry->wire = key->port;
				entry->before = 0;
				count(COUNT_unsteered);
			}
		}
		opened = entry->opened;
		from = entry->state == OPENING ? entry->before : 0;
	} else {
		struct scratch *scratch = use_scratch();
		struct connection *fresh;

		if (!scratch)
			return PASS;
		fresh = &scratch->fresh;
		*fresh = (struct connection){
			.last_used = tick(),
			.timer_started = moment(),
			.client_seq = segment->seq,
			.sent = segment->seq + 1 + segment->data,
			.syn_data = segment->data,
			.state = OPENING,
			.repeats = 1,
		};

		if (!free_alias(skb, key)) {
			count(COUNT_collision);
			return DROP;
		}
		fresh->opened = fresh->wire = key->port;
		if (!remember(skb, key, fresh, entry, CLIENT))
			return PASS; /* without an entry the answer could not be followed: open plainly */
		if (take_steer(key, &opened, &from)) {
			entry = bpf_map_lookup_elem(&connections, key);
			if (entry && add_alias(skb, key, &fresh->locator, key->client_port, opened)) {
				entry->opened = entry->wire = opened;
				entry->before = from;
				count(COUNT_steered);
			} else {
				opened = key->port;
				from = 0;
			}
		}
	}
	count(COUNT_syn_marked);
	if (client_settings.by_option || from) {
		if (has_room(packet, segment))
			return rewrite_with_option(skb, packet, segment, segment->sport, opened, word, OPTION_REDIRECT,
						   from);
		count(COUNT_no_room);
	}
	return rewrite(skb, packet, segment, segment->sport, opened, word);
}

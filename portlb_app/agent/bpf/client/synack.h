/* The SYN/ACK arrives, and binds the connection to an endpoint (step 2). */
#pragma once

#include "../rewrite.h"
#include "aliases.h"
#include "paths.h"
#include "settings.h"

/*
 * Time for which an announced endpoint may be silent before packets go to the one before, too: this, plus twice the
 * time the SYN/ACK took. The kernel repeats its first data after 200 ms, the server its SYN/ACK after 1 s.
 */
#define SILENCE_LIMIT_MIN MOMENTS(300)
#define SILENCE_EXTRA_MAX MOMENTS(1500)

/* Bind the connection behind `key` to what its first SYN/ACK announces. */
static __always_inline void bind(struct __sk_buff *skb, const struct key *key, struct connection *entry,
				 const struct segment *segment, const struct announcement *found, bool confirm)
{
	__u32 now = moment(), took = now - entry->timer_started,
	      wire = announced_endpoint(found, port_of(entry->opened));
	struct numbers numbers = {};

	entry->server_seq = segment->seq;
	entry->received = segment->seq + 1;
	if (find_socket(skb, key, CLIENT, &numbers) == SOCKET_NONE)
		set(entry, SOCKET_ELSEWHERE);
	entry->before = entry->opened;
	entry->state = PLAIN;
	if (!confirm) {
		count(COUNT_plain);
		return;
	}
	if (!wire) {
		count(COUNT_unredirected);
		return;
	}
	set(entry, ANNOUNCED);
	entry->before = wire;
	if (found->kind)
		entry->locator = found->locator;
	if (is_path_silent(&key->vip, wire)) {
		count(COUNT_remembered);
		return;
	}
	if (!add_alias(skb, key, &entry->locator, key->client_port, wire))
		return;
	entry->before = entry->opened;
	entry->wire = wire;
	entry->timer_started = now;
	entry->silence_limit = SILENCE_LIMIT_MIN + (2 * took < SILENCE_EXTRA_MAX ? 2 * took : SILENCE_EXTRA_MAX);
	entry->state = BOUND;
	count(COUNT_bound);
}

static __always_inline int client_synack(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					 const struct key *key, struct connection *entry)
{
	struct announcement found = read_option(skb, packet, segment);
	bool confirm = (segment->word & REDIRECT_CONFIRM) || (found.flags & OPTION_CONFIRM);

	if (found.kind && !may_follow(packet, key, &found)) {
		found.kind = LOCATOR_NONE;
		count(COUNT_foreign_name);
	}
	if (segment->ack - (entry->client_seq + 1) > entry->syn_data) {
		count(COUNT_forged_synack);
		return DROP;
	}
	if (entry->state == OPENING && segment->endpoint == entry->opened) {
		/* Two SYN/ACKs, even of different servers, may arrive at once on two processors: one binds. */
		if (__sync_fetch_and_or(&entry->flags, SYNACK_TAKEN) & SYNACK_TAKEN) {
			count(COUNT_second_synack);
			return DROP;
		}
		if (found.bad)
			count(COUNT_bad_option);
		bind(skb, key, entry, segment, &found, confirm);
	} else {
		/*
		 * The same SYN/ACK again means that the third packet was lost: the kernel must see it, to repeat that
		 * packet. It must also see one that announces nothing any more, from a server whose agent has lost the
		 * half-open connection.
		 */
		__u32 announced = !(entry->flags & ANNOUNCED) ? 0 : entry->state == BOUND ? entry->wire : entry->before;
		__u32 now = confirm ? announced_endpoint(&found, port_of(entry->opened)) : 0;

		if (entry->state == OPENING || segment->endpoint != entry->opened ||
		    segment->seq != entry->server_seq ||
		    (now && !(entry->flags & CONFIRMED) &&
		     (now != announced || !same_locator(kind_of(now), &found.locator, &entry->locator)))) {
			count(COUNT_second_synack);
			return DROP;
		}
		/* So late it answers no repeated SYN: the third packet was lost, or the path drops it. */
		if (entry->state == BOUND && !(entry->flags & (CONFIRMED | AWAITING_REPLY)) &&
		    moment() - entry->timer_started > entry->silence_limit)
			set(entry, SENDING_TO_BOTH);
	}
	return rewrite(skb, packet, segment, key->port, segment->dport, segment->word);
}

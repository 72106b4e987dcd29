/* A server's announcement in the middle of a connection arrives. */
#pragma once

#include "../rewrite.h"
#include "aliases.h"
#include "source.h"
#include "steer.h"
#include "synack.h"

/* The server tells the client to go on at another port, in place or with a new connection. */
static __always_inline int client_announcement(struct __sk_buff *skb, const struct packet *packet,
					       struct segment *segment, const struct key *key, struct connection *entry,
					       const struct announcement *found)
{
	if (entry->state == OPENING || !in_window(skb, segment, key, CLIENT)) {
		count(COUNT_forged_announcement);
		return DROP;
	}
	if (!found->port)
		goto refused;
	if (!(found->flags & OPTION_IN_PLACE)) {
		if (!(entry->flags & LEAVING)) {
			add_steer(key, found->port, entry->wire);
			recheck_aliases(key, entry);
			set(entry, LEAVING);
			count(COUNT_reopen);
		}
		/* Repeat it for each announcement: the process may have missed the first. */
		ask_to_close(key, found->flags & OPTION_RESET);
		return DROP;
	}
	if (entry->state == BOUND && segment->endpoint == entry->wire && !(entry->flags & CONFIRMED))
		note_endpoint_confirmed(key, entry); /* nothing else may come from there for long */
	if (found->port != entry->wire) {
		/* Wait for the last port to be confirmed: until then `before` is the only one known to work. */
		if (entry->state == BOUND && !(entry->flags & CONFIRMED))
			goto refused;
		if (!add_aliases(skb, key, entry, found->port))
			goto refused;
		recheck_aliases(key, entry);
		if (entry->before && entry->before != entry->wire && entry->before != key->port &&
		    entry->before != found->port)
			delete_aliases(key, entry, entry->before, CLIENT);
		entry->before = entry->wire;
		entry->wire = found->port;
		entry->timer_started = moment();
		if (!entry->silence_limit)
			entry->silence_limit = SILENCE_EXTRA_MAX;
		clear(entry, CONFIRMED | SENDING_TO_BOTH | AWAITING_REPLY);
		entry->state = BOUND;
		count(COUNT_moved);
	}
	/* The kernel takes it for a keep-alive probe, and its answer leaves for the new port. */
	return rewrite(skb, packet, segment, key->port, key->client_port, segment->word);
refused:
	count(COUNT_refused_announcement);
	return DROP;
}

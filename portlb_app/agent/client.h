/*
 * The client's side of the redirect protocol (docs/protocol.md, "The connection").
 *
 * The program talks to VIP:X throughout. The connection's own entry is keyed by X and serves the packets sent; when
 * the server announces Y, an ALIAS keyed by Y serves the packets received. So each data packet costs one look-up.
 */
#pragma once

#include "icmp.h"

#define VIPS_MAX 16

const volatile struct {
	__be32 vips[VIPS_MAX];
	__u32 count;
} client_settings SEC(".rodata.client");

static __always_inline bool is_client_vip(__be32 address)
{
	for (__u32 i = 0; i < VIPS_MAX; i++) {
		if (i < client_settings.count && client_settings.vips[i] == address)
			return true;
	}
	return false;
}

/* The entry an ALIAS leads to; none if the connection has been replaced or has aged away. */
static __always_inline struct connection *follow(const struct key *alias_key, const struct connection *alias)
{
	struct key key = *alias_key;
	struct connection *entry;

	key.port = alias->opened;
	entry = bpf_map_lookup_elem(&connections, &key);
	if (!entry || entry->state != BOUND || entry->wire != alias_key->port)
		return NULL;
	return entry;
}

/* Is a live connection on the wire with these port numbers? */
static __always_inline bool is_taken(const struct key *key, const struct connection *entry)
{
	const struct connection *owner = entry->state == ALIAS ? follow(key, entry) : entry;

	return owner && (owner->state == OPENING || is_live(owner));
}

/* Step 1: the SYN leaves for X with REDIRECT. A repeated one keeps its entry, another one replaces it. */
static __always_inline int client_syn(struct __sk_buff *skb, const struct packet *packet,
				      const struct segment *segment, struct key *key, struct connection *entry)
{
	if (entry && entry->state == ALIAS) {
		if (is_taken(key, entry)) {
			count(COUNT_collision);
			return DROP;
		}
		entry = NULL;
	}
	if (entry && entry->client_seq == segment->seq) {
		touch(entry);
	} else {
		struct connection fresh = {
			.seen = tick(),
			.client_seq = segment->seq,
			.opened = key->port,
			.wire = key->port,
			.early = segment->data,
			.state = OPENING,
		};

		if (entry && entry->wire != key->port) {
			struct key old = *key;

			old.port = entry->wire;
			bpf_map_delete_elem(&connections, &old);
		}
		if (bpf_map_update_elem(&connections, key, &fresh, BPF_ANY)) {
			/* Without an entry nobody could follow the answer: open plainly. */
			count(COUNT_map_full);
			return PASS;
		}
	}
	count(COUNT_syn_marked);
	return rewrite(skb, packet, segment, DPORT_AT, segment->dport, segment->word | REDIRECT);
}

static __always_inline int client_egress_tcp(struct __sk_buff *skb, const struct packet *packet)
{
	struct connection *entry;
	struct segment segment;
	struct key key;
	__u16 word;

	if (!is_client_vip(packet->destination) || !read_tcp(skb, packet, &segment))
		return PASS;
	key = (struct key){packet->source, packet->destination, segment.sport, segment.dport};
	entry = bpf_map_lookup_elem(&connections, &key);
	if (is_syn(&segment))
		return client_syn(skb, packet, &segment, &key, entry);
	if (!entry || entry->state == ALIAS)
		return PASS;

	note_local(entry, &segment);

	/*
	 * Not bound: REDIRECT on every packet, because the switch decides per packet on (port, REDIRECT). So the
	 * connection stays on the pool's rows, whatever the policy for plain clients is.
	 */
	if (entry->state != BOUND)
		return rewrite(skb, packet, &segment, DPORT_AT, key.port, segment.word | REDIRECT);

	/* Step 3: CONFIRM, with the option where it fits, until the server is heard from the wire's port. */
	word = segment.word;
	if (!(entry->flags & HEARD)) {
		word |= REDIRECT_CONFIRM;
		if (has_room(&segment) && (word & (TCP_ACK | TCP_FIN | TCP_RST)) == TCP_ACK)
			return rewrite_with_option(skb, packet, &segment, DPORT_AT, entry->wire, word, key.port);
	}
	return rewrite(skb, packet, &segment, DPORT_AT, entry->wire, word);
}

/* Bind the connection to what its first SYN/ACK says (step 2). */
static __always_inline void bind(struct key *key, struct connection *entry, const struct segment *segment,
				 const struct announcement *found, bool confirm)
{
	struct connection alias = {.opened = key->port, .state = ALIAS};
	__be16 port = key->port;

	entry->server_seq = segment->seq;
	entry->state = PLAIN;
	if (!confirm) {
		count(COUNT_plain);
		return;
	}
	if (!found->port) {
		count(COUNT_unredirected);
		return;
	}
	set(entry, ANNOUNCED);
	entry->wire = found->port;
	if (found->port != port) {
		struct connection *other;

		alias.seen = tick();
		key->port = found->port;
		other = bpf_map_lookup_elem(&connections, key);
		if (other && is_taken(key, other)) {
			count(COUNT_collision);
			return;
		}
		if (bpf_map_update_elem(&connections, key, &alias, BPF_ANY)) {
			count(COUNT_map_full);
			return;
		}
	}
	entry->state = BOUND;
	count(COUNT_bound);
}

static __always_inline int client_synack(struct __sk_buff *skb, const struct packet *packet,
					 const struct segment *segment, struct key *key, struct connection *entry)
{
	struct announcement found = read_option(skb, packet, segment);
	bool confirm = (segment->word & REDIRECT_CONFIRM) || found.confirm;
	__be16 announced;

	if (segment->ack - (entry->client_seq + 1) > entry->early) {
		count(COUNT_forged_synack);
		return DROP;
	}
	if (entry->state == OPENING) {
		if (found.bad)
			count(COUNT_bad_option);
		bind(key, entry, segment, &found, confirm);
		return PASS;
	}
	/* The same one again means that the third ACK was lost: the kernel must see it, to repeat that ACK. */
	announced = entry->flags & ANNOUNCED ? entry->wire : 0;
	if (segment->seq == entry->server_seq && (confirm ? found.port : 0) == announced)
		return PASS;
	count(COUNT_second_synack);
	return DROP;
}

static __always_inline int client_ingress_tcp(struct __sk_buff *skb, const struct packet *packet)
{
	struct connection *entry, *owner;
	struct segment segment;
	struct key key;

	if (!is_client_vip(packet->source) || !read_tcp(skb, packet, &segment))
		return PASS;
	key = (struct key){packet->destination, packet->source, segment.dport, segment.sport};
	entry = bpf_map_lookup_elem(&connections, &key);
	if (!entry)
		return PASS;
	if (is_synack(&segment)) {
		if (entry->state == ALIAS) {
			count(COUNT_second_synack);
			return DROP;
		}
		return client_synack(skb, packet, &segment, &key, entry);
	}
	if (entry->state == BOUND && entry->wire != key.port) {
		count(COUNT_from_old_port);
		return DROP;
	}

	touch(entry);
	owner = entry;
	if (!(entry->flags & HEARD) || (segment.word & (TCP_FIN | TCP_RST))) {
		if (entry->state == ALIAS) {
			owner = follow(&key, entry);
			if (!owner)
				return PASS;
			set(entry, HEARD);
		}
		if (owner->state == BOUND && !(owner->flags & HEARD)) {
			set(owner, HEARD);
			count(COUNT_confirmed);
		}
		if (segment.word & TCP_FIN)
			set(owner, FIN_REMOTE);
		/* While opening, a reset counts only if it answers the SYN; later the kernel is the judge. */
		if ((segment.word & TCP_RST) &&
		    (owner->state != OPENING || segment.ack - (owner->client_seq + 1) <= owner->early))
			set(owner, DOUBTFUL);
	}
	if (entry->state == ALIAS)
		return rewrite(skb, packet, &segment, SPORT_AT, entry->opened, segment.word);
	return PASS;
}

/* An error about a packet this host sent: it quotes VIP:Y, the program knows VIP:X. */
static __always_inline int client_ingress_icmp(struct __sk_buff *skb, const struct packet *packet)
{
	struct connection *entry;
	struct quote quote;
	struct key key;

	if (!read_quote(skb, packet, &quote) || !is_client_vip(quote.destination))
		return PASS;
	key = (struct key){quote.source, quote.destination, quote.sport, quote.dport};
	entry = bpf_map_lookup_elem(&connections, &key);
	if (!entry || entry->state != ALIAS)
		return PASS;
	return rewrite_quote(skb, packet, &quote, DPORT_AT, entry->opened);
}

/* An error this host sends about a packet it received: it quotes VIP:X, the wire knows VIP:Y. */
static __always_inline int client_egress_icmp(struct __sk_buff *skb, const struct packet *packet)
{
	struct connection *entry;
	struct quote quote;
	struct key key;

	if (!read_quote(skb, packet, &quote) || !is_client_vip(quote.source))
		return PASS;
	key = (struct key){quote.destination, quote.source, quote.dport, quote.sport};
	entry = bpf_map_lookup_elem(&connections, &key);
	if (!entry || entry->state != BOUND)
		return PASS;
	return rewrite_quote(skb, packet, &quote, SPORT_AT, entry->wire);
}

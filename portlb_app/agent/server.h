/*
 * The server's side of the redirect protocol (docs/protocol.md, "The connection").
 *
 * The entry is keyed by the application's port A, which both directions reach with one look-up: from the wire through
 * the static table of service ports, from the program directly. It says which port the wire uses.
 */
#pragma once

#include "icmp.h"

#define PORTS 65536

/* Both tables are indexed by the port as it stands in the packet (network byte order); 0: no such row. */
const volatile struct {
	__be32 vip;
	__be16 answers[PORTS];      /* X -> Y: the port announced to who opens on X */
	__be16 applications[PORTS]; /* port on the wire -> the application's, where they differ */
} server_settings SEC(".rodata.server");

static __always_inline __be16 application_of(__be16 port)
{
	__be16 application = server_settings.applications[port];

	return application ? application : port;
}

/* The port the connection uses on the wire now. */
static __always_inline __be16 port_on_wire(const struct connection *entry)
{
	return entry->state == BOUND ? entry->wire : entry->opened;
}

/* SYN: note what to answer. Without REDIRECT, and where nothing is translated, nothing needs remembering. */
static __always_inline int server_syn(struct __sk_buff *skb, const struct packet *packet,
				      const struct segment *segment, const struct key *key, struct connection *entry)
{
	bool redirect = segment->word & REDIRECT;
	__be16 answer = redirect ? server_settings.answers[segment->dport] : 0;

	if (entry && is_live(entry) && port_on_wire(entry) != segment->dport) {
		count(COUNT_collision);
		return DROP;
	}
	if (redirect || key->port != segment->dport) {
		struct connection fresh = {
			.seen = tick(),
			.client_seq = segment->seq,
			.opened = segment->dport,
			.wire = answer ? answer : segment->dport,
			.state = OPENING,
			.flags = (redirect ? REDIRECTED : 0) | (answer ? ANNOUNCED : 0),
		};

		if (bpf_map_update_elem(&connections, key, &fresh, BPF_ANY))
			count(COUNT_map_full);
		if (redirect)
			count(COUNT_syn_redirect);
	} else if (entry) {
		bpf_map_delete_elem(&connections, key);
	}
	return rewrite(skb, packet, segment, DPORT_AT, key->port, segment->word);
}

/*
 * The first packet after the handshake's first two decides where the connection goes on: at the announced port
 * (step 3), or, if the client could not follow, at the one it opened on. False: the packet is on neither.
 */
static __always_inline bool settle(struct connection *entry, const struct segment *segment)
{
	if (segment->dport == entry->wire && (entry->flags & ANNOUNCED)) {
		entry->state = BOUND;
		count(COUNT_redirected);
		return true;
	}
	if (segment->dport != entry->opened)
		return false;
	/* Only who has seen the SYN/ACK can acknowledge it: a forged packet must not undo the redirect. */
	if ((segment->word & TCP_RST) || !(segment->word & TCP_ACK) || !(entry->flags & ANSWERED) ||
	    segment->ack - (entry->server_seq + 1) > 0xffff)
		return true;
	entry->state = PLAIN;
	if (entry->flags & ANNOUNCED)
		count(COUNT_stayed);
	return true;
}

static __always_inline int server_ingress_tcp(struct __sk_buff *skb, const struct packet *packet)
{
	struct connection *entry;
	struct segment segment;
	struct key key;

	if (packet->destination != server_settings.vip || !read_tcp(skb, packet, &segment))
		return PASS;
	key = (struct key){packet->source, packet->destination, segment.sport, application_of(segment.dport)};
	entry = bpf_map_lookup_elem(&connections, &key);
	if (is_syn(&segment))
		return server_syn(skb, packet, &segment, &key, entry);

	if (!entry) {
		/*
		 * The static table stands in for a lost entry, so that the reply leaves from the right port. Until
		 * there is one the entry is in doubt: packets nobody asked for fill the map for 60 s at most.
		 */
		if (key.port != segment.dport && !(segment.word & TCP_RST)) {
			struct connection fresh = {
				.seen = tick(),
				.opened = segment.dport,
				.wire = segment.dport,
				.state = BOUND,
				.flags = DOUBTFUL | (segment.word & TCP_FIN ? FIN_REMOTE : 0),
			};

			count(bpf_map_update_elem(&connections, &key, &fresh, BPF_ANY) ? COUNT_map_full : COUNT_rebuilt);
		}
		return rewrite(skb, packet, &segment, DPORT_AT, key.port, segment.word);
	}
	if (entry->state == OPENING ? !settle(entry, &segment) : segment.dport != port_on_wire(entry)) {
		count(COUNT_wrong_port);
		return DROP;
	}
	touch(entry);
	if (segment.word & (TCP_FIN | TCP_RST))
		set(entry, segment.word & TCP_RST ? DOUBTFUL : FIN_REMOTE);
	return rewrite(skb, packet, &segment, DPORT_AT, key.port, segment.word);
}

/* Step 2: the SYN/ACK leaves from the port the SYN named, with CONFIRM, and names the port to continue on. */
static __always_inline int server_synack(struct __sk_buff *skb, const struct packet *packet,
					 const struct segment *segment, struct connection *entry)
{
	__u16 word = segment->word;

	entry->server_seq = segment->seq;
	set(entry, ANSWERED);
	if (entry->flags & REDIRECTED)
		word |= REDIRECT_CONFIRM;
	if (entry->flags & ANNOUNCED) {
		if (has_room(segment)) {
			count(COUNT_announced);
			return rewrite_with_option(skb, packet, segment, SPORT_AT, entry->opened, word, entry->wire);
		}
		count(COUNT_no_room);
	} else if (entry->flags & REDIRECTED) {
		count(COUNT_supported);
	}
	return rewrite(skb, packet, segment, SPORT_AT, entry->opened, word);
}

static __always_inline int server_egress_tcp(struct __sk_buff *skb, const struct packet *packet)
{
	struct connection *entry;
	struct segment segment;
	struct key key;

	if (packet->source != server_settings.vip || !read_tcp(skb, packet, &segment))
		return PASS;
	key = (struct key){packet->destination, packet->source, segment.dport, segment.sport};
	entry = bpf_map_lookup_elem(&connections, &key);
	if (!entry)
		return PASS;
	note_local(entry, &segment);
	if (is_synack(&segment))
		return server_synack(skb, packet, &segment, entry);
	return rewrite(skb, packet, &segment, SPORT_AT, port_on_wire(entry), segment.word);
}

/* An error about a packet this host sent: it quotes VIP:Y, the program knows VIP:A. */
static __always_inline int server_ingress_icmp(struct __sk_buff *skb, const struct packet *packet)
{
	struct quote quote;

	if (!read_quote(skb, packet, &quote) || quote.source != server_settings.vip)
		return PASS;
	return rewrite_quote(skb, packet, &quote, SPORT_AT, application_of(quote.sport));
}

/* An error this host sends about a packet it received: it quotes VIP:A, the wire knows VIP:Y. */
static __always_inline int server_egress_icmp(struct __sk_buff *skb, const struct packet *packet)
{
	struct connection *entry;
	struct quote quote;
	struct key key;

	if (!read_quote(skb, packet, &quote) || quote.destination != server_settings.vip)
		return PASS;
	key = (struct key){quote.source, quote.destination, quote.sport, quote.dport};
	entry = bpf_map_lookup_elem(&connections, &key);
	if (!entry)
		return PASS;
	return rewrite_quote(skb, packet, &quote, DPORT_AT, port_on_wire(entry));
}

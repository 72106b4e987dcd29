/*
 * The client's side of the redirect protocol (docs/protocol.md, "The connection").
 *
 * The program talks to VIP:X throughout. The connection's own entry is keyed by X and serves the packets sent; where
 * the wire uses other ports than the program, an alias keyed by them serves the packets received. So each data packet
 * of a redirected connection costs one look-up.
 */
#pragma once

#include "ending.h"
#include "icmp.h"
#include "paths.h"

#define MACS_MAX 16

const volatile struct {
	struct vips vips;
	struct services services;
	/* MAC addresses that a redirect may name (row X2), by their first bits; as the low 48 of 64. */
	struct {
		__u64 address;
		__u64 mask;
	} macs[MACS_MAX];
	__u32 macs_count;
	__u32 by_option; /* ask for redirects by option alone, for paths that clear the header bits */
} client_settings SEC(".rodata.client");

/*
 * How long an announced port may be silent before its packets go to the port left, too: at least this, plus twice the
 * time the SYN/ACK took. The kernel repeats its first data after 200 ms, and the server its SYN/ACK after 1 s.
 */
#define PATIENCE MOMENTS(300)
#define PATIENCE_MAX MOMENTS(1500)
#define STEERED_SYNS 2 /* SYNs sent to a port redirected to before the program's own is asked */

/* Header bits that say to the switch, packet by packet, that the pool's rows decide. */
static __always_inline __u16 redirect_bit(void)
{
	return client_settings.by_option ? 0 : REDIRECT;
}

static __always_inline __u16 confirm_bit(void)
{
	return client_settings.by_option ? 0 : REDIRECT_CONFIRM;
}

/*
 * Header bits of a client's packet to a service label. By CONFIRM the switch knows that the label is one, and as that bit
 * cannot go when the server is heard, the other one comes.
 */
static __always_inline __u16 label_bits(const struct connection *entry)
{
	if (naming_of(entry->wire) != NAME_LABEL)
		return 0;
	return entry->flags & HEARD ? REDIRECT | REDIRECT_CONFIRM : REDIRECT_CONFIRM;
}

/* Does a connection use the port numbers it has on the wire? One that is merely silent has its socket. */
static __always_inline bool is_used(struct __sk_buff *skb, const struct key *key, const struct connection *entry)
{
	return entry->state == OPENING || is_live(entry) || (!is_closing(entry) && has_socket(skb, key, CLIENT));
}

/* Make sure that no alias has these port numbers. False: a connection uses them. */
static __always_inline bool free_alias(struct __sk_buff *skb, const struct key *at)
{
	struct alias *alias = bpf_map_lookup_elem(&aliases, at);
	struct scratch *scratch = use_scratch();
	const struct connection *owner;

	if (!alias)
		return true;
	if (!scratch)
		return false;
	scratch->owner = *at;
	owner = follow(&scratch->owner, alias);
	if ((owner && is_used(skb, &scratch->owner, owner)) || !claim(&alias->flags))
		return false;
	bpf_map_delete_elem(&aliases, at);
	return true;
}

/*
 * Let packets from spot `wire` of the server, whose name is `name` if it has one, reach the connection behind `key`.
 * False: counted, they cannot.
 */
static __noinline bool add_alias(struct __sk_buff *skb, const struct key *key, const union name *name,
				 __be16 client_port, __u32 wire)
{
	struct scratch *scratch = use_scratch();
	struct connection *other;
	struct alias *there;
	struct key *at;

	if (port_of(wire) == key->port && client_port == key->client_port && naming_of(wire) != NAME_ADDRESS)
		return true;
	if (!scratch)
		return false;
	at = &scratch->alias_key;
	*at = *key;
	move_key(at, name, client_port, wire);
	there = bpf_map_lookup_elem(&aliases, at);
	if (there && leads_to(there, key) && there->wire == wire && !(there->flags & CLAIMED))
		return true;
	other = bpf_map_lookup_elem(&connections, at);
	if ((other && is_used(skb, at, other)) || (there && !leads_to(there, key) && !free_alias(skb, at))) {
		count(COUNT_collision);
		return false;
	}
	scratch->alias = alias_of(key, wire);
	if (bpf_map_update_elem(&aliases, at, &scratch->alias, BPF_ANY)) {
		count(COUNT_map_full);
		return false;
	}
	return true;
}

/* The same at each port that the server may know as the client's. */
static __always_inline bool add_aliases(struct __sk_buff *skb, const struct key *key, const struct connection *entry,
					__u32 wire)
{
	__be16 now = entry->client_port, target = entry->client_target;
	const union name *name = &entry->name;

	if (!add_alias(skb, key, name, key->client_port, wire))
		return false;
	if (!now && !(entry->flags & OWN_MOVING)) /* never moved: there is no target */
		return true;
	return add_alias(skb, key, name, target, wire) && (!now || add_alias(skb, key, name, now, wire));
}

/* Have packets from a port left looked at one by one again. */
static __always_inline void doubt_alias(const struct key *key, const struct connection *entry, __be16 client_port)
{
	struct key alias_key = *key;
	struct alias *alias;

	move_key(&alias_key, &entry->name, client_port, entry->wire);
	alias = bpf_map_lookup_elem(&aliases, &alias_key);
	if (alias)
		__sync_fetch_and_and(&alias->flags, ~HEARD);
}

static __always_inline void doubt_aliases(const struct key *key, const struct connection *entry)
{
	doubt_alias(key, entry, key->client_port);
	if (entry->client_port) {
		doubt_alias(key, entry, entry->client_port);
		doubt_alias(key, entry, entry->client_target);
	}
}

/* Step 1: the SYN leaves with REDIRECT. A repeated one keeps its entry, another one replaces it. */
static __always_inline int client_syn(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
				      struct connection *entry)
{
	const struct key *key = &packet->key;
	__be16 opened = key->port, from = 0;
	__u16 word = segment->word | redirect_bit();

	if (is_signed(skb, packet, segment)) { /* RFC 2385, RFC 5925: what is changed on the way is refused */
		if (entry)
			forget(key, entry, CLIENT);
		count(COUNT_signed);
		return PASS;
	}
	if (entry && entry->client_seq == segment->seq) {
		touch(entry);
		clear(entry, DOUBTFUL);
		if (entry->state == OPENING) {
			entry->since = moment();
			entry->copies++;
			if (entry->opened != key->port && entry->copies > STEERED_SYNS) {
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
			.seen = tick(),
			.since = moment(),
			.client_seq = segment->seq,
			.sent = segment->seq + 1 + segment->data,
			.early = segment->data,
			.state = OPENING,
			.copies = 1,
		};

		if (!free_alias(skb, key)) {
			count(COUNT_collision);
			return DROP;
		}
		fresh->opened = fresh->wire = key->port;
		if (!remember(skb, key, fresh, entry, CLIENT))
			return PASS; /* without an entry nobody could follow the answer: open plainly */
		if (take_steer(key, &opened, &from)) {
			entry = bpf_map_lookup_elem(&connections, key);
			if (entry && add_alias(skb, key, &fresh->name, key->client_port, opened)) {
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
			return rewrite_with_option(skb, packet, segment, segment->sport, opened, word, OPTION_REDIRECT, from);
		count(COUNT_no_room);
	}
	return rewrite(skb, packet, segment, segment->sport, opened, word);
}

/*
 * Has the port announced last been silent for so long that the one before should be tried as well? Nobody answers a
 * mere acknowledgement, so it is silent only from the first data, or FIN, on.
 */
static __always_inline bool is_silent(struct connection *entry, const struct segment *segment)
{
	if (entry->before == entry->wire || entry->before == 0)
		return false;
	if (entry->flags & TRYING)
		return true;
	if (!(entry->flags & ASKED)) {
		if (segment->data || (segment->word & TCP_FIN)) {
			entry->since = moment();
			set(entry, ASKED);
		}
		return false;
	}
	if (moment() - entry->since <= entry->patience)
		return false;
	set(entry, TRYING);
	return true;
}

/* The program's packet, made one to the server by its name, gets another spot's name instead; `mac`: it had that. */
static __always_inline bool client_rename(struct __sk_buff *skb, const struct packet *packet,
					  const struct connection *entry, const __u8 *mac, __u32 from, __u32 to)
{
	if (!remove_name(skb, packet, DESTINATION, from, &entry->name, mac))
		return false;
	return put_name(skb, packet, DESTINATION, to, &entry->name);
}

/*
 * Nothing has come from the announced port: the packet goes there once more, and to the port before. The server
 * answers from the one on which it was reached first, which decides (client_hear()).
 */
static __always_inline int client_try_both(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					   struct connection *entry, __be16 sport, const __u8 *mac)
{
	__u16 word = segment->word | confirm_bit();
	int verdict;

	count(COUNT_tried_both);
	if (is_pure_ack(segment) && has_room(packet, segment))
		verdict = rewrite_with_option(skb, packet, segment, sport, port_of(entry->wire), word, OPTION_CONFIRM,
					      port_of(entry->before));
	else
		verdict = rewrite(skb, packet, segment, sport, port_of(entry->wire), word);
	if (verdict == DROP)
		return DROP;
	bpf_clone_redirect(skb, skb->ifindex, 0);
	if ((entry->wire | entry->before) >> 16 && !client_rename(skb, packet, entry, mac, entry->wire, entry->before))
		return DROP;
	word = segment->word & ~confirm_bit();
	if (entry->before == entry->opened)
		word |= redirect_bit();
	return rewrite(skb, packet, segment, sport, port_of(entry->before), word);
}

/* Does a packet have the connection's name already? Then it is what client_try_both() has sent on its way. */
static __always_inline bool client_has_name(struct __sk_buff *skb, const struct packet *packet,
					    const struct connection *entry)
{
	switch (naming_of(entry->wire)) {
	case NAME_MAC:
		return has_mac(skb, DESTINATION, entry->name.mac);
	case NAME_LABEL:
		return has_label(skb, packet, entry->name.label);
	default:
		return false;
	}
}

static __noinline int client_egress_tcp(struct __sk_buff *skb, struct packet *packet)
{
	__u8 mac[6] = {}; /* the VIP's, as this host knows it */
	struct connection *entry;
	struct segment segment;
	__be16 sport;
	__u16 word;

	if (!read_tcp(skb, packet, &segment, TO_VIP))
		return PASS;
	entry = bpf_map_lookup_elem(&connections, &packet->key);
	if (is_syn(&segment))
		return client_syn(skb, packet, &segment, entry);
	if (!entry)
		return PASS;

	if (naming_of(entry->wire)) {
		if (client_has_name(skb, packet, entry))
			return PASS;
		if (bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)) ||
		    !put_name(skb, packet, DESTINATION, entry->wire, &entry->name))
			return DROP;
	}
	sport = client_port_of(entry, segment.sport);
	if ((entry->flags & (ENDED | WATCHED)) && disturb(entry))
		return ended_egress(skb, packet, &segment, entry, sport,
				    entry->state == BOUND ? label_bits(entry) : redirect_bit(), confirm_bit());
	note_local(skb, &packet->key, entry, &segment, CLIENT);
	word = segment.word;

	/*
	 * Not bound: REDIRECT on every packet, because the switch decides per packet on (port, REDIRECT). So the
	 * connection stays on the pool's rows, whatever the policy for plain clients is.
	 */
	if (entry->state != BOUND)
		return rewrite(skb, packet, &segment, sport, port_of(entry->wire), word | redirect_bit());

	/* Step 3: CONFIRM, with the option where it fits, until the server is heard from the wire's port. */
	if (!(entry->flags & HEARD)) {
		if (is_silent(entry, &segment))
			return client_try_both(skb, packet, &segment, entry, sport, mac);
		word |= confirm_bit();
		if (is_pure_ack(&segment)) {
			if (has_room(packet, &segment))
				return rewrite_with_option(skb, packet, &segment, sport, port_of(entry->wire), word,
							   OPTION_CONFIRM, port_of(entry->before));
			count(COUNT_no_room);
		}
	}
	if (word & TCP_RST)
		word |= confirm_bit(); /* a router's, for a port it knows no connection to, has none: see server.h */
	return rewrite(skb, packet, &segment, sport, port_of(entry->wire), word | label_bits(entry));
}

static __always_inline bool may_follow_mac(const __u8 *mac)
{
	__u64 number = 0;

	for (int i = 0; i < 6; i++)
		number = number << 8 | mac[i];
	for (__u32 i = 0; i < MACS_MAX; i++) {
		if (i < client_settings.macs_count && (number & client_settings.macs[i].mask) == client_settings.macs[i].address)
			return true;
	}
	return false;
}

/*
 * May a redirect name this? A port or a label leads to the same VIP, whoever announces it; an address or a MAC address
 * could lead anywhere, so this host's administrator says which are services'. An IPv6 address becomes a whole one.
 */
static __always_inline bool may_follow(const struct packet *packet, const struct key *key, struct announcement *found)
{
	struct address *address = &found->name.address;

	switch (found->naming) {
	case NAME_ADDRESS:
		if (packet->v6 != found->v6)
			return false;
		if (packet->v6) {
			address->word[0] = key->vip.word[0];
			address->word[1] = key->vip.word[1];
			return is_service6(&client_settings.services, address->word) &&
			       !is_vip6(&client_settings.vips, address->word);
		}
		return is_service4(&client_settings.services, address->word[3]) &&
		       !is_vip4(&client_settings.vips, address->word[3]);
	case NAME_MAC:
		return may_follow_mac(found->name.mac);
	case NAME_LABEL:
		return packet->v6 && !client_settings.by_option;
	default:
		return true;
	}
}

/* Bind the connection behind `key` to what its first SYN/ACK says (step 2). */
static __always_inline void bind(struct __sk_buff *skb, const struct key *key, struct connection *entry,
				 const struct segment *segment, const struct announcement *found, bool confirm)
{
	__u32 now = moment(), took = now - entry->since, wire = announced_spot(found, port_of(entry->opened));
	struct numbers numbers = {};

	entry->server_seq = segment->seq;
	entry->received = segment->seq + 1;
	if (find_socket(skb, key, CLIENT, &numbers) == NOTHING)
		set(entry, AWAY);
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
	if (found->naming)
		entry->name = found->name;
	if (is_path_silent(&key->vip, wire)) {
		count(COUNT_remembered);
		return;
	}
	if (!add_alias(skb, key, &entry->name, key->client_port, wire))
		return;
	entry->before = entry->opened;
	entry->wire = wire;
	entry->since = now;
	entry->patience = PATIENCE + (2 * took < PATIENCE_MAX ? 2 * took : PATIENCE_MAX);
	entry->state = BOUND;
	count(COUNT_bound);
}

static __always_inline int client_synack(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					 const struct key *key, struct connection *entry)
{
	struct announcement found = read_option(skb, packet, segment);
	bool confirm = (segment->word & REDIRECT_CONFIRM) || (found.flags & OPTION_CONFIRM);

	if (found.naming && !may_follow(packet, key, &found)) {
		found.naming = NAME_NONE;
		count(COUNT_foreign_name);
	}
	if (segment->ack - (entry->client_seq + 1) > entry->early) {
		count(COUNT_forged_synack);
		return DROP;
	}
	if (entry->state == OPENING && segment->spot == entry->opened) {
		/* Two may come at once on two processors, of different servers even: one binds. */
		if (__sync_fetch_and_or(&entry->flags, BINDING) & BINDING) {
			count(COUNT_second_synack);
			return DROP;
		}
		if (found.bad)
			count(COUNT_bad_option);
		bind(skb, key, entry, segment, &found, confirm);
	} else {
		/*
		 * The same one again means that the third ACK was lost: the kernel must see it, to repeat that ACK. So
		 * does one that announces nothing any more, from a server whose agent has lost the half-open connection.
		 */
		__u32 announced = !(entry->flags & ANNOUNCED) ? 0 : entry->state == BOUND ? entry->wire : entry->before;
		__u32 now = confirm ? announced_spot(&found, port_of(entry->opened)) : 0;

		if (entry->state == OPENING || segment->spot != entry->opened || segment->seq != entry->server_seq ||
		    (now && !(entry->flags & HEARD) &&
		     (now != announced || !same_name(naming_of(now), &found.name, &entry->name)))) {
			count(COUNT_second_synack);
			return DROP;
		}
		/* That late it is no answer to a repeated SYN: the ACK was lost, or is not let through. */
		if (entry->state == BOUND && !(entry->flags & (HEARD | ASKED)) &&
		    moment() - entry->since > entry->patience)
			set(entry, TRYING);
	}
	return rewrite(skb, packet, segment, key->port, segment->dport, segment->word);
}

/* The server keeps to the port before: go back to it, and spare the next connections the wait. */
static __always_inline void fall_back(const struct key *key, struct connection *entry)
{
	__u32 silent = entry->wire;

	entry->wire = entry->before;
	entry->before = silent;
	clear(entry, TRYING);
	if (entry->wire == entry->opened) {
		entry->state = PLAIN;
		note_fallen_back(&key->vip, silent);
	} else {
		set(entry, HEARD);
	}
	count(COUNT_fallen_back);
}

/*
 * Has a server sent this before it could know that the client goes on elsewhere? It may where the SYN had data (RFC 7413):
 * what acknowledges that, and no more, may have left before the third packet came.
 */
static __always_inline bool is_early(const struct connection *entry, const struct segment *segment)
{
	return entry->early && !(entry->flags & TRYING) && segment->ack == entry->client_seq + 1 + entry->early &&
	       moment() - entry->since <= entry->patience;
}

/* Something of the server's has come from the wire's port. */
static __always_inline void note_heard(const struct key *key, struct connection *entry)
{
	set(entry, HEARD);
	clear(entry, TRYING);
	count(COUNT_confirmed);
	note_confirmed(&key->vip, entry->wire);
}

/* The server tells the client to go on at another port, in place or with a new connection. */
static __always_inline int client_announcement(struct __sk_buff *skb, const struct packet *packet,
					       struct segment *segment, const struct key *key,
					       struct connection *entry, const struct announcement *found)
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
			doubt_aliases(key, entry);
			set(entry, LEAVING);
			count(COUNT_reopen);
		}
		/* Repeated with each announcement: the process may not have been there to hear of the first. */
		ask_to_close(key, found->flags & OPTION_RESET);
		return DROP;
	}
	if (entry->state == BOUND && segment->spot == entry->wire && !(entry->flags & HEARD))
		note_heard(key, entry); /* nothing else may come from there for long */
	if (found->port != entry->wire) {
		/* Not before the last port was heard: `before` is then the only one known to work. */
		if (entry->state == BOUND && !(entry->flags & HEARD))
			goto refused;
		if (!add_aliases(skb, key, entry, found->port))
			goto refused;
		doubt_aliases(key, entry);
		if (entry->before && entry->before != entry->wire && entry->before != key->port &&
		    entry->before != found->port)
			delete_aliases(key, entry, entry->before, CLIENT);
		entry->before = entry->wire;
		entry->wire = found->port;
		entry->since = moment();
		if (!entry->patience)
			entry->patience = PATIENCE_MAX;
		clear(entry, HEARD | TRYING | ASKED);
		entry->state = BOUND;
		count(COUNT_moved);
	}
	/* The kernel takes it for a keep-alive probe, and its answer leaves for the new port. */
	return rewrite(skb, packet, segment, key->port, key->client_port, segment->word);
refused:
	count(COUNT_refused_announcement);
	return DROP;
}

/* The server's spot that a packet comes from. */
static __always_inline __u32 heard_at(struct __sk_buff *skb, const struct packet *packet,
				      const struct segment *segment, const struct connection *entry)
{
	switch (naming_of(entry->wire) ? naming_of(entry->wire) : naming_of(entry->before)) {
	case NAME_MAC:
		return has_mac(skb, SOURCE, entry->name.mac) ? spot_of(packet->key.port, NAME_MAC) : segment->spot;
	case NAME_LABEL:
		return has_label(skb, packet, entry->name.label) ? spot_of(packet->key.port, NAME_LABEL) : segment->spot;
	default:
		return segment->spot;
	}
}

/* CONFIRM, by header bit or, on paths that clear it, by option. */
static __always_inline bool has_confirm(struct __sk_buff *skb, const struct packet *packet,
					const struct segment *segment)
{
	return (segment->word & REDIRECT_CONFIRM) || (read_option(skb, packet, segment).flags & OPTION_CONFIRM);
}

/* The first packets from a port, and the last: what they say of the connection. False: drop the packet. */
static __always_inline bool client_hear(struct __sk_buff *skb, const struct packet *packet,
					const struct segment *segment, const struct key *key,
					struct connection *entry, struct alias *alias)
{
	bool awaited = (entry->flags & OWN_MOVING) && packet->key.client_port == entry->client_target;
	bool reset = segment->word & TCP_RST;
	__u32 spot = heard_at(skb, packet, segment, entry);

	if (awaited) {
		if (reset && !has_confirm(skb, packet, segment))
			return false; /* a middlebox's: the connection is well where it is */
		if (in_window(skb, segment, key, CLIENT)) {
			entry->client_target = entry->client_port ? entry->client_port : key->client_port;
			entry->client_port = packet->key.client_port;
			clear(entry, OWN_MOVING);
			count(COUNT_own_port_moved);
			awaited = false;
		}
	}
	if (entry->state == BOUND && spot == entry->wire) {
		if (!(entry->flags & HEARD)) {
			if (reset && entry->before != entry->wire && !has_confirm(skb, packet, segment)) {
				/* A middlebox refuses a port it knows no connection to: a server's own reset has CONFIRM. */
				set(entry, TRYING);
				return false;
			}
			note_heard(key, entry);
		}
		if (alias && !awaited && !(entry->flags & LEAVING))
			__sync_fetch_and_or(&alias->flags, HEARD);
	} else if (entry->state == BOUND) {
		if (!is_believed(skb, segment, key, CLIENT, entry)) {
			count(COUNT_from_old_port);
			return false;
		}
		if (reset)
			count(COUNT_reset_from_old_port);
		else if (entry->flags & HEARD)
			count(COUNT_repaired);
		else if (((entry->flags & TRYING) || segment->data || (segment->word & TCP_FIN)) &&
			 !is_early(entry, segment))
			fall_back(key, entry); /* the server is heard there: it tries both, or knows of no other port */
	}
	/* While opening, a reset counts only if it answers the SYN. */
	if (reset && entry->state == OPENING && segment->ack - (entry->client_seq + 1) > entry->early)
		return true;
	if (segment->word & (TCP_FIN | TCP_RST))
		note_remote(skb, key, entry, segment, CLIENT);
	return true;
}

/* What came from a service address comes from the VIP, as the program knows it. */
static __always_inline bool client_restore(struct __sk_buff *skb, const struct packet *packet,
					   const struct address *vip)
{
	return !packet->service || replace_address(skb, packet, SOURCE, &packet->key.vip, vip);
}

static __noinline int client_ingress_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct scratch *scratch = use_scratch();
	struct connection *entry;
	struct segment segment;
	struct alias *alias;
	struct key *key;
	bool simple;

	if (skb->mark == ENDING_MARK) {
		skb->mark = 0;
		return PASS;
	}
	if (!read_tcp(skb, packet, &segment, FROM_VIP))
		return PASS;
	simple = !(segment.word & (TCP_SYN | TCP_FIN | TCP_RST)) && !may_announce(&segment);
	alias = bpf_map_lookup_elem(&aliases, &packet->key);
	if (alias && (alias->flags & HEARD) && simple)
		return client_restore(skb, packet, &alias->vip) ?
			       rewrite(skb, packet, &segment, alias->port, alias->client_port, segment.word) :
			       DROP;

	if (!scratch)
		return PASS;
	key = &scratch->received;
	*key = packet->key;
	entry = alias ? follow(key, alias) : bpf_map_lookup_elem(&connections, key);
	if (!entry)
		return PASS;
	note_use(entry, &segment);
	if (!alias && (entry->flags & (HEARD | LEAVING)) == HEARD && simple && port_of(entry->wire) == key->port &&
	    naming_of(entry->wire) != NAME_ADDRESS)
		return PASS;
	if (!client_restore(skb, packet, &key->vip))
		return DROP;
	if ((entry->flags & (ENDED | WATCHED)) && disturb(entry))
		return ended_ingress(skb, packet, &segment, key, entry);
	if (is_synack(&segment))
		return client_synack(skb, packet, &segment, key, entry);
	if (may_announce(&segment)) {
		struct announcement found = read_option(skb, packet, &segment);

		if (found.flags & OPTION_REDIRECT)
			return client_announcement(skb, packet, &segment, key, entry, &found);
	}
	if (!client_hear(skb, packet, &segment, key, entry, alias))
		return DROP;
	return rewrite(skb, packet, &segment, key->port, key->client_port, segment.word);
}

/*
 * Is a packet that an error quotes one that was sent and not acknowledged (RFC 5927, 4.1)? Of a connection that has not
 * been heard from its port, the entry knows all that was sent.
 */
static __always_inline bool is_in_flight(struct __sk_buff *skb, const struct key *key, const struct connection *entry,
					 __u32 seq)
{
	struct numbers numbers = {};

	if (find_socket(skb, key, CLIENT, &numbers) == OPEN)
		return seq - numbers.unacknowledged <= numbers.sent - numbers.unacknowledged;
	return seq - (entry->client_seq + 1) <= entry->sent - (entry->client_seq + 1);
}

/* An error about a packet this host sent: it quotes the ports of the wire, the program knows its own. */
static __noinline int client_ingress_icmp(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *entry;
	struct quote quote;
	struct alias *alias;
	struct key key;

	if (!read_quote(skb, packet, &quote, &client_settings.vips, &client_settings.services, TO_VIP))
		return PASS;
	key = packet->key;
	alias = bpf_map_lookup_elem(&aliases, &key);
	if (!alias)
		return PASS;
	entry = follow(&key, alias);
	if (entry && entry->state == BOUND && !(entry->flags & HEARD) && entry->wire == quote.spot &&
	    entry->before != entry->wire && quote.refused) {
		/* A router refuses packets to the announced port, not to this server. */
		if (is_in_flight(skb, &key, entry, quote.seq))
			set(entry, TRYING);
		else
			count(COUNT_forged_error);
		return DROP;
	}
	if (quote.service && entry && !replace_quoted_address(skb, packet, DESTINATION, &packet->key.vip, &key.vip))
		return DROP;
	return rewrite_quote(skb, packet, &quote, alias->client_port, alias->port);
}

/* An error this host sends about a packet it received: it quotes the program's ports, the wire has others. */
static __noinline int client_egress_icmp(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *entry;
	struct quote quote;

	if (!read_quote(skb, packet, &quote, &client_settings.vips, NULL, FROM_VIP))
		return PASS;
	entry = bpf_map_lookup_elem(&connections, &packet->key);
	if (!entry)
		return PASS;
	if (naming_of(entry->wire) == NAME_ADDRESS &&
	    !replace_quoted_address(skb, packet, SOURCE, &packet->key.vip, &entry->name.address))
		return DROP;
	return rewrite_quote(skb, packet, &quote, port_of(entry->wire), client_port_of(entry, quote.dport));
}

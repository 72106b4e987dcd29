/*
 * The server's side of the redirect protocol (docs/protocol.md, "The connection").
 *
 * The entry is keyed by the application's port A, which both directions reach with one look-up: from the wire through
 * the static table of service ports, from the program directly. It says which port the wire uses.
 *
 * A half-open connection is in a table of its own, and moves to `connections` when the client has acknowledged the
 * SYN/ACK: no flood of SYNs, nor of segments nobody asked for, takes room from connections that are open.
 */
#pragma once

#include "half.h"
#include "icmp.h"
#include "reflect.h"
#include "table.h"

#define PORTS 65536

/* Both tables are indexed by the port as it stands in the packet (network byte order); 0: no such row. */
const volatile struct {
	struct vips vips;
	struct services services;   /* this server's service addresses (row X1) */
	struct address own[2];      /* the VIP that the IPv4 one, and the IPv6 one, stands for */
	__be32 label;               /* its service label (row X3), 0: none */
	__u8 mac[6];                /* its service MAC address (row X2), 0: none */
	__u8 announced[2];          /* what kind of name is announced over IPv4, and over IPv6 */
	__u8 named[PORTS];          /* X -> whether a name is announced to who opens on X, and no port */
	__be16 answers[PORTS];      /* X -> Y: the port announced to who opens on X */
	__be16 applications[PORTS]; /* port on the wire -> the application's, where they differ */
} server_settings SEC(".rodata.server");

/* Bytes a client may have sent with, and before, the segment that completes the handshake. */
#define FIRST_WINDOW (1 << 20)
#define COPIES_TO_GO_BACK 2 /* of one segment on the port left: they show that the client does not hear the new one */

static __always_inline __be16 application_of(__be16 port)
{
	__be16 application = server_settings.applications[port];

	return application ? application : port;
}

/* This server's own name of a kind. */
static __always_inline union name own_name(const struct packet *packet, enum naming naming)
{
	union name name = {};

	switch (naming) {
	case NAME_ADDRESS:
		if (packet->v6) {
			for (int i = 0; i < 4; i++)
				name.address.word[i] = server_settings.services.v6[0].address.word[i];
		} else {
			set_mapped(&name.address, server_settings.services.v4[0].address);
		}
		break;
	case NAME_MAC:
		for (int i = 0; i < 6; i++)
			name.mac[i] = server_settings.mac[i];
		break;
	case NAME_LABEL:
		name.label = server_settings.label;
		break;
	default:
		break;
	}
	return name;
}

/* The VIP that this server's service address stands for. */
static __always_inline struct address own_vip(const struct packet *packet)
{
	struct address vip;

	for (int i = 0; i < 4; i++)
		vip.word[i] = server_settings.own[packet->v6].word[i];
	return vip;
}

/* What a program's packet leaves with. */
static __always_inline bool server_put_name(struct __sk_buff *skb, const struct packet *packet, __u32 spot)
{
	union name name;

	if (!naming_of(spot))
		return true;
	name = own_name(packet, naming_of(spot));
	return put_name(skb, packet, SOURCE, spot, &name);
}

/* What names this server in a packet it gets is noted in the segment's spot, and becomes what its kernel knows. */
static __always_inline bool server_take_name(struct __sk_buff *skb, struct packet *packet, struct segment *segment)
{
	union name name;

	if (packet->service) {
		struct address vip = own_vip(packet);

		if (!replace_address(skb, packet, DESTINATION, &packet->key.vip, &vip))
			return false;
		packet->key.vip = vip;
		return true;
	}
	name = own_name(packet, NAME_MAC);
	if ((name.mac[0] | name.mac[1] | name.mac[2] | name.mac[3] | name.mac[4] | name.mac[5]) &&
	    has_mac(skb, DESTINATION, name.mac)) {
		segment->spot = spot_of(segment->dport, NAME_MAC);
		bpf_skb_change_type(skb, PACKET_HOST);
		return true;
	}
	name = own_name(packet, NAME_LABEL);
	if (name.label && (segment->word & REDIRECT_CONFIRM) && has_label(skb, packet, name.label))
		segment->spot = spot_of(segment->dport, NAME_LABEL);
	return true;
}

/* What is announced to a SYN that asks for a redirect. 0: nothing. */
static __always_inline __u32 answer_to(const struct packet *packet, const struct segment *segment)
{
	__be16 port = server_settings.answers[segment->dport];
	enum naming naming = server_settings.announced[packet->v6];

	if (port || !naming || naming_of(segment->spot) || !server_settings.named[segment->dport])
		return port;
	if (naming == NAME_LABEL && !(segment->word & REDIRECT)) /* and will not have the other bit either */
		return 0;
	return spot_of(segment->dport, naming);
}

/* The spot the connection uses on the wire now. */
static __always_inline __u32 spot_on_wire(const struct connection *entry)
{
	return entry->state == OPENING ? entry->opened : entry->wire;
}

/* SYN: note what to answer. Without REDIRECT, and where nothing is translated, nothing needs remembering. */
static __always_inline int server_syn(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
				      const struct key *key, struct connection *entry)
{
	struct announcement asked = read_option(skb, packet, segment);
	bool by_bit = segment->word & REDIRECT, redirect = by_bit || (asked.flags & OPTION_REDIRECT);
	struct connection *half;
	struct numbers numbers = {};
	enum found found;
	__u32 answer;

	if (is_signed(skb, packet, segment)) { /* RFC 2385, RFC 5925: what is changed on the way is refused */
		if (entry)
			forget(key, entry, SERVER);
		half = find_half(key);
		if (half)
			forget_half(half);
		count(COUNT_signed);
		return PASS;
	}
	answer = redirect && !is_full() ? answer_to(packet, segment) : 0;
	if (entry) {
		/* The kernel has such a connection: it challenges the SYN (RFC 5961, 4), and nothing is forgotten for it. */
		found = find_socket(skb, key, SERVER, &numbers);
		if (found == OPEN || (entry->client_seq == segment->seq && !is_closing(entry)))
			return rewrite(skb, packet, segment, key->client_port, key->port, segment->word);
		if (found == NOTHING && is_live(entry) && spot_on_wire(entry) != segment->spot) {
			count(COUNT_collision);
			return DROP;
		}
		if (found != NOTHING || !is_live(entry))
			forget(key, entry, SERVER);
	}
	if (asked.bad)
		count(COUNT_bad_option);
	if (redirect || key->port != segment->spot) {
		struct scratch *scratch = use_scratch();

		if (!scratch)
			return PASS;
		scratch->fresh = (struct connection){
			.seen = tick(),
			.client_seq = segment->seq,
			.opened = segment->spot,
			.wire = answer ? answer : segment->spot,
			.before = segment->spot,
			.state = OPENING,
			.flags = (redirect ? REDIRECTED : 0) | (by_bit ? 0 : BY_OPTION) | (answer ? ANNOUNCED : 0),
		};

		remember_half(key, &scratch->fresh);
		if (redirect)
			count(COUNT_syn_redirect);
		if (redirect && asked.port)
			count(COUNT_arrived);
	} else {
		half = find_half(key);
		if (half)
			forget_half(half);
	}
	return rewrite(skb, packet, segment, segment->sport, key->port, segment->word);
}

/*
 * The segment that completes the handshake decides where the connection goes on: at the announced port (step 3), or,
 * if the client could not follow, at the one it opened on. Only who has seen the SYN/ACK can complete it; any other
 * segment changes nothing. False: the segment is on neither port.
 */
static __always_inline bool server_settle(struct __sk_buff *skb, const struct key *key, struct connection *half,
					  const struct segment *segment)
{
	struct scratch *scratch = use_scratch();
	struct numbers numbers = {};
	struct connection *entry;

	if (segment->spot != half->wire && segment->spot != half->opened)
		return false;
	if ((segment->word & TCP_RST) || !(segment->word & TCP_ACK) ||
	    segment->ack - (half->server_seq + 1) > half->sent - (half->server_seq + 1) ||
	    segment->seq - (half->client_seq + 1) > FIRST_WINDOW)
		return true;
	if (!scratch)
		return true;
	entry = &scratch->fresh;
	*entry = *half;
	entry->fin_seq = segment->ack;
	touch(entry);
	if (!(half->flags & ANNOUNCED)) {
		entry->state = PLAIN;
		entry->flags |= SETTLED;
	} else if (segment->spot == half->wire) {
		entry->state = BOUND;
		if (half->wire == half->opened)
			entry->flags |= SETTLED;
		count(COUNT_redirected);
	} else {
		entry->state = PLAIN;
		entry->before = half->wire;
		entry->wire = half->opened;
		count(COUNT_stayed);
	}
	if (segment->word & TCP_FIN)
		entry->flags |= FIN_REMOTE;
	if (find_socket(skb, key, SERVER, &numbers) == NOTHING)
		entry->flags |= AWAY;
	if (!remember(skb, key, entry, NULL, SERVER))
		return true;
	forget_half(half);
	entry = bpf_map_lookup_elem(&connections, key);
	if (entry)
		note_closed(skb, key, entry, SERVER);
	return true;
}

/*
 * The static table stands in for a lost entry, so that replies leave from the right port: if this host has the socket,
 * and the segment is one its peer can have sent. Without a socket the kernel may still know the connection by a SYN
 * cookie; then the client's next segment finds the socket. Where it was opened is the application's port, if that is
 * the one for which this service port is announced. CONFIRM says that the client has not heard the service port yet.
 */
static __always_inline void server_rebuild(struct __sk_buff *skb, const struct segment *segment,
					   const struct key *key)
{
	struct scratch *scratch = use_scratch();
	__u32 opened = server_settings.answers[key->port] == segment->spot ? key->port : segment->spot;
	bool heard = opened == segment->spot || !(segment->word & REDIRECT_CONFIRM);
	struct numbers numbers = {};

	if (!scratch)
		return;
	if (find_socket(skb, key, SERVER, &numbers) != OPEN) {
		note_asked(key, segment);
		return;
	}
	if ((segment->word & TCP_RST) || !is_from_peer(segment, &numbers))
		return;
	scratch->fresh = (struct connection){
		.seen = tick(),
		.sent = numbers.sent,
		.received = numbers.received,
		.opened = opened,
		.wire = segment->spot,
		.before = opened,
		.state = BOUND,
		.flags = REDIRECTED | (heard ? SETTLED : 0) | (segment->word & TCP_FIN ? FIN_REMOTE : 0),
	};
	if (remember(skb, key, &scratch->fresh, NULL, SERVER))
		count(COUNT_rebuilt);
}

/* Make the port before the connection's again, or the other way round. */
static __always_inline void swap_ports(struct connection *entry)
{
	__u32 left = entry->wire;

	entry->wire = entry->before;
	entry->before = left;
	entry->state = entry->wire == entry->opened ? PLAIN : BOUND;
	entry->copies = 0;
}

/*
 * Has the client heard us at the spot it sends to? Then it leaves out CONFIRM, or, where that has to stay, adds REDIRECT;
 * who asked by option alone leaves out the option, which only acknowledgements could have.
 */
static __always_inline bool has_heard(struct __sk_buff *skb, const struct packet *packet,
				      const struct segment *segment, const struct connection *entry)
{
	struct announcement found;

	if (segment->word & TCP_RST)
		return false;
	if (naming_of(segment->spot) == NAME_LABEL)
		return segment->word & REDIRECT;
	if (!(entry->flags & BY_OPTION))
		return !(segment->word & REDIRECT_CONFIRM);
	if (!is_pure_ack(segment) || !has_room(packet, segment))
		return false;
	found = read_option(skb, packet, segment);
	return !found.bad && !(found.flags & OPTION_CONFIRM);
}

/*
 * A client that does not hear the wire's port repeats itself on the port left, too: the first of what it has sent that
 * is not acknowledged. Several segments at once say nothing, nor do acknowledgements, which all have one number; nor does
 * one that this host has not acknowledged: its kernel has no room for it, whichever port it comes to.
 */
static __always_inline bool is_repeated(const struct segment *segment, struct connection *entry)
{
	if (!segment->data && !(segment->word & TCP_FIN))
		return false;
	if (entry->copies == 0 || (__s32)(segment->seq - entry->end_seq) < 0) {
		entry->end_seq = segment->seq;
		entry->copies = 0;
	} else if (segment->seq != entry->end_seq) {
		return false;
	}
	if (entry->copies < COPIES_TO_GO_BACK)
		entry->copies++;
	return entry->copies >= COPIES_TO_GO_BACK && (__s32)(entry->received - segment->seq) > 0;
}

/*
 * Does a segment on the port left answer what was sent from both? A client that hears neither repeats itself on both, too,
 * so only what acknowledges something new does.
 */
static __always_inline bool is_answer(struct __sk_buff *skb, const struct segment *segment, const struct key *key,
				      const struct connection *entry)
{
	struct numbers numbers = {};
	__u32 acknowledged = ask_socket(skb, key, SERVER, &numbers) ? numbers.unacknowledged : entry->fin_seq;

	return (__s32)(segment->ack - acknowledged) > 0;
}

/* A segment on another port than the connection's. False: drop it. */
static __always_inline bool server_other_port(struct __sk_buff *skb, const struct packet *packet,
					      const struct segment *segment, const struct key *key,
					      struct connection *entry)
{
	if (!is_believed(skb, segment, key, SERVER, entry))
		return false;
	if (segment->word & TCP_RST)
		return true;
	if ((entry->flags & MOVING) && segment->spot == entry->target) {
		entry->before = entry->wire;
		entry->wire = entry->target;
		entry->state = BOUND;
		entry->copies = 0;
		clear(entry, MOVING | SETTLED);
		count(COUNT_server_moved);
		return true;
	}
	if (segment->spot != entry->before)
		return segment->spot == entry->opened; /* a client that has lost its entry since knows no other port */
	if (entry->flags & SETTLED)
		return true; /* it was on its way when the connection moved */
	if ((entry->flags & TRYING) && is_answer(skb, segment, key, entry)) {
		swap_ports(entry);
		clear(entry, TRYING);
		if (entry->opened == entry->wire)
			count(COUNT_stayed);
		return true;
	}
	if (entry->state == PLAIN) {
		/* A client that sends to the announced port without CONFIRM has heard us there. */
		if (has_heard(skb, packet, segment, entry)) {
			swap_ports(entry);
			set(entry, SETTLED);
		}
	} else if (is_repeated(segment, entry)) {
		swap_ports(entry);
		if (entry->opened == entry->wire)
			count(COUNT_stayed);
	} else if (entry->before != entry->opened && !(entry->flags & MOVING)) {
		/* It has moved in place, and what was on its way to it has led it back: it is to be told again. */
		entry->target = entry->wire;
		set(entry, MOVING);
	}
	return true;
}

/*
 * The client announces another port of its own (row D9). Nothing is sent there before something has come from there: an
 * address translator may have made it another one.
 */
static __always_inline void server_announcement(struct __sk_buff *skb, const struct packet *packet,
						const struct segment *segment, const struct key *key,
						struct connection *entry, const struct announcement *found)
{
	struct alias alias = alias_of(key, key->port), *there;
	struct key alias_key = *key, owner_key;
	struct connection *other;
	struct numbers numbers = {};
	__u32 now = tick();

	if (!in_window(skb, segment, key, SERVER)) {
		count(COUNT_forged_announcement);
		return;
	}
	if (found->port && (found->port == entry->client_port ||
			    ((entry->flags & OWN_MOVING) && found->port == entry->client_target)))
		return; /* announced before */
	owner_key = alias_key;
	alias_key.client_port = owner_key.client_port = found->port;
	other = bpf_map_lookup_elem(&connections, &alias_key);
	there = bpf_map_lookup_elem(&aliases, &alias_key);
	if (there && (leads_to(there, key) || (!follow(&owner_key, there) && claim(&there->flags))))
		there = NULL;
	if (!found->port || !(found->flags & OPTION_IN_PLACE) || found->port == key->client_port ||
	    entry->since == now || there || (other && !is_closing(other)) ||
	    ask_socket(skb, &alias_key, SERVER, &numbers)) {
		count(COUNT_refused_announcement);
		return;
	}
	entry->since = now;
	if (((entry->flags & OWN_MOVING) || entry->client_port) && entry->client_target != key->client_port)
		delete_alias(key, &entry->name, entry->client_target, key->port);
	if (bpf_map_update_elem(&aliases, &alias_key, &alias, BPF_ANY)) {
		count(COUNT_map_full);
		return;
	}
	entry->client_target = found->port;
	set(entry, OWN_MOVING);
}

/*
 * The client has sent from another of its ports than before: there it is answered from now on. Until it has heard that,
 * it goes on sending from the one before, too, which brings the answers back there.
 */
static __always_inline void server_follow_client(struct __sk_buff *skb, const struct packet *packet,
						 const struct segment *segment, const struct key *key,
						 struct connection *entry)
{
	if (!in_window(skb, segment, key, SERVER))
		return;
	entry->client_target = client_port_of(entry, key->client_port); /* the one left: its alias goes with the next announcement */
	entry->client_port = segment->sport == key->client_port ? 0 : segment->sport;
	clear(entry, SETTLED);
}

/*
 * A router refuses packets from a port that it knows no connection to: the client's own reset to an announced port has
 * CONFIRM, always, as it may have heard the port and said nothing since. One that asked by option alone cannot say so,
 * but its program's resets have ACK. On the port left for the one opened on, such a reset answers a copy sent from
 * there: by the router, or by the kernel of a client whose agent has lost its entry. The client goes on at the other.
 */
static __always_inline bool is_middlebox_reset(const struct connection *entry, const struct segment *segment)
{
	if (entry->before == entry->wire)
		return false;
	if (entry->state == BOUND)
		return !(entry->flags & (SETTLED | BY_OPTION)) && segment->spot == entry->wire &&
		       !(segment->word & REDIRECT_CONFIRM);
	return segment->spot == entry->before &&
	       !(segment->word & (entry->flags & BY_OPTION ? TCP_ACK : REDIRECT_CONFIRM));
}

/*
 * Is this what a kernel says that has no socket for what we have sent? A program's own reset has ACK. Of a port that the
 * connection has left in place it is, too: the client knows neither.
 */
static __always_inline bool is_from_nowhere(const struct connection *entry, const struct segment *segment)
{
	return (segment->word & (TCP_RST | TCP_ACK)) == TCP_RST && entry->state == BOUND &&
	       segment->spot != entry->opened && (segment->spot == entry->wire || segment->spot == entry->before) &&
	       (entry->flags & DOUBTFUL) && !naming_of(segment->spot);
}

/* What the client may expect next: what it has acknowledged last, or what this host has sent since. */
static __always_inline struct numbers expected_by_client(struct __sk_buff *skb, const struct key *key,
							  const struct connection *entry)
{
	struct numbers numbers = {};

	if (!ask_socket(skb, key, SERVER, &numbers)) {
		numbers.unacknowledged = entry->fin_seq;
		numbers.sent = entry->flags & AWAY ? entry->sent : entry->fin_seq;
	}
	return numbers;
}

static __noinline int server_ingress_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *entry, *half;
	struct segment segment;
	struct key *key = &packet->key;
	struct alias *alias;

	if (!read_tcp(skb, packet, &segment, TO_VIP))
		return PASS;
	if (!server_take_name(skb, packet, &segment))
		return DROP;
	key->port = application_of(segment.dport);
	entry = bpf_map_lookup_elem(&connections, key);
	alias = entry ? NULL : bpf_map_lookup_elem(&aliases, key);
	if (alias) {
		entry = follow(key, alias);
		if (!entry || (is_syn(&segment) && entry->client_port != segment.sport)) {
			/* A port the client once moved to or might have, now another connection's. */
			key->client_port = segment.sport;
			if (claim(&alias->flags))
				bpf_map_delete_elem(&aliases, key);
			entry = NULL;
		}
	}
	if (is_syn(&segment))
		return server_syn(skb, packet, &segment, key, entry);

	if (!entry) {
		half = find_half(key);
		if (half && (half->flags & ANSWERED)) {
			if (!server_settle(skb, key, half, &segment)) {
				count(COUNT_wrong_port);
				return DROP;
			}
		} else if (key->port != segment.spot) {
			server_rebuild(skb, &segment, key);
		}
		return rewrite(skb, packet, &segment, key->client_port, key->port, segment.word);
	}
	if (segment.sport != client_port_of(entry, key->client_port))
		server_follow_client(skb, packet, &segment, key, entry);
	if (segment.spot == entry->wire) {
		if ((entry->flags & MOVING) && entry->target == entry->wire)
			clear(entry, MOVING);
		if (!(entry->flags & SETTLED) && entry->state == BOUND && has_heard(skb, packet, &segment, entry) &&
		    is_believed(skb, &segment, key, SERVER, entry)) {
			set(entry, SETTLED);
			clear(entry, TRYING);
			if ((entry->flags & OWN_MOVING) && entry->client_port) {
				clear(entry, OWN_MOVING);
				count(COUNT_client_moved);
			}
		}
	} else if (!server_other_port(skb, packet, &segment, key, entry)) {
		count(COUNT_wrong_port);
		return DROP;
	} else if (is_closing(entry)) {
		note_asked(key, &segment); /* a reset is to be heard where this came from */
	}
	if (may_announce(&segment)) {
		struct announcement found = read_option(skb, packet, &segment);

		if (found.flags & OPTION_REDIRECT) {
			server_announcement(skb, packet, &segment, key, entry, &found);
			return DROP; /* unanswered: answers are rationed (RFC 5961, 10), and the new port's counts */
		}
	}
	note_use(entry, &segment);
	if ((segment.word & TCP_RST) && is_middlebox_reset(entry, &segment)) {
		if (entry->state == BOUND)
			set(entry, TRYING);
		else
			clear(entry, TRYING);
		return DROP;
	}
	if (segment.word & (TCP_FIN | TCP_RST))
		note_remote(skb, key, entry, &segment, SERVER);
	if (is_from_nowhere(entry, &segment)) {
		struct numbers numbers = expected_by_client(skb, key, entry);

		if (!reflect(skb, packet, &segment, port_of(entry->opened), &numbers))
			return DROP;
	}
	if ((entry->flags & AWAY) && (segment.word & TCP_ACK))
		entry->fin_seq = segment.ack;
	return rewrite(skb, packet, &segment, key->client_port, key->port, segment.word);
}

/* Step 2: the SYN/ACK leaves from the port the SYN named, with CONFIRM, and names the port to continue on. */
static __always_inline int server_synack(struct __sk_buff *skb, const struct packet *packet, struct segment *segment,
					 struct connection *entry)
{
	__be16 opened = port_of(entry->opened), dport = client_port_of(entry, segment->dport);
	__u32 announced = !(entry->flags & ANNOUNCED) ? 0 : entry->state == PLAIN ? entry->before : entry->wire;
	__u16 word = segment->word;

	if (!(entry->flags & ANSWERED) || entry->server_seq != segment->seq)
		entry->sent = segment->seq + 1;
	entry->server_seq = segment->seq;
	entry->received = segment->ack;
	set(entry, ANSWERED);
	if (!server_put_name(skb, packet, entry->opened))
		return DROP;
	if (!(entry->flags & REDIRECTED))
		return rewrite(skb, packet, segment, opened, dport, word);
	if (!(entry->flags & BY_OPTION))
		word |= REDIRECT_CONFIRM;
	if (naming_of(announced)) {
		union name name = own_name(packet, naming_of(announced));
		struct option option = make_name_option(OPTION_CONFIRM, packet->v6, naming_of(announced), &name);

		if (fits(packet, segment, OPTION_LENGTH_NAME)) {
			count(COUNT_announced);
			return rewrite_with(skb, packet, segment, opened, dport, word, &option);
		}
		count(COUNT_no_room);
	} else if (announced || (entry->flags & BY_OPTION)) {
		if (has_room(packet, segment)) {
			count(announced ? COUNT_announced : COUNT_supported);
			return rewrite_with_option(skb, packet, segment, opened, dport, word, OPTION_CONFIRM, announced);
		}
		count(COUNT_no_room);
	} else {
		count(COUNT_supported);
	}
	return rewrite(skb, packet, segment, opened, dport, word);
}

/*
 * Is this segment about the SYN that was noted? It is once that has been answered; before, only what answers it is.
 * Anything else belongs to a connection that the kernel has had all along and that no entry is needed for.
 */
static __always_inline bool may_answer(const struct connection *half, const struct segment *segment)
{
	return (half->flags & ANSWERED) || is_synack(segment) ||
	       ((segment->word & TCP_RST) && segment->ack - (half->client_seq + 1) <= FIRST_WINDOW);
}

/*
 * Does the program repeat what it has sent from a port that the client has not confirmed? Then perhaps the path lets
 * nothing through from there, and a client that only listens cannot know.
 */
static __always_inline bool is_unheard(const struct connection *entry, const struct segment *segment)
{
	__u32 next = segment->seq + segment->data + !!(segment->word & TCP_FIN);

	/* The client that moves to another port of its own has heard ours; at its new port it knows of no other. */
	if ((entry->flags & OWN_MOVING) && entry->client_port)
		return false;
	return entry->state == BOUND && !(entry->flags & (SETTLED | TRYING)) && entry->before != entry->wire &&
	       entry->before && next != segment->seq && !(segment->word & TCP_RST) && (__s32)(next - entry->sent) <= 0;
}

/*
 * The packet leaves from the wire's port, and from the one before: where the client hears it, it stays. From the wire's
 * first, so that a client that hears both stays there.
 */
static __always_inline int server_try_both(struct __sk_buff *skb, const struct packet *packet,
					   struct segment *segment, struct connection *entry, __be16 dport)
{
	union name name = own_name(packet, naming_of(entry->wire));
	__u8 mac[6] = {}, *found = mac_of(skb, SOURCE);

	count(COUNT_sent_from_both);
	if (naming_of(entry->before) || !found)
		return DROP;
	__builtin_memcpy(mac, found, sizeof(mac));
	if (rewrite(skb, packet, segment, port_of(entry->wire), dport, segment->word) == DROP ||
	    !put_name(skb, packet, SOURCE, entry->wire, &name))
		return DROP;
	send_copy(skb);
	if (!remove_name(skb, packet, SOURCE, entry->wire, &name, mac))
		return DROP;
	return rewrite(skb, packet, segment, port_of(entry->before), dport, segment->word);
}

static __noinline int server_egress_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *entry;
	struct segment segment;
	__be16 sport, dport;
	__u16 word;
	__u32 spot;

	if (!read_tcp(skb, packet, &segment, FROM_VIP))
		return PASS;
	entry = bpf_map_lookup_elem(&connections, &packet->key);
	if (entry) {
		if (is_copy())
			return PASS;
		if (is_unheard(entry, &segment))
			set(entry, TRYING);
		note_local(skb, &packet->key, entry, &segment, SERVER);
	} else {
		entry = find_half(&packet->key);
		if (!entry || !may_answer(entry, &segment)) {
			spot = asked_at(skb, &packet->key, &segment, entry);
			if (!spot)
				return PASS;
			count(COUNT_answered_as_asked);
			if (!server_put_name(skb, packet, spot))
				return DROP;
			return rewrite(skb, packet, &segment, port_of(spot), segment.dport, segment.word);
		}
		note_use(entry, &segment);
		note_numbers(entry, &segment);
		if (segment.word & TCP_FIN) /* of one whose SYN had data (RFC 7413) */
			set(entry, FIN_LOCAL);
	}
	if (is_synack(&segment))
		return server_synack(skb, packet, &segment, entry);
	word = segment.word;
	spot = is_closing(entry) ? asked_at(skb, &packet->key, &segment, NULL) : 0;
	if (!spot)
		spot = spot_on_wire(entry);
	sport = port_of(spot);
	dport = client_port_of(entry, segment.dport);
	if (entry->flags & TRYING)
		return server_try_both(skb, packet, &segment, entry, dport);
	if (!server_put_name(skb, packet, spot))
		return DROP;
	/* A client that has not heard this port takes a reset from it for a middlebox's, unless it is told. */
	if ((word & TCP_RST) && entry->state == BOUND && !(entry->flags & SETTLED)) {
		if (!(entry->flags & BY_OPTION))
			word |= REDIRECT_CONFIRM;
		if (has_room(packet, &segment))
			return rewrite_with_option(skb, packet, &segment, sport, dport, word, OPTION_CONFIRM, 0);
	}
	return rewrite(skb, packet, &segment, sport, dport, word);
}

/* An error about a packet this host sent: it quotes the ports of the wire, the program knows its own. */
static __noinline int server_ingress_icmp(struct __sk_buff *skb, struct packet *packet)
{
	struct quote quote;
	struct alias *alias;
	struct address vip;
	__be16 client_port;

	if (!read_quote(skb, packet, &quote, &server_settings.vips, &server_settings.services, FROM_VIP))
		return PASS;
	vip = own_vip(packet);
	if (packet->service) {
		union name name = own_name(packet, NAME_ADDRESS);

		if (!replace_address(skb, packet, DESTINATION, &name.address, &vip))
			return DROP;
	}
	if (quote.service) {
		if (!replace_quoted_address(skb, packet, SOURCE, &packet->key.vip, &vip))
			return DROP;
		packet->key.vip = vip;
	}
	client_port = quote.dport;
	packet->key.port = application_of(quote.sport);
	alias = bpf_map_lookup_elem(&aliases, &packet->key);
	if (alias)
		client_port = alias->client_port;
	return rewrite_quote(skb, packet, &quote, packet->key.port, client_port);
}

/* An error this host sends about a packet it received: it quotes the program's ports, the wire has others. */
static __noinline int server_egress_icmp(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *entry;
	struct quote quote;

	if (!read_quote(skb, packet, &quote, &server_settings.vips, NULL, TO_VIP))
		return PASS;
	entry = bpf_map_lookup_elem(&connections, &packet->key);
	if (!entry)
		return PASS;
	if (naming_of(spot_on_wire(entry)) == NAME_ADDRESS) {
		union name name = own_name(packet, NAME_ADDRESS);

		if (!replace_quoted_address(skb, packet, DESTINATION, &packet->key.vip, &name.address))
			return DROP;
	}
	return rewrite_quote(skb, packet, &quote, client_port_of(entry, quote.sport), port_of(spot_on_wire(entry)));
}

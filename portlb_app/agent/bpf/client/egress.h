/* Segments that this host's programs send (step 3). */
#pragma once

#include "../readdress.h"
#include "close.h"
#include "settings.h"
#include "syn.h"

/*
 * Has the port announced last been silent for so long that the one before should be tried as well? Nobody answers a
 * mere acknowledgement, so it is silent only from the first data, or FIN, on.
 */
static __always_inline bool is_silent(struct connection *entry, const struct segment *segment)
{
	if (entry->before == entry->wire || entry->before == 0)
		return false;
	if (entry->flags & SENDING_TO_BOTH)
		return true;
	if (!(entry->flags & AWAITING_REPLY)) {
		if (segment->data || (segment->word & TCP_FIN)) {
			entry->timer_started = moment();
			set(entry, AWAITING_REPLY);
		}
		return false;
	}
	if (moment() - entry->timer_started <= entry->silence_limit)
		return false;
	set(entry, SENDING_TO_BOTH);
	return true;
}

/* The program's packet, made one to the server by its name, gets another endpoint's name instead; `mac`: it had that. */
static __always_inline bool client_replace_locator(struct __sk_buff *skb, const struct packet *packet,
						   const struct connection *entry, const __u8 *mac, __u32 from,
						   __u32 to)
{
	if (!remove_locator(skb, packet, DESTINATION, from, &entry->locator, mac))
		return false;
	return put_locator(skb, packet, DESTINATION, to, &entry->locator);
}

/*
 * Nothing has come from the announced port: the packet goes there once more, and to the port before. The server
 * answers from the one on which it was reached first, which decides (client_check_source()).
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
	if ((entry->wire | entry->before) >> 16 &&
	    !client_replace_locator(skb, packet, entry, mac, entry->wire, entry->before))
		return DROP;
	word = segment->word & ~confirm_bit();
	if (entry->before == entry->opened)
		word |= redirect_bit();
	return rewrite(skb, packet, segment, sport, port_of(entry->before), word);
}

/* Does a packet have the connection's name already? Then it is what client_try_both() has sent on its way. */
static __always_inline bool client_has_locator(struct __sk_buff *skb, const struct packet *packet,
					       const struct connection *entry)
{
	switch (kind_of(entry->wire)) {
	case LOCATOR_MAC:
		return has_mac(skb, DESTINATION, entry->locator.mac);
	case LOCATOR_LABEL:
		return has_label(skb, packet, entry->locator.label);
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

	if (kind_of(entry->wire)) {
		if (client_has_locator(skb, packet, entry))
			return PASS;
		if (bpf_skb_load_bytes(skb, 0, mac, sizeof(mac)) ||
		    !put_locator(skb, packet, DESTINATION, entry->wire, &entry->locator))
			return DROP;
	}
	sport = client_port_of(entry, segment.sport);
	if ((entry->flags & (FIN_INJECTED | CLOSE_ARMED)) && cancel_close(entry))
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
	if (!(entry->flags & CONFIRMED)) {
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

/* Segments that this host's programs send (step 3). */
#pragma once

#include "../readdress.h"
#include "close.h"
#include "settings.h"
#include "syn.h"

/*
 * Has the announced endpoint been silent for so long that the one before is to be tried as well? An acknowledgement
 * gets no answer, so silence counts from the first data or FIN.
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

/*
 * Replace the locator of endpoint `from` in a packet by that of endpoint `to`. `mac` is the packet's original MAC
 * address.
 */
static __always_inline bool client_replace_locator(struct __sk_buff *skb, const struct packet *packet,
						   const struct connection *entry, const __u8 *mac, __u32 from,
						   __u32 to)
{
	if (!remove_locator(skb, packet, DESTINATION, from, &entry->locator, mac))
		return false;
	return put_locator(skb, packet, DESTINATION, to, &entry->locator);
}

/*
 * The announced endpoint is silent: send the packet there and to the endpoint before. The server answers from the one
 * it was reached at first, which decides (client_check_source()).
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

/* Does a packet already have the connection's locator? Then it is a copy that client_try_both() has sent. */
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
	 * Not bound: set REDIRECT on every packet, because the switch decides per packet on (port, REDIRECT). So the
	 * connection stays with its pool, whatever the policy for plain clients is.
	 */
	if (entry->state != BOUND)
		return rewrite(skb, packet, &segment, sport, port_of(entry->wire), word | redirect_bit());

	/*
	 * Step 3: CONFIRM, and the option where there is room, until the server has answered from the wire's endpoint.
	 */
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
		word |= confirm_bit(); /* tells it from a router's reset, which has none: server/resets.h */
	return rewrite(skb, packet, &segment, sport, port_of(entry->wire), word | label_bits(entry));
}

/* Segments that arrive for this host's programs. */
#pragma once

#include "close.h"
#include "redirect.h"
#include "source.h"
#include "synack.h"

/* Replace a service address by the VIP, which the program knows. */
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
	if (alias && (alias->flags & CONFIRMED) && simple)
		return client_restore(skb, packet, &alias->vip)
			       ? rewrite(skb, packet, &segment, alias->port, alias->client_port, segment.word)
			       : DROP;

	if (!scratch)
		return PASS;
	key = &scratch->received;
	*key = packet->key;
	entry = alias ? follow(key, alias) : bpf_map_lookup_elem(&connections, key);
	if (!entry)
		return alias ? DROP : PASS; /* the kernel would reset what comes to a port that is given up */
	note_use(entry, &segment);
	if (!alias && (entry->flags & (CONFIRMED | LEAVING)) == CONFIRMED && simple &&
	    port_of(entry->wire) == key->port && kind_of(entry->wire) != LOCATOR_ADDRESS)
		return PASS;
	if (!client_restore(skb, packet, &key->vip))
		return DROP;
	if ((entry->flags & (FIN_INJECTED | CLOSE_ARMED)) && cancel_close(entry))
		return ended_ingress(skb, packet, &segment, key, entry);
	if (is_synack(&segment))
		return client_synack(skb, packet, &segment, key, entry);
	if (may_announce(&segment)) {
		struct announcement found = read_option(skb, packet, &segment);

		if (found.flags & OPTION_REDIRECT)
			return client_announcement(skb, packet, &segment, key, entry, &found);
	}
	if (!client_check_source(skb, packet, &segment, key, entry, alias))
		return DROP;
	return rewrite(skb, packet, &segment, key->port, key->client_port, segment.word);
}

/* Segments that arrive for this host's programs. */
#pragma once

#include "client_port.h"
#include "handshake.h"
#include "locator.h"
#include "ports.h"
#include "reflect.h"
#include "resets.h"
#include "second_chance.h"

static __noinline int server_ingress_tcp(struct __sk_buff *skb, struct packet *packet)
{
	struct connection *entry, *half;
	struct segment segment;
	struct key *key = &packet->key;
	struct alias *alias;

	if (!read_tcp(skb, packet, &segment, TO_VIP))
		return PASS;
	if (!server_take_locator(skb, packet, &segment))
		return DROP;
	key->port = application_of(segment.dport);
	entry = bpf_map_lookup_elem(&connections, key);
	alias = entry ? NULL : bpf_map_lookup_elem(&aliases, key);
	if (alias) {
		entry = follow(key, alias);
		if (!entry || (is_syn(&segment) && entry->client_port != segment.sport)) {
			/* A port that the client once announced now belongs to another connection. */
			key->client_port = segment.sport;
			if (claim(&alias->flags))
				bpf_map_delete_elem(&aliases, key);
			entry = NULL;
		}
	}
	if (is_syn(&segment))
		return server_syn(skb, packet, &segment, key, entry);

	if (!entry) {
		half = find_half_open(key);
		if (half && (half->flags & SYNACK_SENT)) {
			if (!server_complete_handshake(skb, key, half, &segment)) {
				count(COUNT_wrong_port);
				return DROP;
			}
		} else if (key->port != segment.endpoint) {
			server_rebuild(skb, &segment, key);
		} else {
			return server_second_chance(skb, key, &segment);
		}
		return rewrite(skb, packet, &segment, key->client_port, key->port, segment.word);
	}
	if (segment.sport != client_port_of(entry, key->client_port)) {
		if (is_reset_from_other_port(&segment))
			return DROP;
		server_follow_client(skb, packet, &segment, key, entry);
	}
	if (segment.endpoint == entry->wire) {
		if ((entry->flags & SERVER_PORT_MOVING) && entry->target == entry->wire)
			clear(entry, SERVER_PORT_MOVING);
		if (!(entry->flags & CLIENT_CONFIRMED) && entry->state == BOUND &&
		    confirms_endpoint(skb, packet, &segment, entry) &&
		    is_acceptable(skb, &segment, key, SERVER, entry)) {
			set(entry, CLIENT_CONFIRMED);
			clear(entry, SENDING_TO_BOTH);
			if ((entry->flags & CLIENT_PORT_MOVING) && entry->client_port) {
				clear(entry, CLIENT_PORT_MOVING);
				count(COUNT_client_moved);
			}
		}
	} else if (!server_other_port(skb, packet, &segment, key, entry)) {
		count(COUNT_wrong_port);
		return DROP;
	} else if (is_closing(entry)) {
		note_orphan(key, &segment); /* a reset must leave from where this came */
	}
	if (may_announce(&segment)) {
		struct announcement found = read_option(skb, packet, &segment);

		if (found.flags & OPTION_REDIRECT) {
			server_announcement(skb, packet, &segment, key, entry, &found);
			return DROP; /* unanswered: answers are rationed (RFC 5961, 10); the new port needs one */
		}
	}
	note_use(entry, &segment);
	if ((segment.word & TCP_RST) && is_middlebox_reset(entry, &segment)) {
		if (entry->state == BOUND)
			set(entry, SENDING_TO_BOTH);
		else
			clear(entry, SENDING_TO_BOTH);
		return DROP;
	}
	if (segment.word & (TCP_FIN | TCP_RST))
		note_remote(skb, key, entry, &segment, SERVER);
	if (is_reset_without_socket(entry, &segment)) {
		struct numbers numbers = expected_by_client(skb, key, entry);

		if (!reflect(skb, packet, &segment, port_of(entry->opened), &numbers))
			return DROP;
	}
	if ((entry->flags & SOCKET_ELSEWHERE) && (segment.word & TCP_ACK))
		entry->fin_seq = segment.ack;
	return rewrite(skb, packet, &segment, key->client_port, key->port, segment.word);
}

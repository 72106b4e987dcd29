/*
 * The host agents: the redirect protocol for unmodified programs, IPv4 TCP, on tc's clsact hooks.
 *
 * A client loads client_egress and client_ingress, a server the other two; a host that is both loads all four. Each
 * program decides in the order: not ours (leave at once), ICMP error, TCP segment of a connection.
 */
#include "server.h"
#include "sweep.h"

#define HOOK(role, direction)                                                   \
	SEC("tc")                                                               \
	int role##_##direction(struct __sk_buff *skb)                           \
	{                                                                       \
		struct packet packet;                                           \
                                                                                \
		if (!read_ip(skb, &packet))                                     \
			return PASS;                                            \
		if (packet.protocol == IPPROTO_TCP)                             \
			return role##_##direction##_tcp(skb, &packet);          \
		if (packet.protocol == IPPROTO_ICMP)                            \
			return role##_##direction##_icmp(skb, &packet);         \
		return PASS;                                                    \
	}

HOOK(client, egress)
HOOK(client, ingress)
HOOK(server, egress)
HOOK(server, ingress)

/* Remove what has aged as of `now`, a tick given by the agent's process. */
SEC("syscall")
int sweep(struct sweep *request)
{
	struct sweep copy = {.now = request->now};

	bpf_for_each_map_elem(&connections, sweep_one, &copy, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Apache-2.0";

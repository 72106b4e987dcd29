/*
 * The host agents: the redirect protocol for unmodified programs, TCP over IPv4 and IPv6, at tc's hooks (tcx or
 * clsact).
 *
 * A client loads the client's programs, a server the server's; a host that is both loads both. Each program first lets
 * packets pass that are not for it, then handles ICMP errors and TCP segments.
 */
#include "client/announce.h"
#include "client/egress.h"
#include "client/icmp.h"
#include "client/ingress.h"
#include "server/announce.h"
#include "server/egress.h"
#include "server/icmp.h"
#include "server/ingress.h"
#include "sweep.h"

#define HOOK(role, direction, services, side)                                                                          \
	SEC("tc")                                                                                                      \
	int role##_##direction(struct __sk_buff *skb)                                                                  \
	{                                                                                                              \
		struct packet packet;                                                                                  \
                                                                                                                       \
		if (!read_ip(skb, &packet, &role##_settings.vips, services, side))                                     \
			return PASS;                                                                                   \
		if (packet.protocol == IPPROTO_TCP)                                                                    \
			return role##_##direction##_tcp(skb, &packet);                                                 \
		return role##_##direction##_icmp(skb, &packet);                                                        \
	}

HOOK(client, egress, NULL, TO_VIP)
HOOK(client, ingress, &client_settings.services, FROM_VIP)
HOOK(server, egress, NULL, FROM_VIP)
HOOK(server, ingress, &server_settings.services, TO_VIP)

/* Make an announcement of a frame: probe.h. */
SEC("tc")
int server_announce(struct __sk_buff *skb)
{
	return make_server_announcement(skb, skb->cb[0], skb->cb[1]);
}

SEC("tc")
int client_announce(struct __sk_buff *skb)
{
	return make_client_announcement(skb, skb->cb[0], skb->cb[1]);
}

/* End the stream of a program whose connection is to be opened elsewhere: client/close.h. */
SEC("tc")
int client_end(struct __sk_buff *skb)
{
	return end_program(skb, skb->cb[0]);
}

/* Ageing: sweep.h. */
SEC("tc")
int client_sweep(struct __sk_buff *skb)
{
	return sweep_tables(skb, CLIENT);
}

SEC("tc")
int server_sweep(struct __sk_buff *skb)
{
	return sweep_tables(skb, SERVER);
}

/* Send a frame past a hook (flags in cb[1]) of interface cb[0]: `portlb agent health` counts which programs run. */
SEC("tc")
int probe(struct __sk_buff *skb)
{
	return bpf_clone_redirect(skb, skb->cb[0], skb->cb[1]);
}

/*
 * Neither read nor loaded. It puts the enumerations into the object's BTF, where the process and the commands read the
 * values and compare them with those of the running programs.
 */
const volatile struct {
	enum state state;
	enum flag flag;
	enum call_result call_result;
} vocabulary SEC(".rodata.vocabulary");

char LICENSE[] SEC("license") = "Apache-2.0";

/*
 * Every way an agent can succeed or fail, named once. The C code and the Python code both read this table: the line
 * number in it is the index in the per-CPU array. Append only: a running agent's counters outlive an upgrade.
 */
#define COUNTERS(COUNTER) \
	COUNTER(syn_marked, "client: SYN sent with REDIRECT") \
	COUNTER(bound, "client: SYN/ACK accepted with CONFIRM and a port to continue on") \
	COUNTER(confirmed, "client: first packet heard from the announced port") \
	COUNTER(plain, "client: SYN/ACK accepted without CONFIRM, connection stays on its port") \
	COUNTER(unredirected, "client: SYN/ACK accepted with CONFIRM but no usable port, connection stays on its port") \
	COUNTER(forged_synack, "client: SYN/ACK dropped, its acknowledgement does not answer the SYN") \
	COUNTER(second_synack, "client: SYN/ACK dropped, it differs from the one the connection is bound to") \
	COUNTER(from_old_port, "client: packet dropped, it came from the port the connection has left") \
	COUNTER(bad_option, "client: REDIRECT option malformed, read as absent") \
	COUNTER(syn_redirect, "server: SYN received with REDIRECT") \
	COUNTER(announced, "server: SYN/ACK sent with CONFIRM and a port to continue on") \
	COUNTER(supported, "server: SYN/ACK sent with CONFIRM and no port") \
	COUNTER(redirected, "server: first packet received on the announced port") \
	COUNTER(rebuilt, "server: unknown connection on a service port, entry rebuilt from the static table") \
	COUNTER(stayed, "server: client went on at the old port although another was announced") \
	COUNTER(wrong_port, "server: packet dropped, its connection is on another port") \
	COUNTER(no_room, "server: SYN/ACK sent without the option, the TCP header is full") \
	COUNTER(collision, "SYN dropped or announced port refused: a live connection uses those port numbers") \
	COUNTER(icmp_translated, "ICMP error: port in the quoted header translated") \
	COUNTER(icmp_truncated, "ICMP error: too little quoted to find the ports, passed untouched") \
	COUNTER(fragment, "IPv4 fragment to or from the VIP passed untouched") \
	COUNTER(ipv6, "IPv6 packet passed untouched") \
	COUNTER(malformed, "TCP header to or from the VIP cut short, passed untouched") \
	COUNTER(map_full, "connection not remembered: the map took no entry") \
	COUNTER(rewrite_failed, "packet dropped: the kernel could not make it writable") \
	COUNTER(swept_closing, "entry removed: closed, then silent for 60 s") \
	COUNTER(swept_opening, "entry removed: half-open and silent for 180 s") \
	COUNTER(swept_idle, "entry removed: silent for 5 days")

/* Room for counters to come, so that adding one does not change the map's layout. */
#define COUNTERS_MAX 64

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
	COUNTER(tried_both, "client: announced port silent, packet sent to it and to the port left") \
	COUNTER(fallen_back, "client: announced port silent, connection goes on at the port it had left") \
	COUNTER(remembered, "client: announced port not followed, the path was silent before") \
	COUNTER(moved, "client: connection moved in place to another port of its server") \
	COUNTER(reopen, "client: connection of a program to close and open at another port") \
	COUNTER(steered, "client: SYN sent to the port an earlier connection was redirected to") \
	COUNTER(unsteered, "client: SYN sent to the program's port, the port of the redirect did not answer") \
	COUNTER(own_port_moved, "client: server follows to another client port") \
	COUNTER(repaired, "client: segment accepted from the port left, the server has lost its entry") \
	COUNTER(forged_synack, "client: SYN/ACK dropped, its acknowledgement does not answer the SYN") \
	COUNTER(second_synack, "client: SYN/ACK dropped, it differs from the one the connection is bound to") \
	COUNTER(from_old_port, "client: packet dropped, it came from the port the connection has left") \
	COUNTER(bad_option, "REDIRECT option malformed, read as absent") \
	COUNTER(forged_announcement, "announcement dropped, it is not in the socket's window") \
	COUNTER(refused_announcement, "announcement dropped, the connection cannot go where it says") \
	COUNTER(syn_redirect, "server: SYN received with REDIRECT") \
	COUNTER(arrived, "server: SYN received of a connection redirected to here") \
	COUNTER(announced, "server: SYN/ACK sent with CONFIRM and a port to continue on") \
	COUNTER(supported, "server: SYN/ACK sent with CONFIRM and no port") \
	COUNTER(redirected, "server: first packet received on the announced port") \
	COUNTER(rebuilt, "server: socket without an entry, entry rebuilt from the static table") \
	COUNTER(stayed, "server: client went on at the old port although another was announced") \
	COUNTER(server_moved, "server: client follows in place to another port") \
	COUNTER(client_moved, "server: client's port replaced by another one it announced") \
	COUNTER(wrong_port, "server: packet dropped, its connection is on another port") \
	COUNTER(no_room, "option not sent, the TCP header is full") \
	COUNTER(collision, "SYN dropped or announced port refused: a live connection uses those port numbers") \
	COUNTER(icmp_translated, "ICMP error: port or address in the quoted header translated") \
	COUNTER(icmp_truncated, "ICMP error: too little quoted to find the ports, passed untouched") \
	COUNTER(fragment, "IP fragment passed untouched") \
	COUNTER(extension, "IPv6 packet passed untouched, its extension headers are not walked") \
	COUNTER(malformed, "TCP header to or from the VIP cut short, passed untouched") \
	COUNTER(map_full, "connection opened plainly or not remembered: the table was full") \
	COUNTER(rewrite_failed, "packet dropped: the kernel could not make it writable") \
	COUNTER(swept_closing, "entry removed: closed, then silent for 60 s") \
	COUNTER(swept_opening, "entry removed: half-open and silent for 180 s") \
	COUNTER(swept_idle, "entry removed: silent for 5 days") \
	COUNTER(foreign_name, "client: announced locator not followed, it is not among those allowed") \
	COUNTER(made_room, "entry removed: closed less than 60 s ago, and the table was full") \
	COUNTER(swept_gone, "entry removed: open and silent, and its socket is gone") \
	COUNTER(signed, "SYN passed untouched, it has a TCP MD5 or TCP-AO signature") \
	COUNTER(reset_from_old_port, "client: reset accepted from a port the connection has left") \
	COUNTER(forged_error, "client: ICMP error dropped, its quote is of no segment in flight") \
	COUNTER(answered_as_asked, "server: answer to a segment without an entry, sent from the port it came to") \
	COUNTER(sent_from_both, "server: announced port not confirmed, packet sent from it and from the port left") \
	COUNTER(reflected, "server: reset of a client without the entry, also sent from the port it opened on") \
	COUNTER(handed_back, "server: segment without a socket sent back, for the server that its slot had before") \
	COUNTER(no_former, "server: segment without a socket passed, no server is left that its slot had before") \
	COUNTER(kept_elsewhere, "server: segment without a socket passed, no program of this network namespace has its port") \
	COUNTER(kept_cookie, "server: segment without a socket passed, it answers a SYN cookie")

/* Room for counters to come, so that adding one does not change the map's layout. */
#define COUNTERS_MAX 64

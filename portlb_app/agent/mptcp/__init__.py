"""MPTCP on a server: its kernel tells clients to go on at the server's own port (row B2, RFC 8684)."""

"""REST: requests to values. No sockets."""

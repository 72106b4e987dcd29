"""The OpenFlow side: listener, channel, session, codec, packet-in worker, the process with the tables."""

"""Composition: the Ryu application, HTTP server, clock and signals."""

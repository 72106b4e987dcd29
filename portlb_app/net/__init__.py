"""Bytes of packets: bounds-checked parsers, checksums and the redirect option. Knows no OpenFlow."""

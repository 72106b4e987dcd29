"""Bytes of packets: bounds-checked parsers, checksums and the redirect option; lines of logs. Knows no OpenFlow."""

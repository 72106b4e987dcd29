/* The redirect protocol's numbers on the wire (docs/protocol.md, "Wire format"). */
#pragma once

/* Flags as Open vSwitch's 12-bit tcp_flags: the low 12 bits of the 16-bit word at offset 12 of the TCP header. */
#define TCP_FIN 0x001
#define TCP_SYN 0x002
#define TCP_RST 0x004
#define TCP_ACK 0x010
#define TCP_FLAGS 0xfff
#define REDIRECT 0x800
#define REDIRECT_CONFIRM 0x400

/* REDIRECT_OPT: kind, length, ExID (RFC 6994), flags and type, reserved, value. Only the "port" type here. */
#define OPTION_KIND 253
#define OPTION_LENGTH 8
#define OPTION_EXID 0x5250
#define OPTION_TYPE_PORT 1
#define OPTION_FLAG_CONFIRM 0x4

#define TCP_HEADER 20
#define TCP_HEADER_MAX 60
#define TCP_OPTIONS_MAX 40

/* The redirect protocol's numbers on the wire (docs/protocol.md, "On the wire"). */
#pragma once

/* Flags as Open vSwitch's 12-bit tcp_flags: the low 12 bits of the 16-bit word at offset 12 of the TCP header. */
#define TCP_FIN 0x001
#define TCP_SYN 0x002
#define TCP_RST 0x004
#define TCP_ACK 0x010
#define TCP_FLAGS 0xfff
#define REDIRECT 0x800
#define REDIRECT_CONFIRM 0x400

/*
 * REDIRECT_OPT: kind, length, ExID (RFC 6994), flags and type (4 bits each), reserved, value. It is the last option.
 * Type "none" has no value: 6 bytes, here behind two bytes of padding. Type "port" has 8 bytes. The types with a
 * locator are padded to 16 bytes; a SYN/ACK of Linux has room for 16 to 20.
 */
#define OPTION_KIND 253
#define OPTION_LENGTH 8
#define OPTION_LENGTH_NONE 6
#define OPTION_LENGTH_ADDRESS4 10
#define OPTION_LENGTH_MAC 12
#define OPTION_LENGTH_ADDRESS6 14
#define OPTION_LENGTH_LABEL 10
#define OPTION_LENGTH_MAX 14
#define OPTION_LENGTH_LOCATOR 16 /* padded */
#define LABEL_MASK 0xfffff
#define OPTION_EXID 0x5250
#define OPTION_TYPE_NONE 0
#define OPTION_TYPE_PORT 1
#define OPTION_TYPE_ADDRESS4 2
#define OPTION_TYPE_MAC 3
#define OPTION_TYPE_ADDRESS6 4 /* the last 64 bits; the first 64 are the VIP's */
#define OPTION_TYPE_LABEL 5

#define OPTION_REDIRECT 0x8 /* asks for a redirect, or announces one */
#define OPTION_CONFIRM 0x4
#define OPTION_RESET 0x2    /* announcement: leave the old connection by RST instead of FIN */
#define OPTION_IN_PLACE 0x1 /* announcement: go on at the announced port without a new handshake */

#define TCP_HEADER 20
#define TCP_HEADER_MAX 60
#define TCP_OPTIONS_MAX 40

/* An announcement in the middle of a connection has no data and no other option. */
#define ANNOUNCEMENT_HEADER (TCP_HEADER + OPTION_LENGTH)

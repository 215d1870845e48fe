/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an agent and its keeper say to one another: struct ly_keeper_msg, one a
 * packet, over a SEQPACKET Unix socket. Both are on one machine, so numbers
 * are the machine's own. An agent may be newer than its keeper: what is here
 * does not change within LY_KEEPER_VERSION.
 *
 *	agent says		then the keeper
 *	PUT and a descriptor	has it under that key; a former one is closed
 *	DROP			closes it
 *	GET			says HELD with each, then END
 *	QUIT			ends
 *
 *	keeper says
 *	HELD and a descriptor
 *	END
 *	LOST			a PUT's descriptor did not fit into its table
 *				of descriptors (RLIMIT_NOFILE)
 *
 * The first thing an agent says comes within LY_KEEPER_PATIENCE_S, or its
 * connection is closed; so is one that says anything else.
 */
#ifndef LY_AGENT_KEEPER_KEEPER_H
#define LY_AGENT_KEEPER_KEEPER_H

#include <stdint.h>

#define LY_KEEPER_VERSION 0x4c594b31u /* "LYK1" */
#define LY_KEEPER_KINDS 3
#define LY_KEEPER_INDEXES 16384 /* of a kind; more is not for us: closed */
#define LY_KEEPER_WHICHES 4
#define LY_KEEPER_NAME 32
#define LY_KEEPER_PATIENCE_S 2

enum ly_keeper_op {
	LY_KEEPER_PUT = 1,
	LY_KEEPER_DROP = 2,
	LY_KEEPER_GET = 3,
	LY_KEEPER_QUIT = 4,
	LY_KEEPER_HELD = 5,
	LY_KEEPER_END = 6,
	LY_KEEPER_LOST = 7,
};

/* The key is (kind, index, which); the name is the agent's own affair, and is
 * kept for the last kind alone (whose indexes are LY_KEEPER_NAMED). */
#define LY_KEEPER_NAMES (LY_KEEPER_KINDS - 1)
#define LY_KEEPER_NAMED 32

struct ly_keeper_msg {
	uint32_t version;
	uint32_t op;
	uint32_t kind, index, which;
	char name[LY_KEEPER_NAME];
};

#endif

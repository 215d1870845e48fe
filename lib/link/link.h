/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conversation over one connection, as a pure machine: it is told what
 * happened (bytes, frames, time) and says what to do. lib/io/conn.c performs.
 *
 *   CONNECTING  the address is resolved, the socket connects   (dialler only)
 *   TLS	 the handshake runs
 *   GREETING	 dialler: HELLO is sent; listener: HELLO is awaited
 *   UP		 frames are delivered
 *   CLOSING	 the owner has been told; what was sent, BYE last, gets a
 *		 moment to arrive, whatever comes in is dropped
 *   CLOSED	 the socket is closed
 *
 * Invariants: END is said exactly once, on leaving the first four states; DROP
 * exactly once, on entering CLOSED; OPEN or OFFER at most once; DELIVER only
 * in UP. No state but UP lasts longer than a limit.
 *
 * Life. Only bytes heard are a sign of it: what we write the kernel takes for
 * a dead peer too. After `ping_ms` of silence the dialler asks (the listener
 * half as long again later, so that it normally need not), after `dead_ms`
 * the peer is dead. While the owner holds the connection we do not read, so
 * silence proves nothing: then we only ping, for the other's benefit. Nor
 * does it when the ticks themselves stayed away: then it was we who slept.
 */
#ifndef LY_LINK_LINK_H
#define LY_LINK_LINK_H

#include "lib/wire/message.h"

enum ly_link_state {
	LY_LINK_CONNECTING,
	LY_LINK_TLS,
	LY_LINK_GREETING,
	LY_LINK_UP,
	LY_LINK_CLOSING,
	LY_LINK_CLOSED,
	LY_LINK_STATES
};

enum ly_link_news {
	LY_LINK_CONNECTED, /* the socket is connected */
	LY_LINK_SECURED,   /* TLS is up with whom we want; `until_s` */
	LY_LINK_DISTRUST,  /* TLS is up, but not with whom we want; rc, why */
	LY_LINK_HELLO,	   /* `proto`, `purpose` */
	LY_LINK_WELCOME,   /* `proto` */
	LY_LINK_PING,	   /* `stamp` */
	LY_LINK_PONG,	   /* `stamp` */
	LY_LINK_BYE,	   /* `rc` */
	LY_LINK_OTHER,	   /* any other frame */
	LY_LINK_CONSENT,   /* the owner accepts what was OFFERed */
	LY_LINK_READ,	   /* bytes came: `frames` whole ones, `half` a frame
			    * is left over */
	LY_LINK_WROTE,	   /* the kernel took bytes; `pending`: not all */
	LY_LINK_HELD,	   /* `held`: reading stops or goes on */
	LY_LINK_TICK,	   /* time passes: now_ms, and wall_s by the calendar */
	LY_LINK_GONE,	   /* the socket is closed or broken; rc, why */
	LY_LINK_CLOSE,	   /* our side wants an end, and says why; rc, why */
	LY_LINK_NEWS
};

struct ly_link_event {
	enum ly_link_news kind;
	uint64_t now_ms; /* monotonic; every event has it */
	uint64_t wall_s, until_s;
	uint64_t stamp;
	uint32_t frames;
	uint16_t proto;
	uint8_t purpose;
	bool half, pending, held;
	enum ly_rc rc;
	const char *why;
};

enum ly_link_act {
	LY_LINK_SEND_HELLO,
	LY_LINK_SEND_PING, /* `stamp` */
	LY_LINK_SEND_PONG, /* `stamp` */
	LY_LINK_SEND_BYE,  /* `rc` */
	LY_LINK_OFFER,	   /* ask the owner whether he accepts this HELLO; then
			    * WELCOME and CONSENT, or CLOSE */
	LY_LINK_OPEN,	   /* tell the owner that it is up */
	LY_LINK_DELIVER,   /* give the owner this frame */
	LY_LINK_END,	   /* tell the owner that it is over: rc, why */
	LY_LINK_SHUT,	   /* send what is to be sent, then shut our side */
	LY_LINK_DROP,	   /* close the socket */
};

struct ly_link_todo {
	unsigned n;
	struct {
		enum ly_link_act act;
		enum ly_rc rc;
		uint64_t stamp;
		const char *why; /* lives as long as the event and the link */
	} item[4];
};

/* All in milliseconds. What happens at each is said behind it. */
struct ly_link_limits {
	uint32_t handshake_ms; /* from the first packet to UP: end */
	uint32_t half_ms;      /* from a frame's first byte to its last: end */
	uint32_t ping_ms;      /* silence: PING */
	uint32_t dead_ms;      /* silence: end */
	uint32_t stall_ms;     /* bytes are pending and none is taken: end */
	uint32_t linger_ms;    /* in CLOSING: the socket is closed */
};
/* Of a purpose; of an unknown one, those of the greeting. */
const struct ly_link_limits *ly_link_limits(unsigned purpose);

struct ly_link {
	enum ly_link_state state;
	bool listening;
	bool half, held, pending;
	struct ly_link_limits limits;
	bool fixed; /* limits were given: the purpose does not change them */
	uint64_t began_ms;   /* of the conversation, then of CLOSING */
	uint64_t heard_ms;   /* last byte heard */
	uint64_t pinged_ms;  /* last PING sent */
	uint64_t half_ms;    /* first byte of the half frame */
	uint64_t took_ms;    /* last time the kernel took bytes */
	uint64_t ticked_ms;  /* last TICK */
	uint64_t until_s;    /* by the calendar: certificates expire */
	uint64_t greeted_ms; /* HELLO was sent, or awaited from here on */
	uint64_t rtt_ms;     /* of the last PING that was answered, or HELLO */
	char text[96];	     /* why, where the machine itself knows */
};

/* TICKs come more often than this, or we have slept. */
#define LY_LINK_SLEPT_MS 1000

/* `limits` NULL: those of the purpose. `purpose` 0 for a listener. */
void ly_link_init(struct ly_link *l, bool listening, unsigned purpose,
    const struct ly_link_limits *limits, uint64_t now_ms);
/* Sets `todo` anew. */
void ly_link_step(struct ly_link *l, const struct ly_link_event *ev,
    struct ly_link_todo *todo);
const char *ly_link_state_name(unsigned state);

#endif

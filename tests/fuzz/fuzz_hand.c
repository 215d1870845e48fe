/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests, answers of the TPM and the stream's side in any order into one
 * attested migration. Two bytes are one event. Checked after every step, of
 * what hand.h promises: a key is made or loaded once, for the right evidence;
 * what is asked of the TPM is asked by the state before it; nothing goes on
 * without the destination's proof; at an end the keys go, and stay away.
 */
#include "agent/attest/hand.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct world {
	struct ly_hand h;
	uint64_t now_ms;
	struct ly_call call;
	bool key; /* there may be one */
};

static void
must(bool so)
{
	if (!so)
		abort();
}

static bool
is_end(enum ly_hand_state s)
{
	return s == LY_HAND_ENDED || s == LY_HAND_DESTROYED ||
	    s == LY_HAND_ARRIVED;
}

/* What was begun follows from where it was. */
static void
check_act(const struct world *w, enum ly_hand_state was,
    const struct ly_hand_event *ev, const struct ly_hand_todo *t)
{
	switch (t->act) {
	case LY_HAND_DO_QUOTE:
		must(was == LY_HAND_NONE);
		break;
	case LY_HAND_DO_MAKE:
	case LY_HAND_DO_IMPORT:
		/* The same bytes again say the same. */
		must((was == LY_HAND_QUOTED &&
			 strcmp(ev->said->id, w->h.peer) == 0 &&
			 ev->said->role != w->h.role) ||
		    (was == LY_HAND_IMPORTED && t->wipe));
		break;
	case LY_HAND_DO_UNLOCK:
		must(was == LY_HAND_IMPORTED);
		break;
	case LY_HAND_DO_GO:
		must(ev->kind != LY_HAND_COPY || ev->ok);
		must(w->key || t->wipe);
		break;
	case LY_HAND_DO_REFUSE:
		must(t->rc != LY_OK && *t->text);
		break;
	case LY_HAND_DO_ANSWER:
	case LY_HAND_DO_WAIT:
		must(was != LY_HAND_NONE && was != LY_HAND_ENDED);
		break;
	case LY_HAND_DO_NOTHING:
		break;
	}
}

static void
step(struct world *w, const struct ly_hand_event *ev)
{
	enum ly_hand_state was = w->h.state;
	struct ly_hand before = w->h;
	struct ly_hand_todo t;

	ly_hand_step(&w->h, ev, &t);
	if (w->h.state == LY_HAND_MADE || w->h.state == LY_HAND_UNLOCKED)
		w->key = true;
	check_act(w, was, ev, &t);
	must(!is_end(w->h.state) || was == w->h.state || t.wipe);
	must(!is_end(was) || w->h.state == was);
	if (t.wipe)
		w->key = false;
	must(was == LY_HAND_NONE ||
	    (w->h.role == before.role &&
		memcmp(w->h.nonce, before.nonce, sizeof(before.nonce)) == 0));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct world w = { .now_ms = 1000,
		.call = { .source = "a", .dest = "b", .expires = 100 } };

	for (size_t i = 0; i + 1 < len; i += 2) {
		uint8_t a = data[i] / LY_HAND_KINDS, b = data[i + 1];
		struct ly_hand_said said = { .role = b & 3,
			.id = b & 4 ? "a" : "b" };
		struct ly_hand_event ev = { .kind = data[i] % LY_HAND_KINDS,
			.role = a & 1 ? LY_AS_SOURCE : LY_AS_DEST,
			.call = &w.call,
			.said = &said,
			.asked = { a >> 1 & 1 },
			.ok = b & 8,
			.rc = b & 16 ? LY_OK : (enum ly_rc)(b >> 5),
			.text = "no" };

		w.call.nonce[0] = (uint8_t)(b >> 7 & a);
		w.now_ms += (uint64_t)(b & 15) * 1000;
		ev.now_ms = w.now_ms;
		ev.now_s = w.now_ms / 2000;
		step(&w, &ev);
	}
	return 0;
}

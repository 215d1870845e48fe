/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an endpoint's owner has to have: a slot with a keeper behind it, and a
 * turn that commits what ly_guest_keep() gives. A scene can be left without its
 * end, as by an agent that dies, and found again in the same directory.
 */
#ifndef LY_TESTS_IO_KEEP_SCENE_H
#define LY_TESTS_IO_KEEP_SCENE_H

#include "agent/io/guest.h"
#include "tests/test.h"

struct keep_scene {
	char run[32];
	uv_loop_t *loop;
	struct ly_keep *keep;
	struct ly_slot *slot;
	struct ly_turn turn;
	struct ly_guest *g;
	void (*after)(void *arg); /* in settle; may be NULL */
	void *arg;
	unsigned commits;
};

static inline void
keep_scene_commit(void *arg)
{
	struct keep_scene *s = arg;
	struct ly_guest_kept kept = { .have = 0 };

	if (!s->g)
		return;
	ly_guest_keep(s->g, &kept);
	ly_slot_commit(s->slot, &kept, sizeof(kept));
	s->commits++;
}

static inline void
keep_scene_settle(void *arg)
{
	struct keep_scene *s = arg;

	if (s->g)
		ly_guest_settle(s->g);
	if (s->after)
		s->after(s->arg);
}

static inline bool
keep_scene_go_on(void *arg)
{
	struct keep_scene *s = arg;

	return s->g && ly_guest_go_on(s->g);
}

static const struct ly_turn_ops keep_scene_turn = {
	.commit = keep_scene_commit,
	.settle = keep_scene_settle,
	.go_on = keep_scene_go_on,
};

/* With `share` another scene's keeper is used. */
static inline void
keep_scene_open(struct keep_scene *s, uv_loop_t *loop, struct ly_keep *share)
{
	struct ly_why why = { "" };
	static char keeper[256];

	s->loop = loop;
	s->turn = (struct ly_turn){ .ops = &keep_scene_turn, .arg = s };
	s->keep = share;
	if (!share) {
		snprintf(keeper, sizeof(keeper), "%s/lanyard-keeper",
		    getenv("BUILD") ? getenv("BUILD") : "build");
		ly_keep_program(keeper);
		if (!*s->run) {
			snprintf(s->run, sizeof(s->run),
			    "/tmp/lanyard-run-XXXXXX");
			WANT(mkdtemp(s->run) != NULL);
		}
		if (ly_keep_open(loop, s->run, &s->keep, &why) != LY_OK)
			fail_msg("%s", why.text);
	}
	s->slot = ly_keep_next(s->keep, LY_KEEP_AWAY, NULL);
	if (share || !s->slot)
		s->slot = ly_slot_new(s->keep, LY_KEEP_AWAY);
	WANT(s->slot != NULL);
}

static inline struct ly_guest_params
keep_scene_params(struct keep_scene *s, const char *path,
    const struct ly_guest_ops *ops, void *arg)
{
	return (struct ly_guest_params){ .loop = s->loop,
		.path = path,
		.turn = &s->turn,
		.slot = s->slot,
		.ops = ops,
		.arg = arg };
}

/* Of a scene that is not shared. */
static inline void
keep_scene_end(struct keep_scene *s)
{
	char cmd[80];

	ly_keep_close(s->keep, true);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", s->run);
	WANT_INT(system(cmd), 0);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: the homes of a host, driven as their visitors and their manager
 * do, on a loop, with records in a directory of the test's. The TPM is a
 * socket that nobody answers on.
 */
#ifndef LY_TESTS_HOMES_SCENE_H
#define LY_TESTS_HOMES_SCENE_H

#include "agent/io/homes.h"
#include "lib/wire/signed.h"
#include "tests/io/kept.h"
#include "tests/unit/site.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

static const struct ly_id vm = { { 1 } }, vm2 LY_UNUSED = { { 2 } };
static const char host_a[] = "spiffe://north/host/a";

struct heard {
	unsigned type;
	union ly_any m;
	unsigned n; /* in all */
};

struct scene {
	uv_loop_t loop;
	struct ly_agent agent;
	struct ly_agent_tpm tpms[4];
	struct ly_identity *manager;
	struct heard heard;
	enum ly_rc done_rc;
	enum ly_fate done_fate;
	unsigned done_n;
};

static inline void
on_say(void *arg, unsigned type, const void *m)
{
	struct heard *h = arg;

	h->type = type;
	h->n++;
	memcpy(&h->m, m, ly_message_of(type)->size);
}

static inline void
on_done(void *arg, enum ly_rc rc, enum ly_fate fate, uint64_t epoch,
    const char *why, const char *value)
{
	struct scene *s = arg;

	(void)epoch, (void)why, (void)value;
	s->done_rc = rc;
	s->done_fate = fate;
	s->done_n++;
}

static inline void
open_homes(struct scene *s)
{
	s->agent.keep = kept_open(&s->loop);
	SITE_OK(ly_homes_open(&s->agent, &s->agent.homes, &why));
}

/* Without its homes. */
static inline void
scene_of(struct scene *s)
{
	static unsigned turn;

	*s = (struct scene){ .done_n = 0 };
	uv_loop_init(&s->loop);
	s->agent.loop = &s->loop;
	s->agent.ids = site_host("north", "h");
	s->agent.self = ly_identity_self(s->agent.ids);
	site_certify("north-m", "north", "spiffe://north/manager/m");
	s->manager = site_load("north-m", "trust");
	ly_print(s->agent.conf.state, sizeof(s->agent.conf.state), "%s",
	    site_path("state%u", turn++));
	SITE_OK(ly_file_mkdir(s->agent.conf.state, 0700, &why));
	s->agent.conf.tpms = s->tpms;
	s->agent.conf.tpms_n = LY_COUNT(s->tpms);
	for (unsigned i = 0; i < LY_COUNT(s->tpms); i++) {
		ly_print(s->tpms[i].name, LY_NAME_MAX, "chip%u", i);
		ly_print(s->tpms[i].tcti, sizeof(s->tpms[i].tcti), "socket:%s",
		    site_path("no-tpm"));
	}
	ly_print(s->agent.conf.vault, sizeof(s->agent.conf.vault), "none");
}

/* Where the TPMs are to be: somebody who takes what is sent. */
static inline int
deaf_tpm(void)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(at.sun_path, sizeof(at.sun_path), "%s", site_path("no-tpm"));
	unlink(at.sun_path);
	WANT_INT(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	WANT_INT(listen(fd, 8), 0);
	return fd;
}

static inline void
scene(struct scene *s)
{
	scene_of(s);
	open_homes(s);
}

static inline void
shut(struct scene *s)
{
	ly_homes_close(s->agent.homes);
	ly_keep_close(s->agent.keep, true);
	uv_run(&s->loop, UV_RUN_DEFAULT);
}

static inline void
end(struct scene *s)
{
	shut(s);
	WANT_INT(uv_loop_close(&s->loop), 0);
	ly_identity_free(s->agent.ids);
	ly_identity_free(s->manager);
}

/* Until the manager has been answered `n` times, or a visitor been told. */
static inline void
until(struct scene *s, const unsigned *count, unsigned n)
{
	while (*count < n)
		WANT(uv_run(&s->loop, UV_RUN_ONCE) || *count >= n);
}

static inline void
bind_vm(struct scene *s, const struct ly_id *id)
{
	struct ly_bind m = { .vm = *id, .name = "web" };

	ly_homes_bind(s->agent.homes, &m, on_done, s);
}

static inline void
bound(struct scene *s, const struct ly_id *id)
{
	unsigned n = s->done_n + 1;

	bind_vm(s, id);
	until(s, &s->done_n, n);
	WANT_INT(s->done_rc, LY_OK);
}

static inline void
hear(struct ly_visitor *v, unsigned type, const void *m, enum ly_rc rc)
{
	union ly_any any;
	struct ly_why why;

	memcpy(&any, m, ly_message_of(type)->size);
	WANT_INT(ly_visitor_hear(v, type, &any, &why), rc);
}

static inline void
resume(struct ly_visitor *v, const struct ly_id *id, uint32_t chan)
{
	struct ly_resume m = { .chan = chan, .vm = *id, .epoch = 1 };

	hear(v, LY_RESUME, &m, LY_OK);
}

static inline void
attach(struct scene *s, struct ly_visitor *v, const struct ly_id *id,
    uint32_t chan)
{
	uint8_t tagged[LY_TICKET_MAX], object[LY_TICKET_MAX];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));
	struct ly_ticket t = { .vm = *id,
		.rights = LY_MAY_ATTACH,
		.to_epoch = 1,
		.expires = (uint64_t)time(NULL) + 60 };
	struct ly_attach m = { .chan = chan, .vm = *id };
	size_t len = sizeof(object);

	ly_copy(t.home, sizeof(t.home), s->agent.self->id);
	ly_copy(t.holder, sizeof(t.holder), host_a);
	ly_message_put_tagged(&ly_ticket_message, &t, &w);
	SITE_OK(ly_sign(s->manager, LY_TYPE_TICKET, tagged, ly_wr_len(&w),
	    object, &len, &why));
	m.ticket = (struct ly_bytes){ object, len };
	hear(v, LY_ATTACH, &m, LY_OK);
}

static inline struct ly_visitor *
visitor(struct scene *s)
{
	return ly_visitor_new(s->agent.homes, host_a, on_say, &s->heard);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shell of the homes, and what is kept of them, on a TPM that takes
 * commands and never answers.
 */
#include "agent/io/keep.h"
#include "tests/unit/homes_scene.h"

static const uint8_t random8[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 1, 0x7b, 0, 8 };

static uint8_t secret[LY_SECRET_LEN]; /* of the lease granted last */

/* The guest's reset (which this TPM needs not hear of), then a command. */
static struct ly_visitor *
busy_tpm(struct scene *s)
{
	struct ly_command init = { .op = LY_OP_INIT, .epoch = 1, .seq = 1 };
	struct ly_command c = { .epoch = 1,
		.seq = 2,
		.body = { random8, sizeof(random8) } };
	struct ly_visitor *v;

	for (unsigned i = 0; i < LY_COUNT(s->tpms); i++)
		s->tpms[i].patience_s = 300;
	bound(s, &vm);
	v = visitor(s);
	attach(s, v, &vm, 0);
	until(s, &s->heard.n, 1);
	WANT_INT(s->heard.m.granted.rc, LY_OK);
	memcpy(secret, s->heard.m.granted.secret, sizeof(secret));
	hear(v, LY_COMMAND, &init, LY_OK);
	until(s, &s->heard.n, 2);
	WANT_INT(s->heard.type, LY_ANSWER);
	hear(v, LY_COMMAND, &c, LY_OK);
	return v;
}

/* As by kill -9, but that what was said is said. */
static void
agent_dies(struct scene *s, struct ly_visitor *v)
{
	ly_homes_close(s->agent.homes);
	ly_visitor_free(v);
	ly_keep_close(s->agent.keep, false);
	uv_run(&s->loop, UV_RUN_DEFAULT);
}

static void
agent_ends(struct scene *s, int tpm)
{
	end(s);
	close(tpm);
}

TEST(a_TPM_that_never_answers_is_given_up_and_the_VM_may_leave)
{
	struct ly_detach off = { .epoch = 1 };
	int tpm = deaf_tpm();
	struct ly_visitor *v;
	struct scene s;

	scene(&s);
	v = busy_tpm(&s);
	hear(v, LY_DETACH, &off, LY_OK);
	WANT_INT(s.heard.type, LY_DETACHED);
	WANT_INT(s.heard.m.detached.rc, LY_BUSY);
	for (unsigned i = 0; i < LY_COUNT(s.tpms); i++)
		s.tpms[i].patience_s = 1;
	until(&s, &s.heard.n, 4);
	WANT_INT(s.heard.type, LY_ANSWER);
	WANT_INT(s.heard.m.answer.seq, 2);
	WANT_INT(s.heard.m.answer.body.len, 10);
	WANT_INT(s.heard.m.answer.body.at[8], 1); /* TPM_RC_FAILURE */
	hear(v, LY_DETACH, &off, LY_OK);
	until(&s, &s.heard.n, 5);
	WANT_INT(s.heard.m.detached.rc, LY_OK);
	ly_visitor_free(v);
	agent_ends(&s, tpm);
}

TEST(the_next_agent_waits_for_the_same_answer)
{
	static const uint8_t answer[] = { 0x80, 1, 0, 0, 0, 12, 0, 0, 0, 0, 7,
		7 };
	struct ly_resume r = { .vm = vm, .epoch = 1, .seq = 2, .waiting = 1 };
	int tpm = deaf_tpm(), conn;
	uint8_t asked[64];
	struct ly_visitor *v;
	struct scene s;

	scene(&s);
	v = busy_tpm(&s);
	memcpy(r.secret, secret, sizeof(r.secret));
	agent_dies(&s, v);
	open_homes(&s);
	conn = accept(tpm, NULL, NULL);
	WANT_INT(recv(conn, asked, sizeof(asked), 0), sizeof(random8));
	WANT_INT(send(conn, answer, sizeof(answer), 0), sizeof(answer));
	for (int i = 0; i < 10; i++)
		uv_run(&s.loop, UV_RUN_NOWAIT);
	v = visitor(&s);
	hear(v, LY_RESUME, &r, LY_OK);
	WANT_INT(s.heard.type, LY_GRANTED);
	WANT_INT(recv(conn, asked, sizeof(asked), MSG_DONTWAIT), -1);
	ly_visitor_free(v);
	close(conn);
	agent_ends(&s, tpm);
}

TEST(a_record_that_was_put_back_is_not_served_from)
{
	int tpm = deaf_tpm();
	struct ly_visitor *v;
	struct ly_why told = { "" };
	char path[300];
	uint8_t *old;
	size_t len;
	struct scene s;

	scene(&s);
	bound(&s, &vm);
	ly_print(path, sizeof(path), "%s/home.records", s.agent.conf.state);
	SITE_OK(ly_file_read(path, 65536, &old, &len, &why));
	v = busy_tpm(&s);
	agent_dies(&s, v);
	SITE_OK(ly_file_write(path, old, len, 0600, &why));
	free(old);
	s.agent.keep = kept_open(&s.loop);
	WANT_INT(ly_homes_open(&s.agent, &s.agent.homes, &told), LY_FENCED);
	WANT(strstr(told.text, "web") && strstr(told.text, "put back"));
	ly_keep_close(s.agent.keep, true);
	uv_run(&s.loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&s.loop), 0);
	ly_identity_free(s.agent.ids);
	ly_identity_free(s.manager);
	close(tpm);
}

TEST_MAIN()

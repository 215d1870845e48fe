/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/tcti.h"
#include "agent/io/tpm_kind.h"
#include "agent/io/tpmdev.h"
#include "agent/io/tpmsock.h"

#include "lib/base/text.h"
#include "lib/io/clock.h"
#include "lib/io/identity.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

typedef enum ly_rc opener(uv_loop_t *loop, const char *path,
    struct ly_slot *slot, struct ly_tpm **out, struct ly_why *why);
typedef enum ly_rc waker(uv_loop_t *loop, struct ly_slot *slot,
    const struct ly_tpm_kept *kept, struct ly_tpm **out, struct ly_why *why);

/* The last one takes any spec. */
static const struct way {
	const char *prefix;
	enum ly_tpm_way way;
	opener *open;
	waker *wake; /* NULL: it ends with the agent */
} ways[] = {
	{ "socket:", LY_TPM_SOCKET, ly_tpmsock_open, ly_tpmsock_wake },
	{ "device:", LY_TPM_DEVICE, ly_tpmdev_open, ly_tpmdev_wake },
	{ "", LY_TPM_TCTI, ly_tcti_open, NULL },
};

static const struct way *
way_of(const char *spec)
{
	const struct way *w = ways;

	while (strncmp(spec, w->prefix, strlen(w->prefix)) != 0)
		w++;
	return w;
}

static uint64_t
number_of(const char *spec)
{
	uint8_t sum[32];
	struct ly_rd r = ly_rd_over(sum, sizeof(sum));

	ly_sha256((const uint8_t *)spec, strlen(spec), sum);
	return ly_rd_u64(&r);
}

static void
own(struct ly_tpm *t, struct ly_slot *slot, const struct ly_tpm_ops *ops,
    void *arg)
{
	t->slot = slot;
	t->ops = ops;
	t->arg = arg;
}

enum ly_rc
ly_tpm_open(uv_loop_t *loop, const char *spec, struct ly_slot *slot,
    const struct ly_tpm_ops *ops, void *arg, struct ly_tpm **out,
    struct ly_why *why)
{
	const struct way *w = way_of(spec);
	enum ly_rc rc = w->open(loop, spec + strlen(w->prefix), slot, out, why);

	if (rc != LY_OK)
		return rc;
	own(*out, slot, ops, arg);
	(*out)->k.way = (uint8_t)w->way;
	(*out)->k.spec = number_of(spec);
	return LY_OK;
}

enum ly_rc
ly_tpm_wake(uv_loop_t *loop, const char *spec, struct ly_slot *slot,
    const struct ly_tpm_kept *kept, const struct ly_tpm_ops *ops, void *arg,
    struct ly_tpm **out, struct ly_why *why)
{
	const struct way *w = way_of(spec);
	enum ly_rc rc;

	if (kept->way == LY_TPM_CLOSED)
		return ly_fail(why, LY_UNKNOWN, "it was not open");
	if (kept->spec != number_of(spec))
		return ly_fail(why, LY_OUTSIDE,
		    "the configuration names another TPM than was in use");
	if (!w->wake)
		return ly_fail(why, kept->busy ? LY_OUTSIDE : LY_UNKNOWN,
		    "a TCTI ends with the agent that uses it");
	rc = w->wake(loop, slot, kept, out, why);
	if (rc == LY_OK) {
		(*out)->k = *kept;
		own(*out, slot, ops, arg);
	}
	return rc;
}

const struct ly_tpm_kept *
ly_tpm_kept(const struct ly_tpm *t)
{
	return &t->k;
}

void
ly_tpm_submit(struct ly_tpm *t, enum ly_op op, uint8_t locality,
    const uint8_t *body, size_t len)
{
	assert(!t->k.busy && !t->closing && len <= LY_TPM_MAX);
	if (t->dead)
		return;
	t->k.busy = true;
	t->k.op = (uint8_t)op;
	t->k.wanted = locality;
	t->k.asked_ms = ly_boot_ms();
	t->kind->submit(t, body, len);
}

void
ly_tpm_cancel(struct ly_tpm *t)
{
	if (t->k.busy && !t->dead && !t->closing && t->kind->cancel)
		t->kind->cancel(t);
}

void
ly_tpm_settle(struct ly_tpm *t)
{
	if (!t->dead && !t->closing)
		t->kind->settle(t);
}

bool
ly_tpm_busy(const struct ly_tpm *t)
{
	return t->k.busy;
}

bool
ly_tpm_resets(const struct ly_tpm *t)
{
	return t->resets;
}

void
ly_tpm_leave(struct ly_tpm *t, void (*closed)(void *arg))
{
	assert(!t->closing);
	t->closing = true;
	t->closed = closed;
	t->kind->close(t);
}

void
ly_tpm_close(struct ly_tpm *t, void (*closed)(void *arg))
{
	ly_tpm_leave(t, closed);
	for (unsigned i = 0; i < LY_SLOT_FDS; i++)
		ly_slot_drop(t->slot, i);
}

static void
tell(struct ly_tpm *t, const uint8_t *body, size_t len)
{
	t->k.busy = false;
	t->k.phase = 0;
	if (!t->dead && !t->closing)
		t->ops->on_answer(t->arg, body, len);
}

void
ly_tpm_answered(struct ly_tpm *t, const uint8_t *body, size_t len)
{
	struct ly_tpm_rsp rsp;

	if (t->k.op == LY_OP_TPM && ly_tpm_rsp_parse(body, len, &rsp) != LY_OK)
		ly_tpm_die(t, "%zu bytes that are no TPM answer", len);
	else
		tell(t, body, len);
}

void
ly_tpm_result(struct ly_tpm *t, uint32_t result)
{
	uint8_t body[LY_TPM_HEAD];
	struct ly_wr w = ly_wr_over(body, 4);

	if (t->k.op == LY_OP_TPM) {
		ly_tpm_answer(result, body);
		tell(t, body, sizeof(body));
		return;
	}
	ly_wr_u32(&w, result);
	tell(t, body, 4);
}

void
ly_tpm_step(struct ly_tpm *t)
{
	if (!t->dead && !t->closing)
		t->ops->on_step(t->arg);
}

void
ly_tpm_die(struct ly_tpm *t, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	if (t->dead || t->closing)
		return;
	t->dead = true;
	t->k.busy = false;
	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	t->ops->on_dead(t->arg, why);
}

void
ly_tpm_gone(struct ly_tpm *t)
{
	void (*closed)(void *) = t->closed;
	void *arg = t->arg;

	free(t);
	if (closed)
		closed(arg);
}

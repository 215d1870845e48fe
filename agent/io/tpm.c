/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/tcti.h"
#include "agent/io/tpm_kind.h"
#include "agent/io/tpmsock.h"

#include "lib/base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SOCKET "socket:"

enum ly_rc
ly_tpm_open(uv_loop_t *loop, const char *spec, const struct ly_tpm_ops *ops,
    void *arg, struct ly_tpm **out, struct ly_why *why)
{
	struct ly_tpm *t = NULL;
	enum ly_rc rc;

	if (strncmp(spec, SOCKET, strlen(SOCKET)) == 0)
		rc = ly_tpmsock_open(loop, spec + strlen(SOCKET), &t, why);
	else
		rc = ly_tcti_open(loop, spec, &t, why);
	if (rc != LY_OK)
		return rc;
	t->ops = ops;
	t->arg = arg;
	*out = t;
	return LY_OK;
}

void
ly_tpm_submit(struct ly_tpm *t, enum ly_op op, uint8_t locality,
    const uint8_t *body, size_t len)
{
	assert(!t->busy && !t->closing && len <= LY_TPM_MAX);
	if (t->dead)
		return;
	t->busy = true;
	t->kind->submit(t, op, locality, body, len);
}

void
ly_tpm_cancel(struct ly_tpm *t)
{
	if (t->busy && !t->dead && !t->closing && t->kind->cancel)
		t->kind->cancel(t);
}

bool
ly_tpm_busy(const struct ly_tpm *t)
{
	return t->busy;
}

bool
ly_tpm_resets(const struct ly_tpm *t)
{
	return t->resets;
}

void
ly_tpm_close(struct ly_tpm *t, void (*closed)(void *arg))
{
	assert(!t->closing);
	t->closing = true;
	t->closed = closed;
	t->kind->close(t);
}

static void
tell(struct ly_tpm *t, const uint8_t *body, size_t len)
{
	t->busy = false;
	if (!t->dead && !t->closing)
		t->ops->on_answer(t->arg, body, len);
}

void
ly_tpm_answered(struct ly_tpm *t, enum ly_op op, const uint8_t *body,
    size_t len)
{
	struct ly_tpm_rsp rsp;

	if (op == LY_OP_TPM && ly_tpm_rsp_parse(body, len, &rsp) != LY_OK)
		ly_tpm_die(t, "%zu bytes that are no TPM answer", len);
	else
		tell(t, body, len);
}

void
ly_tpm_result(struct ly_tpm *t, enum ly_op op, uint32_t result)
{
	uint8_t body[LY_TPM_HEAD];
	struct ly_wr w = ly_wr_over(body, 4);

	if (op == LY_OP_TPM) {
		ly_tpm_answer(result, body);
		tell(t, body, sizeof(body));
		return;
	}
	ly_wr_u32(&w, result);
	tell(t, body, 4);
}

void
ly_tpm_die(struct ly_tpm *t, const char *fmt, ...)
{
	char why[256];
	va_list ap;

	t->busy = false;
	if (t->dead || t->closing)
		return;
	t->dead = true;
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

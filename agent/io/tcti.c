/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's TPM through a TCTI of tpm2-tss.
 *
 * TCTIs block, so each has a thread, which alone uses the context. The request
 * and its answer are in `struct worker`, under its lock:
 *
 *	IDLE -> READY -> ASKED (by the loop) -> DONE (by the thread)
 *	-> IDLE (by the loop)
 *
 * READY is a request that is not committed yet. The context dies with the
 * agent: what it ran is in doubt then.
 *
 * A thread that hangs in a TPM that hangs cannot be ended. On close it gets
 * STUCK_MS; then it is left to itself (`orphan`), and frees the worker if it
 * ever comes back.
 *
 * The loader (libtss2-tctildr) hides the TCTI's own context, which resetting
 * needs; so swtpm's TCTI, the one that can reset, is loaded by ourselves.
 */
#include "agent/io/tcti.h"

#include "agent/io/tpm_kind.h"
#include "lib/base/text.h"
#include "lib/io/log.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <tss2/tss2_tctildr.h>

#define STUCK_MS 5000
#define STACK_SIZE (256u * 1024)
#define SWTPM_LIB "libtss2-tcti-swtpm.so.0"

#define RESULT_OK 0u
#define RESULT_FAIL 9u
#define RESULT_BAD_ORDINAL 10u

enum state { IDLE, READY, ASKED, DONE };
#define PHASE 1 /* of any request: as kept */

struct worker {
	uv_mutex_t lock;
	uv_cond_t wake;
	/* The thread's alone, once it runs: */
	TSS2_TCTI_CONTEXT *ctx;
	TSS2_RC (*reset)(TSS2_TCTI_CONTEXT *ctx);
	bool by_loader;
	uint8_t locality; /* as the TCTI has it */
	/* Under the lock: */
	uv_async_t *news; /* NULL when orphan */
	uint8_t state;	  /* enum state */
	bool quit, left;  /* left: the thread touches nothing any more */
	uint8_t op, wanted;
	uint32_t result;   /* when `rsp_len` is 0 */
	const char *broke; /* what failed, with `rc`; NULL: all is well */
	TSS2_RC rc;
	size_t cmd_len, rsp_len;
	uint8_t cmd[LY_TPM_MAX], rsp[LY_TPM_MAX];
};

struct tcti {
	struct ly_tpm base;
	uv_async_t news;
	uv_timer_t stuck;
	uv_thread_t thread;
	struct worker *w;
	uint8_t open; /* handles */
};

/* ---- the thread ---- */

static const char *
rc_text(TSS2_RC rc)
{
	switch (rc & 0xffff) {
	case TSS2_BASE_RC_IO_ERROR:
		return "it does not answer";
	case TSS2_BASE_RC_NO_CONNECTION:
		return "no connection";
	case TSS2_BASE_RC_MALFORMED_RESPONSE:
		return "no TPM answer";
	case TSS2_BASE_RC_INSUFFICIENT_BUFFER:
		return "its answer is too long";
	case TSS2_BASE_RC_NOT_SUPPORTED:
	case TSS2_BASE_RC_NOT_IMPLEMENTED:
		return "it cannot do that";
	case TSS2_BASE_RC_BAD_VALUE:
		return "a bad value";
	default:
		return "an error";
	}
}

static void
broke(struct worker *w, const char *what, TSS2_RC rc)
{
	w->broke = what;
	w->rc = rc;
}

static void
run_command(struct worker *w)
{
	size_t size = sizeof(w->rsp);
	TSS2_RC rc;

	if (w->wanted != w->locality &&
	    Tss2_Tcti_SetLocality(w->ctx, w->wanted) != TSS2_RC_SUCCESS) {
		w->result = LY_TPM_RC_LOCALITY;
		return;
	}
	w->locality = w->wanted;
	rc = Tss2_Tcti_Transmit(w->ctx, w->cmd_len, w->cmd);
	if (rc != TSS2_RC_SUCCESS) {
		broke(w, "to send a command", rc);
		return;
	}
	rc = Tss2_Tcti_Receive(w->ctx, &size, w->rsp, TSS2_TCTI_TIMEOUT_BLOCK);
	if (rc != TSS2_RC_SUCCESS)
		broke(w, "to receive an answer", rc);
	else
		w->rsp_len = size;
}

static void
run_reset(struct worker *w)
{
	bool good = w->reset(w->ctx) == TSS2_RC_SUCCESS;

	w->locality = LY_TPM_NO_LOCALITY;
	w->result = good ? RESULT_OK : RESULT_FAIL;
}

static void
run(struct worker *w)
{
	w->rsp_len = 0;
	if (w->op == LY_OP_TPM)
		run_command(w);
	else if (w->op != LY_OP_INIT)
		w->result = RESULT_BAD_ORDINAL;
	else if (!w->reset)
		w->result = RESULT_OK;
	else
		run_reset(w);
}

static void
ctx_free(struct worker *w)
{
	if (!w->ctx)
		return;
	if (w->by_loader) {
		Tss2_TctiLdr_Finalize(&w->ctx);
		return;
	}
	Tss2_Tcti_Finalize(w->ctx);
	free(w->ctx);
}

static void
worker_free(struct worker *w)
{
	uv_mutex_destroy(&w->lock);
	uv_cond_destroy(&w->wake);
	ly_wipe(w->cmd, sizeof(w->cmd));
	ly_wipe(w->rsp, sizeof(w->rsp));
	free(w);
}

static void
thread(void *arg)
{
	struct worker *w = arg;
	bool orphan;

	uv_mutex_lock(&w->lock);
	for (;;) {
		while (w->state != ASKED && !w->quit)
			uv_cond_wait(&w->wake, &w->lock);
		if (w->quit)
			break;
		uv_mutex_unlock(&w->lock);
		run(w);
		uv_mutex_lock(&w->lock);
		w->state = DONE;
		if (w->news)
			uv_async_send(w->news);
	}
	uv_mutex_unlock(&w->lock);
	ctx_free(w);
	uv_mutex_lock(&w->lock);
	orphan = !w->news;
	w->left = true;
	if (w->news)
		uv_async_send(w->news);
	uv_mutex_unlock(&w->lock);
	if (orphan)
		worker_free(w);
}

/* ---- the loop ---- */

static void
submit(struct ly_tpm *t, const uint8_t *body, size_t len)
{
	struct worker *w = LY_HOLDER(t, struct tcti, base)->w;

	uv_mutex_lock(&w->lock);
	assert(w->state == IDLE);
	w->op = t->k.op;
	w->wanted = t->k.wanted;
	if (len)
		memcpy(w->cmd, body, len);
	w->cmd_len = len;
	w->state = READY;
	uv_mutex_unlock(&w->lock);
	t->k.phase = PHASE;
}

static void
settle(struct ly_tpm *t)
{
	struct worker *w = LY_HOLDER(t, struct tcti, base)->w;

	uv_mutex_lock(&w->lock);
	if (w->state == READY) {
		w->state = ASKED;
		uv_cond_signal(&w->wake);
	}
	uv_mutex_unlock(&w->lock);
}

static void
on_handle_closed(uv_handle_t *handle)
{
	struct tcti *t = handle->data;

	if (--t->open == 0)
		ly_tpm_gone(&t->base);
}

/* The thread has left, or is left. */
static void
finish(struct tcti *t)
{
	uv_close((uv_handle_t *)&t->news, on_handle_closed);
	uv_close((uv_handle_t *)&t->stuck, on_handle_closed);
}

/* While the state is DONE the thread sleeps, and the worker is ours. */
static void
tell(struct tcti *t)
{
	struct worker *w = t->w;

	if (w->broke)
		ly_tpm_die(&t->base, "tpm2-tss failed %s: %s (0x%x)", w->broke,
		    rc_text(w->rc), (unsigned)w->rc);
	else if (w->rsp_len > 0)
		ly_tpm_answered(&t->base, w->rsp, w->rsp_len);
	else
		ly_tpm_result(&t->base, w->result);
}

static void
on_news(uv_async_t *async)
{
	struct tcti *t = async->data;
	struct worker *w = t->w;
	bool done, left;

	uv_mutex_lock(&w->lock);
	done = w->state == DONE;
	left = w->left;
	if (done)
		w->state = IDLE;
	uv_mutex_unlock(&w->lock);
	if (left) {
		uv_thread_join(&t->thread);
		worker_free(w);
		finish(t);
	} else if (done) {
		tell(t);
	}
}

static void
on_stuck(uv_timer_t *timer)
{
	struct tcti *t = timer->data;
	struct worker *w = t->w;
	bool left;

	uv_mutex_lock(&w->lock);
	left = w->left;
	if (!left)
		w->news = NULL;
	uv_mutex_unlock(&w->lock);
	if (left)
		return; /* on_news() is on its way */
	ly_log(LY_WARNING, "tpm",
	    "a TPM that does not answer is left to its thread");
	finish(t);
}

static void
close_tcti(struct ly_tpm *base)
{
	struct tcti *t = LY_HOLDER(base, struct tcti, base);

	uv_mutex_lock(&t->w->lock);
	t->w->quit = true;
	uv_cond_signal(&t->w->wake);
	uv_mutex_unlock(&t->w->lock);
	uv_timer_start(&t->stuck, on_stuck, STUCK_MS, 0);
}

static const struct ly_tpm_kind kind = { LY_TPM_TCTI, submit, NULL, settle,
	close_tcti };

/* ---- loading ---- */

/* dlsym() gives a pointer to data; POSIX says it may hold a function. */
#define SYMBOL(lib, name, out) (*(void **)(out) = dlsym(lib, name), *(out))

/* "swtpm" or "swtpm:CONF". */
static bool
is_swtpm(const char *spec, const char **conf)
{
	if (strncmp(spec, "swtpm", 5) != 0 ||
	    (spec[5] != ':' && spec[5] != '\0'))
		return false;
	*conf = spec[5] ? spec + 6 : NULL;
	return true;
}

/* The library stays loaded: it is used until the process ends. */
static enum ly_rc
load_swtpm(struct worker *w, const char *conf, struct ly_why *why)
{
	TSS2_RC (*init)(TSS2_TCTI_CONTEXT *, size_t *, const char *) = NULL;
	void *lib = dlopen(SWTPM_LIB, RTLD_NOW | RTLD_LOCAL);
	size_t size = 0;
	TSS2_RC rc;

	if (!lib || !SYMBOL(lib, "Tss2_Tcti_Swtpm_Init", &init) ||
	    init(NULL, &size, conf) != TSS2_RC_SUCCESS)
		return ly_fail(why, LY_OUTSIDE, "%s: not usable", SWTPM_LIB);
	(void)SYMBOL(lib, "Tss2_Tcti_Swtpm_Reset", &w->reset);
	w->ctx = calloc(1, size);
	if (!w->ctx)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	rc = init(w->ctx, &size, conf);
	if (rc == TSS2_RC_SUCCESS)
		return LY_OK;
	free(w->ctx);
	w->ctx = NULL;
	return ly_fail(why, LY_OUTSIDE, "swtpm:%s: %s (0x%x)", conf ? conf : "",
	    rc_text(rc), (unsigned)rc);
}

static enum ly_rc
load(struct worker *w, const char *spec, struct ly_why *why)
{
	const char *conf;
	TSS2_RC rc;

	if (is_swtpm(spec, &conf))
		return load_swtpm(w, conf, why);
	w->by_loader = true;
	rc = Tss2_TctiLdr_Initialize(spec, &w->ctx);
	if (rc == TSS2_RC_SUCCESS)
		return LY_OK;
	w->ctx = NULL;
	return ly_fail(why, LY_OUTSIDE, "%s: %s (0x%x)", spec, rc_text(rc),
	    (unsigned)rc);
}

static struct worker *
worker_new(void)
{
	struct worker *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	if (uv_mutex_init(&w->lock) != 0) {
		free(w);
		return NULL;
	}
	if (uv_cond_init(&w->wake) != 0) {
		uv_mutex_destroy(&w->lock);
		free(w);
		return NULL;
	}
	return w;
}

static enum ly_rc
start(struct tcti *t, uv_loop_t *loop, struct ly_why *why)
{
	const uv_thread_options_t options = { .flags = UV_THREAD_HAS_STACK_SIZE,
		.stack_size = STACK_SIZE };

	if (uv_async_init(loop, &t->news, on_news) != 0)
		return ly_fail(why, LY_OUTSIDE, "no descriptor for a TPM");
	uv_timer_init(loop, &t->stuck);
	t->news.data = t->stuck.data = t;
	t->open = 2;
	t->w->news = &t->news;
	if (uv_thread_create_ex(&t->thread, &options, thread, t->w) == 0)
		return LY_OK;
	finish(t); /* frees t, later, from the loop */
	return ly_fail(why, LY_OUTSIDE, "no thread for a TPM");
}

enum ly_rc
ly_tcti_open(uv_loop_t *loop, const char *spec, struct ly_slot *slot,
    struct ly_tpm **out, struct ly_why *why)
{
	struct worker *w = worker_new();
	struct tcti *t = calloc(1, sizeof(*t));
	enum ly_rc rc;

	(void)slot;
	if (!w || !t) {
		if (w)
			worker_free(w);
		free(t);
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	}
	t->base.kind = &kind;
	t->w = w;
	rc = load(w, spec, why);
	if (rc == LY_OK)
		t->base.resets = w->reset != NULL;
	else
		free(t);
	if (rc == LY_OK)
		rc = start(t, loop, why);
	if (rc != LY_OK) {
		ctx_free(w);
		worker_free(w);
		return rc;
	}
	*out = &t->base;
	return LY_OK;
}

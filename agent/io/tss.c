/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/tss_in.h"

#include "lib/base/cursor.h"
#include "lib/base/text.h"
#include "lib/io/file.h"

#include <stdlib.h>
#include <time.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_tctildr.h>

/* TPM2_TRANSIENT_FIRST shifts an int beyond its sign. */
#define TRANSIENT 0x80000000u
#define LOADED_SESSION 0x02000000u

/* A TPM that is busy with itself says so for this long, and is asked again. */
#define BUSY_MS 2000
#define BUSY_STEP_MS 20

#define TPM_CODE(rc) ((rc)&0xffff)

TSS(TPMS_CAPABILITY_DATA)

/* ---- what a TPM's code means to an operator ---- */

static const struct ly_tss_meaning meanings[] = {
	{ TPM2_RC_NV_SPACE, LY_OUTSIDE,
	    "its memory is full: delete an NV index or a persistent key that is"
	    " not needed (tpm2_nvundefine, tpm2_evictcontrol)" },
	{ TPM2_RC_INITIALIZE, LY_OUTSIDE,
	    "it has not been started (TPM2_Startup)" },
	{ TPM2_RC_FAILURE, LY_OUTSIDE, "it is in failure mode" },
	{ TPM2_RC_LOCKOUT, LY_OUTSIDE,
	    "it is locked out after wrong passwords: wait, or"
	    " tpm2_dictionarylockout" },
	{ TPM2_RC_OBJECT_MEMORY, LY_OUTSIDE,
	    "it has no object slots left: others have keys loaded in it"
	    " (tpm2_flushcontext -t), or use /dev/tpmrm0" },
	{ TPM2_RC_SESSION_MEMORY, LY_OUTSIDE,
	    "it has no session slots left: others have sessions in it"
	    " (tpm2_flushcontext -l), or use /dev/tpmrm0" },
	{ TPM2_RC_SESSION_HANDLES, LY_OUTSIDE,
	    "it can open no more sessions: others have left theirs in it"
	    " (tpm2_flushcontext -s)" },
	{ TPM2_RC_AUTH_FAIL, LY_OUTSIDE, "a password is wrong" },
	{ TPM2_RC_BAD_AUTH, LY_OUTSIDE,
	    "the password of the hierarchy is wrong" },
	{ TPM2_RC_HIERARCHY, LY_OUTSIDE, "the hierarchy is disabled" },
	{ TPM2_RC_RETRY, LY_OUTSIDE, "it is busy" },
	{ TPM2_RC_NV_RATE, LY_OUTSIDE,
	    "it is busy: its memory may not be written so fast" },
};

TSS2_RC
ly_tss_plain(TSS2_RC rc)
{
	rc = TPM_CODE(rc);
	return rc & TPM2_RC_FMT1 ? rc & (TPM2_RC_FMT1 | 0x3f) : rc;
}

bool
ly_tss_of_tpm(TSS2_RC rc)
{
	TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;

	return layer == TSS2_TPM_RC_LAYER || layer == TSS2_RESMGR_TPM_RC_LAYER;
}

bool
ly_tss_nothing(TSS2_RC rc)
{
	return ly_tss_of_tpm(rc) && ly_tss_plain(rc) == TPM2_RC_HANDLE;
}

static const struct ly_tss_meaning *
look_up(const struct ly_tss_meaning *in, size_t n, TSS2_RC rc)
{
	for (size_t i = 0; i < n; i++)
		if (ly_tss_plain(rc) == in[i].rc)
			return &in[i];
	return NULL;
}

static void
disconnect(struct ly_tss *t)
{
	if (t->esys)
		Esys_Finalize(&t->esys);
	if (t->io)
		Tss2_TctiLdr_Finalize(&t->io);
	t->esys = NULL;
	t->io = NULL;
}

enum ly_rc
ly_tss_broke(struct ly_tss *t, const char *whose, const char *what, TSS2_RC rc,
    const struct ly_tss_meaning *own, size_t own_n, struct ly_why *why)
{
	const struct ly_tss_meaning *m = NULL;

	if (ly_tss_of_tpm(rc)) {
		m = look_up(own, own_n, rc);
		if (!m)
			m = look_up(meanings, LY_COUNT(meanings), rc);
	} else {
		disconnect(t);
	}
	return ly_fail(why, m ? m->means : LY_OUTSIDE,
	    "%s TPM (%s), %s: %s (0x%x)", whose, t->tcti, what,
	    m ? m->text : Tss2_RC_Decode(rc), (unsigned)rc);
}

bool
ly_tss_again(TSS2_RC rc, unsigned *ms)
{
	static const struct timespec step = { .tv_nsec = BUSY_STEP_MS *
		    1000000L };
	TSS2_RC code = TPM_CODE(rc);

	if (!ly_tss_of_tpm(rc) || *ms >= BUSY_MS ||
	    (code != TPM2_RC_RETRY && code != TPM2_RC_NV_RATE &&
		code != TPM2_RC_TESTING && code != TPM2_RC_YIELDED))
		return false;
	*ms += BUSY_STEP_MS;
	nanosleep(&step, NULL);
	return true;
}

void
ly_tss_free(void *p)
{
	Esys_Free(p);
}

void
ly_tss_flush(struct ly_tss *t, ESYS_TR *handle)
{
	if (t->esys && *handle != NONE)
		(void)Esys_FlushContext(t->esys, *handle);
	*handle = NONE;
}

TSS2_RC
ly_tss_session(struct ly_tss *t, ESYS_TR key, TPM2_SE kind,
    TPMA_SESSION attributes, ESYS_TR *out)
{
	static const TPMT_SYM_DEF aes = { .algorithm = TPM2_ALG_AES,
		.keyBits.aes = 128,
		.mode.aes = TPM2_ALG_CFB };
	TSS2_RC rc = ASK(Esys_StartAuthSession(t->esys, key, NONE, NONE, NONE,
	    NONE, NULL, kind, &aes, TPM2_ALG_SHA256, out));

	if (rc != TSS2_RC_SUCCESS)
		return rc;
	return Esys_TRSess_SetAttributes(t->esys, *out,
	    attributes | TPMA_SESSION_CONTINUESESSION, 0xff);
}

/* ---- connecting ---- */

/* TPM2_FlushContext, by hand: ESYS flushes only what it has made itself. */
static void
flush_raw(struct ly_tss *t, TPM2_HANDLE handle)
{
	uint8_t cmd[14], rsp[64];
	struct ly_wr w = ly_wr_over(cmd, sizeof(cmd));
	size_t n = sizeof(rsp);

	ly_wr_u16(&w, TPM2_ST_NO_SESSIONS);
	ly_wr_u32(&w, sizeof(cmd));
	ly_wr_u32(&w, TPM2_CC_FlushContext);
	ly_wr_u32(&w, handle);
	if (Tss2_Tcti_Transmit(t->io, sizeof(cmd), cmd) == TSS2_RC_SUCCESS)
		(void)!Tss2_Tcti_Receive(t->io, &n, rsp,
		    TSS2_TCTI_TIMEOUT_BLOCK);
}

/* A TPM without a resource manager still holds what an agent before us had
 * loaded when it was killed; with one, we see only our own, which is nothing.
 */
static void
flush_left(struct ly_tss *t, TPM2_HANDLE first)
{
	LY_AUTO(free_TPMS_CAPABILITY_DATA) TPMS_CAPABILITY_DATA *cap = NULL;
	TPMI_YES_NO more;

	if (ASK(Esys_GetCapability(t->esys, NONE, NONE, NONE, TPM2_CAP_HANDLES,
		first, TPM2_MAX_CAP_HANDLES, &more, &cap)) != TSS2_RC_SUCCESS)
		return;
	for (uint32_t i = 0; i < cap->data.handles.count; i++)
		flush_raw(t, cap->data.handles.handle[i]);
}

static enum ly_rc
connected(struct ly_tss *t, struct ly_why *why)
{
	TSS2_RC rc;

	if (t->esys)
		return LY_OK;
	rc = Tss2_TctiLdr_Initialize(t->tcti, &t->io);
	if (rc != TSS2_RC_SUCCESS)
		t->io = NULL;
	else
		rc = Esys_Initialize(&t->esys, t->io, NULL);
	if (rc == TSS2_RC_SUCCESS)
		rc = Esys_TR_SetAuth(t->esys, ESYS_TR_RH_OWNER, &t->owner);
	if (rc != TSS2_RC_SUCCESS)
		return ly_tss_broke(t, "the host's", "connecting", rc, NULL, 0,
		    why);
	t->number++;
	flush_left(t, TRANSIENT);
	flush_left(t, LOADED_SESSION);
	return LY_OK;
}

/* ---- one at a time ---- */

static void
take(struct ly_tss *t, bool urgent)
{
	pthread_mutex_lock(&t->lock);
	t->urgent += urgent;
	while (t->taken || (!urgent && t->urgent))
		pthread_cond_wait(&t->moved, &t->lock);
	t->urgent -= urgent;
	t->taken = true;
	pthread_mutex_unlock(&t->lock);
}

enum ly_rc
ly_tss_begin(struct ly_tss *t, bool urgent, struct ly_why *why)
{
	enum ly_rc rc;

	take(t, urgent);
	rc = connected(t, why);
	if (rc != LY_OK)
		ly_tss_end(t);
	return rc;
}

void
ly_tss_end(struct ly_tss *t)
{
	pthread_mutex_lock(&t->lock);
	t->taken = false;
	pthread_cond_broadcast(&t->moved);
	pthread_mutex_unlock(&t->lock);
}

bool
ly_tss_breathe(struct ly_tss *t)
{
	uint64_t number = t->number;
	bool asked;

	pthread_mutex_lock(&t->lock);
	asked = t->urgent > 0;
	pthread_mutex_unlock(&t->lock);
	if (asked) {
		ly_tss_end(t);
		take(t, false);
	}
	return t->esys && t->number == number;
}

/* ---- opening and closing ---- */

/* The password is the file's first line. */
static enum ly_rc
read_auth(const char *path, TPM2B_AUTH *out, struct ly_why *why)
{
	uint8_t *buf;
	size_t len, n = 0;
	enum ly_rc rc = ly_file_read(path, 4096, &buf, &len, why);

	if (rc != LY_OK)
		return rc;
	while (n < len && buf[n] != '\n')
		n++;
	if (n > sizeof(out->buffer)) {
		rc = ly_fail(why, LY_REFUSED, "%s: over %zu characters", path,
		    sizeof(out->buffer));
	} else {
		memcpy(out->buffer, buf, n);
		out->size = (uint16_t)n;
	}
	ly_wipe(buf, len);
	free(buf);
	return rc;
}

enum ly_rc
ly_tss_open(const char *tcti, const char *auth, struct ly_tss **out,
    struct ly_why *why)
{
	struct ly_tss *t = calloc(1, sizeof(*t));
	enum ly_rc rc = LY_OK;

	if (!t || !ly_copy(t->tcti, sizeof(t->tcti), tcti)) {
		free(t);
		return ly_fail(why, LY_OUTSIDE, "no memory");
	}
	/* What it has to say we say better. */
	setenv("TSS2_LOG", "all+NONE", 0);
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->moved, NULL);
	t->refs = 1;
	if (*auth)
		rc = read_auth(auth, &t->owner, why);
	if (rc != LY_OK)
		ly_tss_close(t);
	else
		*out = t;
	return rc;
}

struct ly_tss *
ly_tss_ref(struct ly_tss *t)
{
	pthread_mutex_lock(&t->lock);
	t->refs++;
	pthread_mutex_unlock(&t->lock);
	return t;
}

void
ly_tss_close(struct ly_tss *t)
{
	bool last;

	if (!t)
		return;
	pthread_mutex_lock(&t->lock);
	last = --t->refs == 0;
	pthread_mutex_unlock(&t->lock);
	if (!last)
		return;
	disconnect(t);
	pthread_cond_destroy(&t->moved);
	pthread_mutex_destroy(&t->lock);
	ly_wipe(t, sizeof(*t));
	free(t);
}

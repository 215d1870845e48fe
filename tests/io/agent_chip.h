/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a host's TPM (swtpm) with an agent's chip on it, and the keys of a
 * site and a manager, who have none. */
#ifndef LY_TESTS_AGENT_CHIP_H
#define LY_TESTS_AGENT_CHIP_H

#include "agent/io/chip.h"
#include "agent/io/tss_in.h"
#include "lib/attest/blob.h"
#include "lib/attest/quote.h"
#include "tests/io/swtpm_proc.h"
#include "tests/unit/site.h"

struct chip_host {
	struct swtpm_proc proc;
	char tcti[128];
	uv_loop_t loop;
	uv_timer_t alive; /* an agent has always something to wait for */
	struct ly_tss *tss;
	struct ly_chip *chip;
	struct ly_chip_keys keys; /* of chip_ready() */
};

/* What was told last. */
struct chip_reply {
	unsigned told;
	enum ly_rc rc;
	char why[LY_WHY_MAX + 64];
	struct ly_chip_keys keys;
	struct ly_chip_attested said;
	uint8_t bytes[LY_CHIP_SECRET_MAX];
	size_t bytes_len;
};

static inline void
chip_told(void *arg, const struct ly_chip_answer *a)
{
	struct chip_reply *r = arg;

	r->told++;
	r->rc = a->rc;
	ly_copy(r->why, sizeof(r->why), a->why);
	if (a->keys)
		r->keys = *a->keys;
	if (a->said)
		r->said = *a->said;
	r->bytes_len = a->bytes.len;
	memcpy(r->bytes, a->bytes.at, a->bytes.len);
}

/* Puts what TPM2 tools say on the TPM; its agent must not be on. */
static inline LY_PRINTF(2, 3) void chip_tools(const struct chip_host *h,
    const char *fmt, ...)
{
	char cmd[900], line[1100];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	snprintf(line, sizeof(line),
	    "export TPM2TOOLS_TCTI=swtpm:path=%s; { %s ; } >/dev/null 2>&1",
	    h->proc.path, cmd);
	if (system(line) != 0)
		test_fail(__FILE__, __LINE__, "failed: %s", cmd);
}

static inline void
chip_tick(uv_timer_t *timer)
{
	(void)timer;
}

static inline void
chip_agent_on(struct chip_host *h)
{
	uv_loop_init(&h->loop);
	uv_timer_init(&h->loop, &h->alive);
	uv_timer_start(&h->alive, chip_tick, 100, 100);
	SITE_OK(ly_tss_open(h->tcti, "", &h->tss, &why));
	SITE_OK(ly_chip_open(&h->loop, h->tss, &h->chip, &why));
}

static inline void
chip_agent_off(struct chip_host *h)
{
	ly_chip_close(h->chip);
	h->chip = NULL;
	uv_close((uv_handle_t *)&h->alive, NULL);
	uv_run(&h->loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&h->loop), 0);
	ly_tss_close(h->tss);
	h->tss = NULL;
}

static inline void
chip_power_on(struct chip_host *h)
{
	memset(h, 0, sizeof(*h));
	if (!swtpm_proc_start(&h->proc))
		test_fail(__FILE__, __LINE__, "no swtpm");
	ly_print(h->tcti, sizeof(h->tcti), "swtpm:path=%s", h->proc.path);
	chip_tools(h, "tpm2_startup -c");
	chip_agent_on(h);
}

static inline void
chip_power_off(struct chip_host *h)
{
	chip_agent_off(h);
	swtpm_proc_end(&h->proc);
}

static inline void
chip_wait(struct chip_host *h, const struct chip_reply *r)
{
	WANT_INT(r->told, 0); /* never before the call has returned */
	while (!r->told)
		uv_run(&h->loop, UV_RUN_ONCE);
	WANT_INT(r->told, 1);
}

/* Waits for the answer, which is to be `rc` and to say `part`. */
static inline void
chip_want(struct chip_host *h, struct chip_reply *r, enum ly_rc rc,
    const char *part)
{
	chip_wait(h, r);
	if (r->rc != rc || !strstr(r->why, part))
		test_fail(__FILE__, __LINE__, "%s: %s", ly_rc_name(r->rc),
		    r->why);
}

static inline void
chip_ready(struct chip_host *h)
{
	struct chip_reply r = { .told = 0 };

	ly_chip_ready(h->chip, chip_told, &r);
	chip_want(h, &r, LY_OK, "");
	h->keys = r.keys;
}

static inline struct ly_tpm_key
chip_key(enum ly_tpm_use use, const struct ly_chip_key *k)
{
	struct ly_tpm_key key;

	SITE_OK(ly_tpm_key_read(use,
	    (struct ly_bytes){ .at = k->pub, .len = k->pub_len }, &key, &why));
	return key;
}

/* By the connection of the agent, as if a program of the host did it. */
static inline void
chip_extend(struct chip_host *h, uint32_t pcr)
{
	TPML_DIGEST_VALUES with = { .count = 1,
		.digests = { { .hashAlg = TPM2_ALG_SHA256,
		    .digest.sha256 = { 1, 2, 3 } } } };

	SITE_OK(ly_tss_begin(h->tss, true, &why));
	WANT_INT(Esys_PCR_Extend(h->tss->esys, pcr, ESYS_TR_PASSWORD,
		     ESYS_TR_NONE, ESYS_TR_NONE, &with),
	    TSS2_RC_SUCCESS);
	ly_tss_end(h->tss);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What those that speak ESYS on the host's TPM share (tss.c, vault_tpm.c,
 * chip_*.c), and for these only. All of it between begin and end. */
#ifndef LY_AGENT_IO_TSS_IN_H
#define LY_AGENT_IO_TSS_IN_H

#include "agent/io/tss.h"

#include <pthread.h>
#include <tss2/tss2_esys.h>

#define NONE ESYS_TR_NONE
#define OWN ESYS_TR_PASSWORD /* an empty one */

struct ly_tss {
	char tcti[256];
	TPM2B_AUTH owner; /* password of the hierarchy */
	TSS2_TCTI_CONTEXT *io;
	ESYS_CONTEXT *esys; /* NULL: not connected */
	uint64_t number;    /* of the connection, from 1 */

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t moved;
	bool taken;
	unsigned urgent; /* wait for it */
	unsigned refs;
};

/* What a TPM's code means to an operator, and to who asked. */
struct ly_tss_meaning {
	TSS2_RC rc; /* as ly_tss_plain() has it */
	enum ly_rc means;
	const char *text;
};

/* A format-1 code without the number of the handle, parameter or session. */
TSS2_RC ly_tss_plain(TSS2_RC rc);
/* The TPM itself has said it. */
bool ly_tss_of_tpm(TSS2_RC rc);
/* The TPM says that there is nothing at a handle. */
bool ly_tss_nothing(TSS2_RC rc);
/*
 * Says what went wrong: "WHOSE TPM (tcti), WHAT: text (code)". `own` are
 * looked through before those that every TPM has. What the TPM itself has not
 * said was said by the way to it, which may be in any state now: that ends the
 * connection.
 */
enum ly_rc ly_tss_broke(struct ly_tss *t, const char *whose, const char *what,
    TSS2_RC rc, const struct ly_tss_meaning *own, size_t own_n,
    struct ly_why *why);
/* A TPM that is busy with itself is asked again, for a while. */
bool ly_tss_again(TSS2_RC rc, unsigned *ms);
void ly_tss_flush(struct ly_tss *t, ESYS_TR *handle);
/* Salted with `key`; parameters go encrypted as `attributes` say. */
TSS2_RC ly_tss_session(struct ly_tss *t, ESYS_TR key, TPM2_SE kind,
    TPMA_SESSION attributes, ESYS_TR *out);
void ly_tss_free(void *p);

#define ASK(call)                                                              \
	({                                                                     \
		TSS2_RC rc_;                                                   \
		unsigned ms_ = 0;                                              \
		do                                                             \
			rc_ = (call);                                          \
		while (ly_tss_again(rc_, &ms_));                               \
		rc_;                                                           \
	})

/* What tpm2-tss has allocated: LY_AUTO needs a type for each. */
#define TSS(type)                                                              \
	static inline LY_UNUSED void free_##type(type *p)                      \
	{                                                                      \
		ly_tss_free(p);                                                \
	}                                                                      \
	LY_AUTO_FOR(free_##type, type)

#endif

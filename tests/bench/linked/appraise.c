/* SPDX-License-Identifier: Apache-2.0 */
/*
 * appraise: how many hosts' quotes one core judges in a second, each as a
 * manager or a source does it: the message is decoded, the AK read and held
 * against its template, the context decoded and held against what was asked,
 * and every check of the quote made. Beside it, the bare signature: one
 * ECDSA P-256 verification by OpenSSL with a key that is ready.
 *
 *	appraise SECONDS
 *
 * Prints one JSON object: ours and bare, both per second.
 */
#include "tests/unit/fake_chip.h"

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MESSAGE_MOST 4096

static struct fake_chip chip;
static struct fake_evidence made;
static struct ly_context asked;
static uint8_t message[MESSAGE_MOST];
static size_t message_len;
static EVP_PKEY *key;
static uint8_t der[80];
static size_t der_len;

static void
need(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "appraise: %s\n", what);
	exit(1);
}

static double
now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
ours(void)
{
	struct ly_evidence ev;
	struct ly_context x;
	struct ly_tpm_key ak;
	struct ly_quote_want want = { .type = LY_QUOTE_DEST,
		.ak = &ak,
		.reset_count = 7,
		.restart_count = 1 };
	struct ly_why why = { "" };

	need(ly_message_get(&ly_evidence_message, message, message_len, &ev,
		 &why) == LY_OK &&
		ly_tpm_key_read(LY_TPM_AK, ev.ak, &ak, &why) == LY_OK &&
		ly_evidence_context(&ev, &x, &why) == LY_OK &&
		ly_context_match(&x, &asked, 0, &why) == LY_OK &&
		ly_quote_check(&ev, &want, NULL, &why) == LY_OK,
	    why.text);
}

static void
bare(void)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();

	need(EVP_DigestVerifyInit(md, NULL, EVP_sha256(), NULL, key) == 1 &&
		EVP_DigestVerify(md, der, der_len, made.ev.quote.at,
		    made.ev.quote.len) == 1,
	    "bare: the signature is not good");
	EVP_MD_CTX_free(md);
}

static double
rate(void (*one)(void), double seconds)
{
	double start = now_s(), at = start;
	unsigned n = 0;

	while (at - start < seconds) {
		for (unsigned i = 0; i < 50; i++)
			one();
		n += 50;
		at = now_s();
	}
	return n / (at - start);
}

static void
bare_ready(void)
{
	uint8_t spki[LY_SPKI_P256], *out = der;
	const uint8_t *at = spki;
	ECDSA_SIG *sig = ECDSA_SIG_new();

	ly_spki_of(&chip.ak.point, spki);
	key = d2i_PUBKEY(NULL, &at, sizeof(spki));
	need(key && sig, "bare: no key");
	ECDSA_SIG_set0(sig, BN_bin2bn(made.ev.signature, 32, NULL),
	    BN_bin2bn(made.ev.signature + 32, 32, NULL));
	der_len = (size_t)i2d_ECDSA_SIG(sig, &out);
	ECDSA_SIG_free(sig);
}

int
main(int argc, char **argv)
{
	double seconds = argc == 2 ? atof(argv[1]) : 0;

	need(seconds > 0, "usage: appraise SECONDS");
	fake_chip_init(&chip, 1);
	asked = (struct ly_context){ .role = LY_QUOTE_DEST, .epoch = 3 };
	ly_copy(asked.self, sizeof(asked.self), "spiffe://a/host/d");
	fake_quote(&chip, &asked, &made);
	message_len = fake_pack(&made.ev, message, sizeof(message));
	bare_ready();
	rate(ours, seconds / 10);
	printf("{\"ours\":%.0f,\"bare\":%.0f}\n", rate(ours, seconds),
	    rate(bare, seconds));
	EVP_PKEY_free(key);
	return 0;
}

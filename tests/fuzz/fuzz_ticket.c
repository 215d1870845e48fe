/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A signed object from the network. The input is taken as such an object; and
 * as a ticket's tagged bytes, which are then signed, so that what is behind a
 * good signature is reached too.
 */
#include "lib/io/ca.h"
#include "lib/io/file.h"
#include "lib/wire/signed.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static struct ly_identity *ids;
static char dir[] = "/tmp/lyfuzz-XXXXXX";

static char *
in_dir(const char *name)
{
	static char path[8][128];
	static unsigned turn;
	char *out = path[turn++ % LY_COUNT(path)];

	ly_print(out, sizeof(path[0]), "%s/%s", dir, name);
	return out;
}

static void
must(enum ly_rc rc, const struct ly_why *why)
{
	if (rc == LY_OK)
		return;
	fprintf(stderr, "fuzz_ticket: %s\n", why->text);
	exit(1);
}

static void
put(const char *name, const char *text)
{
	struct ly_why why;

	must(ly_file_write(in_dir(name), text, strlen(text), 0600, &why), &why);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char who[] = "spiffe://fuzz/manager/m";
	static const char *const made[] = { "ca.key", "trust/fuzz.pem", "key",
		"cert", "trust", "" };
	struct ly_identity_files files;
	struct ly_why why = { "" };
	char *request, *cert;

	(void)argc, (void)argv;
	if (!mkdtemp(dir))
		exit(1);
	files = (struct ly_identity_files){ .cert = in_dir("cert"),
		.key = in_dir("key"),
		.trust = in_dir("trust") };
	must(ly_file_mkdir(files.trust, 0700, &why), &why);
	must(ly_ca_make("fuzz", in_dir("ca.key"), in_dir("trust/fuzz.pem"), 2,
		 &why),
	    &why);
	must(ly_ca_request(who, files.key, &request, &why), &why);
	must(ly_ca_sign(in_dir("ca.key"), in_dir("trust/fuzz.pem"), request,
		 who, 86400, &cert, &why),
	    &why);
	put("cert", cert);
	must(ly_identity_load(&files, &ids, &why), &why);
	free(request);
	free(cert);
	for (size_t i = 0; i < LY_COUNT(made); i++)
		remove(in_dir(made[i]));
	return 0;
}

static void
open_tagged(const uint8_t *at, size_t len)
{
	union {
		struct ly_ticket ticket;
		struct ly_token token;
		struct ly_record record;
	} out;
	struct ly_why why;

	(void)!ly_message_get_tagged(&ly_ticket_message, at, len, &out, &why);
	(void)!ly_message_get_tagged(&ly_token_message, at, len, &out, &why);
	(void)!ly_message_get_tagged(&ly_record_message, at, len, &out, &why);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	uint8_t object[LY_TICKET_MAX];
	size_t object_len = sizeof(object), n;
	const uint8_t *at;
	struct ly_peer signer;
	struct ly_why why;

	/* The signature is of a fresh nonce each time, so no input has one. */
	if (ly_verify(ids, LY_TYPE_TICKET, data, len, &at, &n, &signer, &why) ==
	    LY_OK)
		abort();
	if (ly_sign(ids, LY_TYPE_TICKET, data, len, object, &object_len,
		&why) != LY_OK)
		return 0;
	if (ly_verify(ids, LY_TYPE_TICKET, object, object_len, &at, &n, &signer,
		&why) != LY_OK ||
	    n != len)
		abort();
	open_tagged(at, n);
	return 0;
}

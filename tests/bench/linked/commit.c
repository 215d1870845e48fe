/* SPDX-License-Identifier: Apache-2.0 */
/*
 * commit: what a home pays before it may tell of a new lease, in its own code:
 * a file of N records written whole, to a vault (strict: sealed, synced,
 * counted by the TPM) or to a plain file. The key of a vault's next version is
 * made between, as the agent does when it is idle.
 *
 *	commit TCTI DIR RECORDS ROUNDS
 *
 * Prints one JSON object, medians in milliseconds: vault_ms, plain_ms, and
 * ahead_ms for the key; pack_ms of both is in them.
 */
#include "agent/io/records.h"
#include "agent/io/vault_tpm.h"
#include "lib/io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define INDEX 0x1801c79

static size_t records_n;
static unsigned rounds;
static struct ly_record *records;
static const struct ly_record **each;
static struct ly_why why;

static void
must(enum ly_rc rc)
{
	if (rc == LY_OK)
		return;
	fprintf(stderr, "commit: %s\n", why.text);
	exit(1);
}

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e3 * (double)t.tv_sec + (double)t.tv_nsec / 1e6;
}

static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double
median(double *v)
{
	qsort(v, rounds, sizeof(*v), by_value);
	return v[rounds / 2];
}

/* As of VMs that have been about. */
static void
make_records(void)
{
	records = calloc(records_n, sizeof(*records));
	each = calloc(records_n, sizeof(*each));
	for (size_t i = 0; i < records_n; i++) {
		struct ly_record *r = &records[i];

		memcpy(r->vm.b, &i, sizeof(i));
		r->epoch = 1;
		r->state = LY_REC_ATTACHED;
		ly_print(r->name, sizeof(r->name), "vm-%zu", i);
		ly_print(r->tpm, sizeof(r->tpm), "chip%zu", i);
		ly_print(r->holder, sizeof(r->holder),
		    "spiffe://south.example/host/host-%zu", i % 100);
		each[i] = r;
	}
}

static double
plain(const char *path)
{
	double from = now_ms();
	size_t len;
	uint8_t *buf = ly_records_pack(each, records_n, &len);

	must(ly_file_write(path, buf, len, 0600, &why));
	free(buf);
	return now_ms() - from;
}

static double
vault(struct ly_vault *v)
{
	double from = now_ms();
	size_t len;
	uint8_t *buf = ly_records_pack(each, records_n, &len);

	must(ly_vault_write(v, buf, len, false, &why));
	free(buf);
	return now_ms() - from;
}

static void
measure(struct ly_vault *v, const char *path)
{
	double *in_vault = calloc(rounds, sizeof(double));
	double *in_file = calloc(rounds, sizeof(double));
	double *ahead = calloc(rounds, sizeof(double));

	(void)vault(v); /* the first one counts twice */
	for (unsigned i = 0; i < rounds; i++) {
		double from = now_ms();

		records[i % records_n].epoch++;
		must(ly_vault_ahead(v, &why));
		ahead[i] = now_ms() - from;
		in_vault[i] = vault(v);
		in_file[i] = plain(path);
	}
	printf("{\"vault_ms\":%.3f,\"plain_ms\":%.3f,\"ahead_ms\":%.3f}\n",
	    median(in_vault), median(in_file), median(ahead));
	free(in_vault);
	free(in_file);
	free(ahead);
}

int
main(int argc, char **argv)
{
	struct ly_vault_tpm *tpm;
	struct ly_tss *tss;
	struct ly_vault *v;
	char path[300];
	uint8_t *body;
	size_t len;

	if (argc != 5) {
		fprintf(stderr, "usage: commit TCTI DIR RECORDS ROUNDS\n");
		return 2;
	}
	records_n = (size_t)atoi(argv[3]);
	rounds = (unsigned)atoi(argv[4]);
	if (!records_n || !rounds || records_n > LY_RECORDS_MAX)
		return 2;
	make_records();
	ly_print(path, sizeof(path), "%s/home.records", argv[2]);
	must(ly_file_mkdir(argv[2], 0700, &why));
	must(ly_tss_open(argv[1], "", &tss, &why));
	ly_vault_tpm_open(tss, INDEX, &tpm);
	must(ly_vault_open(argv[2], &ly_vault_tpm_chip, tpm, false, &v, &body,
	    &len, &why));
	free(body);
	measure(v, path);
	ly_vault_free(v);
	ly_vault_tpm_close(tpm);
	ly_tss_close(tss);
	free(records);
	free(each);
	return 0;
}

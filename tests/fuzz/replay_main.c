/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fuzz entry without libFuzzer: runs every input of the files and directories
 * given, or else of tests/fuzz/corpus/X for a program named fuzz_X. Each input
 * is given as it is, cut short, and with bits turned over, so that even a small
 * corpus shows a decoder more than well-formed bytes. The bits are chosen by a
 * fixed generator: every run sees the same inputs.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX (1u << 20) /* longer inputs are cut there */
#define CUTS 64
#define FLIPS 256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static unsigned long inputs;

/* A copy of its own on the heap, so that a sanitizer sees a byte too far. */
static void
give(const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	if (len)
		memcpy(copy, data, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
	inputs++;
}

static uint32_t
next(uint32_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}

static void
vary(uint8_t *data, size_t len)
{
	uint32_t state = 2463534242u;
	size_t step = len / CUTS + 1;

	give(data, len);
	for (size_t cut = 0; cut < len; cut += step)
		give(data, cut);
	for (int i = 0; len && i < FLIPS; i++) {
		size_t at = next(&state) % len;
		uint8_t bits = (uint8_t)(1u << next(&state) % 8);

		data[at] ^= bits;
		give(data, len);
		if (next(&state) % 4) /* some stay turned over */
			data[at] ^= bits;
	}
}

static int
replay_file(const char *path)
{
	static uint8_t data[INPUT_MAX];
	FILE *f = fopen(path, "rb");
	size_t len;

	if (!f) {
		printf("not ok %s: %s\n", path, strerror(errno));
		return 1;
	}
	len = fread(data, 1, sizeof(data), f);
	fclose(f);
	vary(data, len);
	return 0;
}

static int
replay(const char *path)
{
	struct stat st;
	struct dirent *e;
	int failed = 0;
	DIR *dir;

	if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
		return replay_file(path);
	dir = opendir(path);
	if (!dir) {
		printf("not ok %s: %s\n", path, strerror(errno));
		return 1;
	}
	while ((e = readdir(dir))) {
		char file[4096];

		if (e->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		failed |= replay(file);
	}
	closedir(dir);
	return failed;
}

/* A decoder without a corpus is shown nothing, zeros and ones. */
static void
replay_little(void)
{
	uint8_t data[256];

	give(data, 0);
	memset(data, 0, sizeof(data));
	vary(data, sizeof(data));
	memset(data, 0xff, sizeof(data));
	vary(data, sizeof(data));
}

int
main(int argc, char **argv)
{
	const char *base = strrchr(argv[0], '/');
	const char *name = base ? base + 1 : argv[0];
	char corpus[512];
	struct stat st;
	int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (LLVMFuzzerInitialize)
		LLVMFuzzerInitialize(&argc, &argv);
	snprintf(corpus, sizeof(corpus), "tests/fuzz/corpus/%s",
	    strncmp(name, "fuzz_", 5) == 0 ? name + 5 : name);
	for (int i = 1; i < argc; i++)
		failed |= replay(argv[i]);
	if (argc == 1 && stat(corpus, &st) == 0)
		failed |= replay(corpus);
	replay_little();
	if (failed)
		return 1;
	printf("ok %s: %lu inputs\n", name, inputs);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/launch.h"

#include "lib/crypt/crypt.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MOST 8
#define STEP (256u * 1024)

struct known {
	struct stat st;
	uint8_t digest[32];
};

struct ly_launch {
	uv_loop_t *loop;
	char qemu[LY_PATH_LEN];
	bool closed;
	unsigned jobs;
	pthread_mutex_t lock; /* of what follows */
	struct known known[LY_LAUNCH_FILES];
	unsigned next; /* to be replaced */
};

struct job {
	uv_work_t work;
	struct ly_launch *launch;
	struct ly_id vm;
	uint8_t *json;
	size_t len;
	ly_launch_told *told;
	void *arg;
	enum ly_rc rc;
	struct ly_why why;
	uint8_t digest[32];
};

/* ---- files ---- */

static bool
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
	    a->st_size == b->st_size &&
	    a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	    a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	    a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
	    a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool
recall(struct ly_launch *l, const struct stat *st, uint8_t digest[32])
{
	bool found = false;

	pthread_mutex_lock(&l->lock);
	for (unsigned i = 0; i < LY_COUNT(l->known) && !found; i++) {
		found = l->known[i].st.st_ino && same_file(&l->known[i].st, st);
		if (found)
			memcpy(digest, l->known[i].digest, 32);
	}
	pthread_mutex_unlock(&l->lock);
	return found;
}

static void
keep(struct ly_launch *l, const struct stat *st, const uint8_t digest[32])
{
	struct known *k;

	pthread_mutex_lock(&l->lock);
	k = &l->known[l->next++ % LY_COUNT(l->known)];
	k->st = *st;
	memcpy(k->digest, digest, 32);
	pthread_mutex_unlock(&l->lock);
}

static bool
hash_all(int fd, uint8_t digest[32])
{
	uint8_t *buf = malloc(STEP);
	struct ly_hash h;
	ssize_t n;

	if (!buf)
		abort();
	ly_hash_start(&h);
	while ((n = read(fd, buf, STEP)) > 0)
		ly_hash_add(&h, buf, (size_t)n);
	ly_hash_end(&h, digest);
	free(buf);
	return n == 0;
}

/* One that is written to meanwhile is none to be sure of. */
static enum ly_rc
hash_file(struct ly_launch *l, const char *path, uint8_t digest[32],
    struct ly_why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat before, after;
	bool good;

	if (fd < 0)
		return ly_fail(why, LY_REFUSED, "%s: %s", path,
		    strerror(errno));
	good = fstat(fd, &before) == 0 && S_ISREG(before.st_mode);
	if (good && recall(l, &before, digest)) {
		close(fd);
		return LY_OK;
	}
	good = good && hash_all(fd, digest) && fstat(fd, &after) == 0 &&
	    same_file(&before, &after);
	close(fd);
	if (!good)
		return ly_fail(why, LY_REFUSED,
		    "%s: not a file that can be read and stands still", path);
	keep(l, &before, digest);
	return LY_OK;
}

/* What QEMU takes on a PC when it is given no firmware. */
static const char *
own_firmware(void)
{
	static const char *const at[] = { "/usr/share/seabios/bios-256k.bin",
		"/usr/share/qemu/bios-256k.bin" };

	for (size_t i = 0; i < LY_COUNT(at); i++)
		if (access(at[i], R_OK) == 0)
			return at[i];
	return NULL;
}

static unsigned
files_of(const struct ly_launch *l, const struct ly_definition *def,
    const char *files[FILES_MOST])
{
	const char *firmware = *def->firmware ? def->firmware : own_firmware();
	unsigned n = 0;

	files[n++] = l->qemu;
	if (firmware)
		files[n++] = firmware;
	if (*def->kernel)
		files[n++] = def->kernel;
	if (*def->initrd)
		files[n++] = def->initrd;
	return n;
}

/* ---- the rest ---- */

static enum ly_rc
hash_command(const struct job *j, const struct ly_definition *def,
    uint8_t digest[32], struct ly_why *why)
{
	const struct ly_definition_params p = {
		.binary = j->launch->qemu,
		.dir = "/run/vm",
		.name = "vm",
		.id = j->vm,
		.tpm_socket = "/run/vm/tpm.ctrl",
		.incoming = true,
		.sandbox = true,
	};
	struct ly_hash h;
	char **argv;
	enum ly_rc rc = ly_definition_argv(def, &p, &argv, why);

	if (rc != LY_OK)
		return rc;
	ly_hash_start(&h);
	for (char **a = argv; *a; a++)
		ly_hash_add(&h, *a, strlen(*a) + 1);
	ly_hash_end(&h, digest);
	ly_argv_free(argv);
	return LY_OK;
}

static enum ly_rc
digest_of(struct job *j)
{
	static const char name[] = "lanyard-launch-v1";
	const char *files[FILES_MOST];
	uint8_t buf[sizeof(name) + 1 + (FILES_MOST + 2) * 32], digest[32];
	struct ly_wr w = ly_wr_over(buf, sizeof(buf));
	struct ly_definition def;
	enum ly_rc rc = ly_definition_check((const char *)j->json, j->len, &def,
	    &j->why);
	unsigned n;

	if (rc != LY_OK)
		return rc;
	n = files_of(j->launch, &def, files);
	ly_wr_bytes(&w, name, sizeof(name));
	ly_wr_u8(&w, (uint8_t)n);
	for (unsigned i = 0; i < n && rc == LY_OK; i++) {
		rc = hash_file(j->launch, files[i], digest, &j->why);
		ly_wr_bytes(&w, digest, sizeof(digest));
	}
	if (rc == LY_OK)
		rc = hash_command(j, &def, digest, &j->why);
	if (rc != LY_OK)
		return rc;
	ly_wr_bytes(&w, digest, sizeof(digest));
	ly_sha256(j->json, j->len, digest);
	ly_wr_bytes(&w, digest, sizeof(digest));
	assert(!w.bad);
	ly_sha256(buf, ly_wr_len(&w), j->digest);
	return LY_OK;
}

/* ---- jobs ---- */

static void
work(uv_work_t *of)
{
	struct job *j = LY_HOLDER(of, struct job, work);

	j->rc = digest_of(j);
}

static void
let_go(struct ly_launch *l)
{
	if (!l->closed || l->jobs)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void
over(uv_work_t *of, int status)
{
	struct job *j = LY_HOLDER(of, struct job, work);
	struct ly_launch *l = j->launch;

	if (status != 0)
		j->rc = ly_fail(&j->why, LY_OUTSIDE, "%s", uv_strerror(status));
	l->jobs--;
	if (!l->closed)
		j->told(j->arg, j->rc, j->rc == LY_OK ? "" : j->why.text,
		    j->digest);
	free(j->json);
	free(j);
	let_go(l);
}

void
ly_launch_digest(struct ly_launch *l, const struct ly_id *vm,
    struct ly_bytes json, ly_launch_told *told, void *arg)
{
	struct job *j = calloc(1, sizeof(*j));

	if (!j || !(j->json = malloc(json.len + 1)))
		abort();
	j->launch = l;
	j->vm = *vm;
	j->len = json.len;
	if (json.len)
		memcpy(j->json, json.at, json.len);
	j->json[json.len] = '\0';
	j->told = told;
	j->arg = arg;
	l->jobs++;
	if (uv_queue_work(l->loop, &j->work, work, over) != 0)
		abort();
}

struct ly_launch *
ly_launch_open(uv_loop_t *loop, const char *qemu)
{
	struct ly_launch *l = calloc(1, sizeof(*l));

	if (!l)
		abort();
	l->loop = loop;
	ly_copy(l->qemu, sizeof(l->qemu), qemu);
	pthread_mutex_init(&l->lock, NULL);
	return l;
}

void
ly_launch_close(struct ly_launch *l)
{
	if (!l)
		return;
	l->closed = true;
	let_go(l);
}

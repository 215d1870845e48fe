/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vault's own rules, against a TPM of a few lines that can fail and lose
 * its answers at any call, and a disk that is copied and put back. A body is a
 * number; the numbers rise, so that an older one is known.
 */
#include "agent/io/vault.h"
#include "lib/io/identity.h"
#include "tests/unit/site.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/wait.h>

struct chip {
	enum ly_counter counter;
	uint64_t value;
	uint8_t owner, name;
	unsigned counts; /* how often it was asked to */
	int fail_in;	 /* the call that fails, from 1; 0: none */
	bool has_done;	 /* what it was asked it does, and then fails */
	bool dead;
	bool lives; /* it fails that once */
	bool exits; /* it does not fail: the whole process ends there */
};

static struct chip *chip; /* what a child does to it stays */
static char dir[128];
static struct ly_why said;

/* Before and after what is asked. */
static bool
fails(struct chip *c, bool done)
{
	if (!done && c->dead)
		return true;
	if (!done && c->fail_in > 0)
		c->fail_in--;
	if (c->fail_in != 0 || c->has_done != done)
		return false;
	if (c->exits)
		_exit(9);
	c->fail_in = -1;
	c->dead = !c->lives;
	return true;
}

static enum ly_rc
broken(struct ly_why *why)
{
	return ly_fail(why, LY_OUTSIDE, "no answer");
}

static enum ly_rc
chip_look(void *arg, struct ly_vault_look *out, struct ly_why *why)
{
	struct chip *c = arg;

	if (fails(c, false))
		return broken(why);
	*out = (struct ly_vault_look){ .counter = c->counter,
		.value = c->value,
		.index = 0x1800001,
		.name = { c->name },
		.owner = { c->owner } };
	return fails(c, true) ? broken(why) : LY_OK;
}

static enum ly_rc
chip_count(void *arg, struct ly_why *why)
{
	struct chip *c = arg;

	if (fails(c, false))
		return broken(why);
	c->counts++;
	c->value++;
	c->counter = LY_COUNTER_GOOD;
	return fails(c, true) ? broken(why) : LY_OK;
}

static enum ly_rc
chip_seal(void *arg, const uint8_t key[LY_GCM_KEY], struct ly_vault_sealed *out,
    struct ly_why *why)
{
	struct chip *c = arg;

	if (fails(c, false))
		return broken(why);
	out->pub[0] = c->owner;
	out->pub[1] = c->name;
	memcpy(out->pub + 2, &out->version, 8);
	memcpy(out->priv, key, LY_GCM_KEY);
	out->pub_len = 10;
	out->priv_len = LY_GCM_KEY;
	return fails(c, true) ? broken(why) : LY_OK;
}

static enum ly_rc
chip_unseal(void *arg, const struct ly_vault_sealed *in,
    uint8_t key[LY_GCM_KEY], struct ly_why *why)
{
	struct chip *c = arg;
	uint64_t at;

	memcpy(&at, in->pub + 2, 8);
	if (in->pub[0] != c->owner)
		return ly_fail(why, LY_OUTSIDE, "sealed by another TPM");
	if (in->pub[1] != c->name || c->counter != LY_COUNTER_GOOD ||
	    at != c->value)
		return ly_fail(why, LY_OUTSIDE, "at another version");
	memcpy(key, in->priv, LY_GCM_KEY);
	return LY_OK;
}

static const struct ly_vault_chip ops = { chip_look, chip_count, chip_count,
	chip_seal, chip_unseal };

/* A new TPM and an empty directory. */
static void
scene(void)
{
	static unsigned turn;

	if (!chip)
		chip = mmap(NULL, sizeof(*chip), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	*chip =
	    (struct chip){ .owner = 1, .name = 1, .value = 40, .fail_in = -1 };
	ly_print(dir, sizeof(dir), "%s", site_path("vault%u", turn++));
	SITE_OK(ly_file_mkdir(dir, 0700, &why));
}

static enum ly_rc
put(struct ly_vault *v, uint64_t body, bool lazy)
{
	return ly_vault_write(v, (uint8_t *)&body, sizeof(body), lazy, &said);
}

static enum ly_rc
open_with(bool anew, struct ly_vault **v, uint64_t *body)
{
	uint8_t *buf;
	size_t len;
	enum ly_rc rc = ly_vault_open(dir, &ops, chip, anew, v, &buf, &len,
	    &said);

	*body = 0;
	if (rc == LY_OK && buf)
		memcpy(body, buf, sizeof(*body));
	free(buf);
	return rc;
}

/* The power was gone, and is back. */
static struct ly_vault *
start(uint64_t *body)
{
	struct ly_vault *v = NULL;

	chip->fail_in = -1;
	chip->dead = false;
	if (open_with(false, &v, body) != LY_OK)
		test_fail(__FILE__, __LINE__, "refused: %s", said.text);
	return v;
}

static struct ly_vault *
begun(uint64_t body)
{
	uint64_t is;
	struct ly_vault *v;

	scene();
	v = start(&is);
	WANT_INT(is, 0);
	WANT_INT(put(v, body, false), LY_OK);
	return v;
}

static void
want_body(uint64_t want)
{
	uint64_t is;

	ly_vault_free(start(&is));
	WANT_INT(is, want);
}

static void
refused(const char *part, const char *part2)
{
	struct ly_vault *v;
	uint64_t body;

	chip->dead = false;
	WANT(open_with(false, &v, &body) != LY_OK);
	if (!strstr(said.text, part) || !strstr(said.text, part2))
		test_fail(__FILE__, __LINE__, "said: %s", said.text);
}

static void
sh(const char *fmt, ...)
{
	char cmd[600];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	WANT_INT(system(cmd), 0);
}

static unsigned
files(void)
{
	struct dirent *e;
	DIR *d = opendir(dir);
	unsigned n = 0;

	while ((e = readdir(d)))
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

TEST(what_was_written_is_there_at_the_next_start)
{
	struct ly_vault *v = begun(7);

	ly_vault_free(v);
	want_body(7);
	want_body(7);
	WANT_INT(files(), 1);
}

TEST(a_write_costs_one_count_and_leaves_one_file)
{
	struct ly_vault *v = begun(7);
	unsigned was = chip->counts;

	for (uint64_t i = 8; i < 20; i++)
		WANT_INT(put(v, i, false), LY_OK);
	WANT_INT(chip->counts - was, 12);
	WANT_INT(files(), 1);
	WANT_INT(ly_vault_version(v), chip->value);
	ly_vault_free(v);
	want_body(19);
}

TEST(with_its_key_made_ahead_a_write_only_counts)
{
	struct ly_vault *v = begun(7);

	WANT_INT(ly_vault_ahead(v, &said), LY_OK);
	chip->fail_in = 2;
	WANT_INT(put(v, 8, false), LY_OK);
	WANT_INT(chip->fail_in, 1);
	ly_vault_free(v);
	want_body(8);
}

TEST(an_old_vault_put_back_is_refused_with_both_versions)
{
	struct ly_vault *v = begun(7);
	char was[32], is[32];

	snprintf(was, sizeof(was), "version %u,", (unsigned)chip->value);
	sh("cp -a %s %s.old", dir, dir);
	WANT_INT(put(v, 8, false), LY_OK);
	snprintf(is, sizeof(is), "says %u:", (unsigned)chip->value);
	ly_vault_free(v);
	sh("rm -r %s && mv %s.old %s", dir, dir, dir);
	refused(was, is);
	refused("an old vault was put back", "vault.");
}

TEST(an_old_vault_under_the_name_of_the_new_one_is_refused)
{
	struct ly_vault *v = begun(7);
	unsigned was = (unsigned)chip->value;

	sh("cp %s/vault.%u %s/../one", dir, was, dir);
	WANT_INT(put(v, 8, false), LY_OK);
	ly_vault_free(v);
	sh("mv %s/../one %s/vault.%u", dir, dir, (unsigned)chip->value);
	refused("it is of version", "not what its name");
}

TEST(a_vault_that_is_gone_is_refused)
{
	ly_vault_free(begun(7));
	sh("rm %s/vault.*", dir);
	refused("there is no vault", "says there is one of version");
}

TEST(a_vault_of_another_TPM_is_refused_whatever_its_counter_says)
{
	ly_vault_free(begun(7));
	chip->owner = 2;
	refused("another TPM", "version");
	chip->value -= 1;
	refused("says only", "another TPM");
	chip->value += 2;
	refused("an old vault", "");
	chip->counter = LY_COUNTER_NONE;
	refused("no counter", "cleared");
	chip->counter = LY_COUNTER_NEW;
	refused("no counter", "cleared");
}

TEST(a_vault_of_another_counter_is_refused)
{
	ly_vault_free(begun(7));
	chip->name = 2;
	refused("another counter", "0x1800001");
}

TEST(what_cannot_be_opened_is_kept_aside_when_a_vault_is_begun_anew)
{
	struct ly_vault *v = begun(7);
	uint64_t body;

	ly_vault_free(v);
	chip->owner = 2;
	WANT_INT(open_with(true, &v, &body), LY_OK);
	WANT_INT(body, 0);
	WANT_INT(put(v, 9, false), LY_OK);
	ly_vault_free(v);
	want_body(9);
	sh("ls %s/vault.*.old >/dev/null", dir);
	WANT_INT(files(), 2);
}

TEST(a_vault_that_opens_is_not_begun_anew)
{
	struct ly_vault *v;
	uint64_t body;

	ly_vault_free(begun(7));
	WANT_INT(open_with(true, &v, &body), LY_OK);
	WANT_INT(body, 7);
	ly_vault_free(v);
}

/* One write, ended at each call of the TPM there is, before and after it has
 * done what it was asked; as a process that is killed. */
TEST(a_process_killed_at_any_step_of_a_write_leaves_the_old_or_the_new)
{
	unsigned old = 0, new = 0;

	for (int call = 1; call <= 8; call++)
		for (int done = 0; done < 2; done++) {
			struct ly_vault *v = begun(7);
			uint64_t body;
			pid_t pid;
			int status;

			chip->fail_in = call;
			chip->has_done = done;
			chip->exits = true;
			pid = fork();
			if (pid == 0)
				_exit(put(v, 8, false) != LY_OK);
			waitpid(pid, &status, 0);
			ly_vault_free(v);
			chip->exits = false;
			ly_vault_free(start(&body));
			WANT(body == 8 || (body == 7 && status != 0));
			old += body == 7;
			new += body == 8;
		}
	WANT(old >= 3 && new >= 3);
}

TEST(what_was_not_told_cannot_be_put_back_after_another_was)
{
	struct ly_vault *v = begun(7);
	char stray[32];

	/* 8 is on disk, and power goes before it counts */
	WANT_INT(ly_vault_ahead(v, &said), LY_OK);
	chip->fail_in = 1;
	chip->has_done = false;
	WANT(put(v, 8, false) != LY_OK);
	ly_vault_free(v);
	snprintf(stray, sizeof(stray), "vault.%u", (unsigned)chip->value + 1);
	sh("cp %s/%s %s/../stray", dir, stray, dir);
	v = start(&(uint64_t){ 0 });
	WANT_INT(put(v, 9, false), LY_OK);
	ly_vault_free(v);
	sh("rm %s/vault.*; mv %s/../stray %s/%s", dir, dir, dir, stray);
	refused("an old vault", "");
}

TEST(nor_after_an_error_without_a_restart)
{
	struct ly_vault *v = begun(7);
	char stray[32];

	WANT_INT(ly_vault_ahead(v, &said), LY_OK);
	chip->fail_in = 1;
	chip->has_done = false;
	WANT(put(v, 8, false) != LY_OK);
	chip->dead = false;
	snprintf(stray, sizeof(stray), "vault.%u", (unsigned)chip->value + 1);
	sh("cp %s/%s %s/../stray", dir, stray, dir);
	WANT_INT(put(v, 9, false), LY_OK);
	ly_vault_free(v);
	want_body(9);
	sh("rm %s/vault.*; mv %s/../stray %s/%s", dir, dir, dir, stray);
	refused("an old vault", "");
}

TEST(a_count_whose_answer_was_lost_is_seen_by_looking)
{
	struct ly_vault *v = begun(7);

	WANT_INT(ly_vault_ahead(v, &said), LY_OK);
	chip->fail_in = 1;
	chip->has_done = true;
	chip->dead = false;
	WANT(put(v, 8, false) != LY_OK); /* nor could it be looked at */
	chip->dead = false;
	WANT_INT(put(v, 9, false), LY_OK);
	ly_vault_free(v);
	want_body(9);
}

TEST(a_count_whose_answer_alone_was_lost_is_told_as_done)
{
	struct ly_vault *v = begun(7);

	WANT_INT(ly_vault_ahead(v, &said), LY_OK);
	chip->fail_in = 1;
	chip->has_done = true;
	chip->lives = true;
	WANT_INT(put(v, 8, false), LY_OK);
	ly_vault_free(v);
	want_body(8);
}

TEST(when_somebody_else_counts_the_vault_is_written_again)
{
	struct ly_vault *v = begun(7);

	chip->value += 3;
	WANT_INT(ly_vault_ahead(v, &said), LY_FENCED);
	WANT(strstr(said.text, "somebody else"));
	WANT_INT(put(v, 7, false), LY_OK);
	WANT_INT(ly_vault_ahead(v, &said), LY_OK);
	ly_vault_free(v);
	want_body(7);
}

TEST(a_counter_that_is_gone_or_went_back_is_told_and_nothing_is_written)
{
	struct ly_vault *v = begun(7);

	chip->value -= 1;
	WANT_INT(ly_vault_ahead(v, &said), LY_REFUSED);
	chip->value += 1;
	chip->counter = LY_COUNTER_NONE;
	WANT_INT(ly_vault_ahead(v, &said), LY_REFUSED);
	ly_vault_free(v);
}

TEST(a_lazy_write_is_told_before_it_counts_and_survives_a_crash)
{
	struct ly_vault *v = begun(7);
	unsigned was = chip->counts;

	WANT_INT(put(v, 8, true), LY_OK);
	WANT_INT(put(v, 9, true), LY_OK);
	WANT(ly_vault_owes(v));
	WANT_INT(chip->counts, was);
	ly_vault_free(v);
	want_body(9);
}

TEST(what_a_lazy_write_told_is_soon_as_safe_as_another)
{
	struct ly_vault *v = begun(7);

	sh("cp -a %s %s.old", dir, dir);
	WANT_INT(put(v, 8, true), LY_OK);
	sh("cp -a %s %s.mid", dir, dir);
	WANT_INT(put(v, 9, true), LY_OK);
	WANT_INT(put(v, 9, false), LY_OK);
	WANT(!ly_vault_owes(v));
	ly_vault_free(v);
	want_body(9);
	sh("rm -r %s && mv %s.mid %s", dir, dir, dir);
	refused("an old vault", "");
	sh("rm -r %s && mv %s.old %s", dir, dir, dir);
	refused("an old vault", "");
}

TEST(nothing_more_is_told_lazily_while_the_TPM_does_not_count)
{
	struct ly_vault *v = begun(7);

	chip->lives = true;
	chip->has_done = false;
	WANT_INT(put(v, 8, true), LY_OK);
	chip->fail_in = 2;
	WANT(put(v, 8, false) != LY_OK);
	chip->fail_in = 2;
	WANT(put(v, 9, true) != LY_OK);
	WANT_INT(put(v, 10, true), LY_OK);
	WANT(!ly_vault_owes(v));
	WANT_INT(put(v, 11, true), LY_OK);
	WANT(ly_vault_owes(v));
	ly_vault_free(v);
	want_body(11);
}

/* ---- everything at once ---- */

static uint32_t seed;

static uint32_t
dice(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % n;
}

/* One of the last few states of the disk. */
static void
snapshot(unsigned turn)
{
	sh("rm -rf %s.%u && cp -a %s %s.%u", dir, turn % 4, dir, dir, turn % 4);
}

static void
restore(void)
{
	unsigned which = dice(4);

	sh("test ! -d %s.%u || cp -a %s.%u/. %s/", dir, which, dir, which, dir);
}

/* Writes that fail anywhere, starts, and a disk whose old files come back
 * beside the new ones: a start that reads anything reads what was told last
 * or what was asked for since. */
static void
walk(uint32_t from, bool lazy)
{
	uint64_t told = 1, asked = 1, body;
	struct ly_vault *v = begun(1);

	seed = from;
	for (unsigned turn = 0; turn < 40; turn++) {
		chip->dead = chip->dead && dice(2);
		chip->fail_in = dice(3) ? -1 : 1 + (int)dice(6);
		chip->has_done = dice(2);
		if (dice(3) == 0)
			(void)!ly_vault_ahead(v, &said);
		asked++;
		if (put(v, asked, lazy && dice(2)) == LY_OK)
			told = asked;
		if (dice(2))
			snapshot(turn);
		if (dice(3))
			continue;
		ly_vault_free(v);
		if (!lazy)
			restore();
		v = start(&body);
		if (body < told)
			test_fail(__FILE__, __LINE__,
			    "seed %u, turn %u: %u was told, %u is read", from,
			    turn, (unsigned)told, (unsigned)body);
		told = body;
	}
	ly_vault_free(v);
	sh("rm -rf %s.?", dir);
}

TEST(whatever_fails_and_is_put_back_a_start_never_reads_less_than_was_told)
{
	for (uint32_t from = 1; from <= 60; from++)
		walk(from * 2654435761u, from % 3 == 0);
}

TEST_MAIN()

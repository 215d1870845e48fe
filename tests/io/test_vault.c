/* SPDX-License-Identifier: Apache-2.0 */
/* agent/io/vault on a TPM: swtpm, through ESYS and a TCTI as a chip would be.
 */
#include "agent/io/vault_tpm.h"
#include "tests/io/swtpm_proc.h"
#include "tests/unit/site.h"

#define INDEX 0x1801c79

static struct ly_why said;

/* A host: its TPM, and the directory of its vault. */
struct host {
	struct swtpm_proc proc;
	char tcti[128], dir[128];
	struct ly_vault_tpm *tpm;
	struct ly_vault *vault;
};

/* Puts what TPM2 tools say on the TPM, which has one connection at a time. */
static void
tools(const struct host *h, const char *fmt, ...)
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

static void
new_dir(struct host *h)
{
	static unsigned turn;

	ly_print(h->dir, sizeof(h->dir), "%s", site_path("vault%u", turn++));
	SITE_OK(ly_file_mkdir(h->dir, 0700, &why));
}

static void
power_on(struct host *h)
{
	*h = (struct host){ .tpm = NULL };
	if (!swtpm_proc_start(&h->proc))
		test_fail(__FILE__, __LINE__, "no swtpm");
	ly_print(h->tcti, sizeof(h->tcti), "swtpm:path=%s", h->proc.path);
	tools(h, "tpm2_startup -c");
	new_dir(h);
}

static void
stop(struct host *h)
{
	ly_vault_free(h->vault);
	ly_vault_tpm_close(h->tpm);
	h->vault = NULL;
	h->tpm = NULL;
}

static void
power_off(struct host *h)
{
	stop(h);
	swtpm_proc_end(&h->proc);
}

static enum ly_rc
reach(const struct host *h, const char *auth, struct ly_vault_tpm **out)
{
	struct ly_tss *tss;
	enum ly_rc rc = ly_tss_open(h->tcti, auth, &tss, &said);

	if (rc != LY_OK)
		return rc;
	ly_vault_tpm_open(tss, INDEX, out);
	ly_tss_close(tss);
	return LY_OK;
}

/* 0: there is nothing yet. */
static enum ly_rc
try_start(struct host *h, bool anew, uint64_t *body)
{
	uint8_t *buf;
	size_t len;
	enum ly_rc rc;

	*body = 0;
	if (!h->tpm && (rc = reach(h, "", &h->tpm)) != LY_OK)
		return rc;
	rc = ly_vault_open(h->dir, &ly_vault_tpm_chip, h->tpm, anew, &h->vault,
	    &buf, &len, &said);
	if (rc == LY_OK && buf) {
		WANT_INT(len, sizeof(*body));
		memcpy(body, buf, sizeof(*body));
	}
	free(buf);
	return rc;
}

static uint64_t
start(struct host *h)
{
	uint64_t body;

	if (try_start(h, false, &body) != LY_OK)
		test_fail(__FILE__, __LINE__, "refused: %s", said.text);
	return body;
}

static void
refused(struct host *h, const char *part, const char *part2)
{
	uint64_t body;

	WANT(try_start(h, false, &body) != LY_OK);
	if (!strstr(said.text, part) || !strstr(said.text, part2))
		test_fail(__FILE__, __LINE__, "said: %s", said.text);
	stop(h);
}

static void
put(struct host *h, uint64_t body)
{
	if (ly_vault_write(h->vault, (uint8_t *)&body, sizeof(body), false,
		&said) != LY_OK)
		test_fail(__FILE__, __LINE__, "not written: %s", said.text);
}

static void
begun(struct host *h)
{
	power_on(h);
	WANT_INT(start(h), 0);
	put(h, 7);
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

TEST(a_TPM_opens_the_vault_it_sealed_and_is_left_empty)
{
	struct host h;

	begun(&h);
	for (uint64_t i = 8; i < 12; i++) {
		WANT_INT(ly_vault_ahead(h.vault, &said), LY_OK);
		put(&h, i);
	}
	stop(&h);
	tools(&h,
	    "test -z \"$(tpm2_getcap handles-transient)\" &&"
	    " test -z \"$(tpm2_getcap handles-loaded-session)\"");
	WANT_INT(start(&h), 11);
	power_off(&h);
}

TEST(the_counter_is_a_counter_of_the_owner_and_moves_by_one)
{
	struct host h;
	uint64_t was;

	begun(&h);
	was = ly_vault_version(h.vault);
	put(&h, 8);
	WANT_INT(ly_vault_version(h.vault), was + 1);
	stop(&h);
	tools(&h, "test $((0x$(tpm2_nvread 0x%x | xxd -p))) = %u", INDEX,
	    (unsigned)was + 1);
	tools(&h, "tpm2_nvreadpublic 0x%x | grep -q 'nt=0x1'", INDEX);
	power_off(&h);
}

TEST(a_vault_survives_a_restart_of_the_TPM)
{
	struct host h;

	begun(&h);
	tools(&h, "true");
	stop(&h);
	tools(&h,
	    "tpm2_shutdown -c; swtpm_ioctl --unix %s.ctrl -i;"
	    " tpm2_startup -c",
	    h.proc.path);
	WANT_INT(start(&h), 7);
	power_off(&h);
}

TEST(an_older_file_put_back_is_refused)
{
	struct host h;
	char both[60];
	unsigned was;

	begun(&h);
	was = (unsigned)ly_vault_version(h.vault);
	sh("cp -a %s %s.old", h.dir, h.dir);
	put(&h, 8);
	put(&h, 9);
	stop(&h);
	sh("rm -r %s && mv %s.old %s", h.dir, h.dir, h.dir);
	snprintf(both, sizeof(both),
	    "version %u, but the TPM's counter says %u", was, was + 2);
	refused(&h, both, "an old vault was put back");
	power_off(&h);
}

/* With the same number on both, so that only the TPM itself can tell. */
TEST(a_vault_copied_to_another_machine_is_refused)
{
	struct host a, b;

	begun(&a);
	begun(&b);
	WANT_INT(ly_vault_version(a.vault), ly_vault_version(b.vault));
	stop(&a);
	stop(&b);
	sh("rm %s/* && cp %s/* %s", b.dir, a.dir, b.dir);
	refused(&b, "another TPM", "version");
	power_off(&a);
	power_off(&b);
}

/* The head's own words are not what keeps it out. */
TEST(nor_does_another_TPM_open_what_was_sealed_by_this_one)
{
	struct ly_vault_sealed s;
	uint8_t key[LY_GCM_KEY] = { 1 };
	struct host a, b;

	begun(&a);
	begun(&b);
	s.version = ly_vault_version(a.vault);
	WANT_INT(ly_vault_tpm_chip.seal(a.tpm, key, &s, &said), LY_OK);
	memset(key, 0, sizeof(key));
	WANT_INT(ly_vault_tpm_chip.unseal(b.tpm, &s, key, &said), LY_OUTSIDE);
	WANT(strstr(said.text, "sealed by another TPM"));
	WANT_INT(ly_vault_tpm_chip.unseal(a.tpm, &s, key, &said), LY_OK);
	WANT_INT(key[0], 1);
	power_off(&a);
	power_off(&b);
}

TEST(the_TPM_itself_refuses_the_key_of_another_version)
{
	struct ly_vault_sealed s;
	uint8_t key[LY_GCM_KEY] = { 1 };
	struct host h;

	begun(&h);
	for (uint64_t add = 0; add < 3; add++) {
		s.version = ly_vault_version(h.vault) + add;
		WANT_INT(ly_vault_tpm_chip.seal(h.tpm, key, &s, &said), LY_OK);
		WANT_INT(ly_vault_tpm_chip.unseal(h.tpm, &s, key, &said),
		    add ? LY_OUTSIDE : LY_OK);
	}
	WANT(strstr(said.text, "another version"));
	s.version = ly_vault_version(h.vault);
	WANT_INT(ly_vault_tpm_chip.seal(h.tpm, key, &s, &said), LY_OK);
	put(&h, 8);
	WANT_INT(ly_vault_tpm_chip.unseal(h.tpm, &s, key, &said), LY_OUTSIDE);
	s.version++; /* a lie about what was sealed */
	WANT_INT(ly_vault_tpm_chip.unseal(h.tpm, &s, key, &said), LY_OUTSIDE);
	power_off(&h);
}

TEST(the_key_is_not_given_to_an_empty_password_either)
{
	struct ly_vault_sealed s;
	uint8_t key[LY_GCM_KEY] = { 1 };
	struct host h;

	begun(&h);
	s.version = ly_vault_version(h.vault);
	WANT_INT(ly_vault_tpm_chip.seal(h.tpm, key, &s, &said), LY_OK);
	stop(&h);
	SITE_OK(ly_file_write(site_path("pub"), s.pub, s.pub_len, 0600, &why));
	SITE_OK(
	    ly_file_write(site_path("priv"), s.priv, s.priv_len, 0600, &why));
	tools(&h,
	    "cd %s && tpm2_createprimary -C o -G ecc -c top -a 'restricted|"
	    "decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|"
	    "noda' && tpm2_flushcontext -t && tpm2_load -C top -u pub -r priv"
	    " -c key && tpm2_flushcontext -t && ! tpm2_unseal -c key",
	    site_root);
	power_off(&h);
}

TEST(a_counter_that_was_deleted_is_refused_and_made_again_goes_on_above)
{
	struct host h;
	uint64_t was, body;

	begun(&h);
	was = ly_vault_version(h.vault);
	stop(&h);
	tools(&h, "tpm2_nvundefine 0x%x", INDEX);
	refused(&h, "no counter at 0x1801c79", "there is a vault");
	WANT_INT(try_start(&h, true, &body), LY_OK);
	WANT_INT(body, 0);
	WANT(ly_vault_version(h.vault) > was);
	put(&h, 9);
	stop(&h);
	WANT_INT(start(&h), 9);
	power_off(&h);
}

TEST(a_cleared_TPM_is_refused)
{
	struct host h;

	begun(&h);
	stop(&h);
	tools(&h, "tpm2_clear");
	refused(&h, "no counter", "cleared");
	power_off(&h);
}

TEST(a_counter_without_a_vault_is_refused_unless_one_is_begun_anew)
{
	struct host h;
	uint64_t body;

	begun(&h);
	stop(&h);
	sh("rm %s/*", h.dir);
	refused(&h, "there is no vault", "says there is one of version");
	WANT_INT(try_start(&h, true, &body), LY_OK);
	put(&h, 8);
	stop(&h);
	WANT_INT(start(&h), 8);
	power_off(&h);
}

/* With the very number a counter would have. */
TEST(an_ordinary_index_in_the_place_of_the_counter_is_refused)
{
	struct host h;
	uint64_t body, version;

	begun(&h);
	version = ly_vault_version(h.vault);
	stop(&h);
	tools(&h,
	    "tpm2_nvundefine 0x%x && tpm2_nvdefine 0x%x -C o -s 8 -a"
	    " 'authread|authwrite|ownerread|no_da' && printf %016x |"
	    " xxd -r -p | tpm2_nvwrite 0x%x -i -",
	    INDEX, INDEX, (unsigned)version, INDEX);
	refused(&h, "not a counter of ours", "0x1801c79");
	WANT_INT(try_start(&h, true, &body), LY_REFUSED);
	power_off(&h);
}

TEST(a_counter_of_other_rights_in_its_place_is_refused)
{
	struct host h;

	begun(&h);
	stop(&h);
	tools(&h,
	    "tpm2_nvundefine 0x%x && tpm2_nvdefine 0x%x -C o -s 8 -a"
	    " 'nt=counter|authread|authwrite|ownerread|no_da|orderly' &&"
	    " tpm2_nvincrement 0x%x",
	    INDEX, INDEX, INDEX);
	refused(&h, "not a counter of ours", "");
	power_off(&h);
}

TEST(a_TPM_without_room_for_the_counter_is_refused)
{
	struct host h;

	power_on(&h);
	tools(&h,
	    "i=0; while tpm2_nvdefine $((0x1900000 + i)) -C o -s 8 -a"
	    " 'nt=counter|authread|authwrite' && tpm2_nvincrement"
	    " $((0x1900000 + i)); do i=$((i + 1)); done; test $i -gt 3");
	refused(&h, "no room for the counter", "tpm2_nvundefine");
	tools(&h, "tpm2_nvundefine 0x1900001");
	WANT_INT(start(&h), 0);
	power_off(&h);
}

TEST(a_TPM_that_is_not_there_is_refused)
{
	struct host h;
	uint64_t body;

	power_on(&h);
	swtpm_proc_end(&h.proc);
	WANT(try_start(&h, false, &body) != LY_OK);
	WANT(strstr(said.text, h.tcti) && strstr(said.text, "connecting"));
	stop(&h);
	ly_copy(h.tcti, sizeof(h.tcti), "device:/dev/no-such-tpm");
	WANT(try_start(&h, false, &body) != LY_OK);
	WANT(strstr(said.text, "/dev/no-such-tpm"));
	stop(&h);
}

TEST(a_TPM_that_nobody_has_started_is_refused)
{
	struct host h;

	power_on(&h);
	tools(&h, "swtpm_ioctl --unix %s.ctrl -i", h.proc.path);
	refused(&h, "not been started", "");
	power_off(&h);
}

TEST(an_owner_password_is_read_from_its_file_and_a_wrong_one_refused)
{
	char path[200];
	struct host h;

	power_on(&h);
	tools(&h, "tpm2_changeauth -c o secret");
	refused(&h, "password is wrong", "");
	ly_print(path, sizeof(path), "%s/../auth", h.dir);
	SITE_OK(ly_file_write(path, "secret\n", 7, 0600, &why));
	WANT_INT(reach(&h, path, &h.tpm), LY_OK);
	WANT_INT(start(&h), 0);
	put(&h, 7);
	stop(&h);
	WANT_INT(reach(&h, path, &h.tpm), LY_OK);
	WANT_INT(start(&h), 7);
	power_off(&h);
}

TEST(what_a_killed_agent_left_in_a_TPM_is_flushed_at_the_next_start)
{
	struct host h;

	begun(&h);
	stop(&h);
	tools(&h,
	    "for i in 1 2 3; do tpm2_createprimary -Q -c %s/c; echo"
	    " 80010000002b000001764000000740000007001000000000000000000000"
	    "0000000000000000000010000b | xxd -r -p | tpm2_send; done;"
	    " test $(tpm2_getcap handles-transient | wc -l) = 3 &&"
	    " test $(tpm2_getcap handles-loaded-session | wc -l) = 3",
	    site_root);
	WANT_INT(start(&h), 7);
	put(&h, 8);
	power_off(&h);
}

/* ---- killed at each call of the TPM, before and after ---- */

static struct {
	struct host *host;
	int call;
	bool done;
} until;

static bool
now(bool done)
{
	if (!done)
		until.call--;
	if (until.call == 0 && done == until.done)
		kill(getpid(), SIGKILL);
	return false;
}

static enum ly_rc
k_look(void *arg, struct ly_vault_look *out, struct ly_why *why)
{
	enum ly_rc rc = now(false) ? LY_OUTSIDE :
				     ly_vault_tpm_chip.look(arg, out, why);

	now(true);
	return rc;
}

static enum ly_rc
k_count(void *arg, struct ly_why *why)
{
	enum ly_rc rc = now(false) ? LY_OUTSIDE :
				     ly_vault_tpm_chip.count(arg, why);

	now(true);
	return rc;
}

static enum ly_rc
k_seal(void *arg, const uint8_t key[LY_GCM_KEY], struct ly_vault_sealed *out,
    struct ly_why *why)
{
	enum ly_rc rc = now(false) ? LY_OUTSIDE :
				     ly_vault_tpm_chip.seal(arg, key, out, why);

	now(true);
	return rc;
}

static const struct ly_vault_chip killing = { .look = k_look,
	.count = k_count,
	.seal = k_seal };

/* An agent that starts, and writes. */
static void
write_and_die(struct host *h, uint64_t body)
{
	struct ly_vault_chip of = killing;
	struct ly_vault *v;
	uint8_t *buf;
	size_t len;

	of.unseal = ly_vault_tpm_chip.unseal;
	if (reach(h, "", &h->tpm) != LY_OK ||
	    ly_vault_open(h->dir, &of, h->tpm, false, &v, &buf, &len, &said) !=
		LY_OK)
		_exit(3);
	_exit(ly_vault_write(v, (uint8_t *)&body, sizeof(body), false, &said) ==
		    LY_OK ?
		0 :
		2);
}

TEST(an_agent_killed_at_any_step_of_an_update_finds_the_old_or_the_new)
{
	uint64_t told = 7, asked = 7;
	unsigned old = 0, new = 0;
	struct host h;

	begun(&h);
	for (int i = 0; i < 14; i++) {
		uint64_t body;
		pid_t pid;
		int status;

		stop(&h);
		until.call = 1 + i / 2;
		until.done = i % 2;
		asked++;
		pid = fork();
		if (pid == 0)
			write_and_die(&h, asked);
		waitpid(pid, &status, 0);
		body = start(&h);
		if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
			told = asked;
		else
			WANT(WIFSIGNALED(status));
		WANT(body == told || body == asked);
		old += body == told && told != asked;
		new += body == asked;
		told = body;
	}
	WANT(old >= 3 && new >= 4);
	power_off(&h);
}

TEST(a_TPM_that_dies_and_comes_back_is_found_again)
{
	struct host h;
	uint64_t body = 8;
	char line[400];

	begun(&h);
	proc_end(h.proc.pid);
	WANT(ly_vault_write(h.vault, (uint8_t *)&body, sizeof(body), false,
		 &said) != LY_OK);
	WANT(ly_vault_ahead(h.vault, &said) != LY_OK);
	ly_print(line, sizeof(line),
	    "rm -f %s %s.ctrl; swtpm socket --tpm2 --daemon --pid file=%s/pid"
	    " --tpmstate dir=%s --flags not-need-init,startup-clear"
	    " --server type=unixio,path=%s --ctrl type=unixio,path=%s.ctrl"
	    " --seccomp action=none",
	    h.proc.path, h.proc.path, h.proc.dir, h.proc.dir, h.proc.path,
	    h.proc.path);
	sh("%s", line);
	put(&h, 9);
	put(&h, 10);
	stop(&h);
	WANT_INT(start(&h), 10);
	stop(&h);
	sh("kill $(cat %s/pid)", h.proc.dir);
	power_off(&h);
}

TEST_MAIN()

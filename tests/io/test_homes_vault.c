/* SPDX-License-Identifier: Apache-2.0 */
/* The homes with their records in a vault, on a swtpm as the host's TPM. */
#include "agent/io/homes_in.h"
#include "agent/io/records.h"
#include "agent/io/vault_tpm.h"
#include "tests/io/swtpm_proc.h"
#include "tests/unit/homes_scene.h"

#define INDEX 0x1801c79
#define MANY 40

static void
sh(const char *fmt, ...)
{
	char cmd[900];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	if (system(cmd) != 0)
		test_fail(__FILE__, __LINE__, "failed: %s", cmd);
}

static void
vault_scene(struct scene *s, struct swtpm_proc *p)
{
	scene_of(s);
	if (!swtpm_proc_start(p))
		test_fail(__FILE__, __LINE__, "no swtpm");
	ly_print(s->agent.conf.vault, sizeof(s->agent.conf.vault),
	    "swtpm:path=%s", p->path);
	s->agent.conf.vault_nv = INDEX;
	sh("TPM2TOOLS_TCTI=%s tpm2_startup -c >/dev/null 2>&1",
	    s->agent.conf.vault);
}

static void
vault_end(struct scene *s, struct swtpm_proc *p)
{
	end(s);
	swtpm_proc_end(p);
}

/* Until no job is under way. */
static void
rest(struct scene *s)
{
	while (s->agent.homes->job)
		uv_run(&s->loop, UV_RUN_ONCE);
}

static uint64_t
version(struct scene *s)
{
	rest(s);
	return ly_vault_version(s->agent.homes->vault);
}

/* As a restart does. */
static void
again(struct scene *s)
{
	shut(s);
	open_homes(s);
}

static void
refused(struct scene *s, const char *part)
{
	struct ly_homes *hs;
	struct ly_why why;

	WANT(ly_homes_open(&s->agent, &hs, &why) != LY_OK);
	if (!strstr(why.text, part))
		test_fail(__FILE__, __LINE__, "said: %s", why.text);
}

static unsigned granted;

static void
count_granted(void *arg, unsigned type, const void *m)
{
	(void)arg;
	granted += type == LY_GRANTED &&
	    ((const struct ly_granted *)m)->rc == LY_OK;
}

TEST(leases_asked_for_together_share_one_count_of_the_TPM)
{
	struct swtpm_proc p;
	struct scene s;
	struct ly_visitor *v;
	struct ly_agent_tpm many[MANY] = { 0 };
	struct ly_id id = { { 9 } };
	uint64_t was;

	vault_scene(&s, &p);
	s.agent.conf.tpms = many;
	s.agent.conf.tpms_n = MANY;
	for (unsigned i = 0; i < MANY; i++)
		ly_print(many[i].name, LY_NAME_MAX, "t%u", i);
	open_homes(&s);
	for (uint8_t i = 0; i < MANY; i++) {
		id.b[1] = i;
		bind_vm(&s, &id);
	}
	until(&s, &s.done_n, MANY);
	was = version(&s);
	granted = 0;
	v = ly_visitor_new(s.agent.homes, host_a, count_granted, NULL);
	for (uint8_t i = 0; i < MANY; i++) {
		id.b[1] = i;
		attach(&s, v, &id, i);
	}
	until(&s, &granted, MANY);
	/* the first starts a job, all the others share the next */
	WANT_INT(version(&s) - was, 2);
	ly_visitor_free(v);
	again(&s);
	WANT_INT(version(&s) - was, 2);
	vault_end(&s, &p);
}

TEST(a_home_finds_its_records_in_the_vault_and_none_beside_it)
{
	struct swtpm_proc p;
	struct scene s;
	struct ly_visitor *v;

	vault_scene(&s, &p);
	open_homes(&s);
	bound(&s, &vm);
	granted = 0;
	v = ly_visitor_new(s.agent.homes, host_a, count_granted, NULL);
	attach(&s, v, &vm, 0);
	until(&s, &granted, 1);
	ly_visitor_free(v);
	again(&s);
	WANT_INT(s.agent.homes->homes_n, 1);
	WANT_INT(s.agent.homes->first->core.rec.epoch, 1);
	sh("test -z \"$(grep -rl %s %s)\"", host_a, s.agent.conf.state);
	sh("test $(ls %s | wc -l) = 1", s.agent.conf.state);
	vault_end(&s, &p);
}

TEST(a_lease_is_not_granted_while_the_vaults_TPM_is_away_and_is_after)
{
	struct swtpm_proc p;
	struct scene s;
	struct ly_visitor *v;

	vault_scene(&s, &p);
	open_homes(&s);
	bound(&s, &vm);
	rest(&s);
	proc_end(p.pid);
	v = visitor(&s);
	attach(&s, v, &vm, 0);
	until(&s, &s.heard.n, 1);
	WANT_INT(s.heard.m.granted.rc, LY_OUTSIDE);
	rest(&s);
	WANT(!s.agent.homes->disk_ok && !s.agent.homes->vault_ok);
	sh("rm -f %s %s.ctrl; swtpm socket --tpm2 --daemon --pid file=%s/pid"
	   " --tpmstate dir=%s --flags not-need-init,startup-clear"
	   " --server type=unixio,path=%s --ctrl type=unixio,path=%s.ctrl"
	   " --seccomp action=none",
	    p.path, p.path, p.dir, p.dir, p.path, p.path);
	attach(&s, v, &vm, 0);
	until(&s, &s.heard.n, 2);
	WANT_INT(s.heard.m.granted.rc, LY_OK);
	rest(&s);
	WANT(s.agent.homes->disk_ok && s.agent.homes->vault_ok);
	ly_visitor_free(v);
	again(&s);
	WANT_INT(s.agent.homes->first->core.rec.epoch, 1);
	sh("kill $(cat %s/pid)", p.dir);
	vault_end(&s, &p);
}

static void
on_limit(uv_timer_t *timer)
{
	(void)timer;
	test_fail(__FILE__, __LINE__, "not counted in time");
}

TEST(a_lazy_lease_is_counted_within_two_seconds_or_at_the_end)
{
	struct swtpm_proc p;
	struct scene s;
	struct ly_visitor *v;
	uv_timer_t limit;
	uint64_t was;

	vault_scene(&s, &p);
	s.agent.conf.vault_lazy = true;
	open_homes(&s);
	bound(&s, &vm);
	rest(&s);
	was = version(&s);
	WANT(s.agent.homes->owed);
	uv_timer_init(&s.loop, &limit);
	uv_timer_start(&limit, on_limit, 2000, 0);
	while (s.agent.homes->owed)
		uv_run(&s.loop, UV_RUN_ONCE);
	uv_close((uv_handle_t *)&limit, NULL);
	WANT(version(&s) > was);
	granted = 0;
	v = ly_visitor_new(s.agent.homes, host_a, count_granted, NULL);
	attach(&s, v, &vm, 0);
	until(&s, &granted, 1);
	rest(&s);
	WANT(s.agent.homes->owed);
	ly_visitor_free(v);
	shut(&s);
	sh("test $(ls %s | wc -l) = 1", s.agent.conf.state);
	open_homes(&s);
	WANT(!s.agent.homes->owed);
	WANT_INT(s.agent.homes->first->core.rec.epoch, 1);
	vault_end(&s, &p);
}

TEST(records_of_a_plain_file_are_taken_in_only_when_that_is_asked_for)
{
	struct swtpm_proc p;
	struct scene s;
	char tcti[256];

	vault_scene(&s, &p);
	ly_copy(tcti, sizeof(tcti), s.agent.conf.vault);
	ly_copy(s.agent.conf.vault, sizeof(s.agent.conf.vault), "none");
	open_homes(&s);
	bound(&s, &vm);
	shut(&s);
	ly_copy(s.agent.conf.vault, sizeof(s.agent.conf.vault), tcti);
	refused(&s, "in no vault");
	s.agent.new_vault = true;
	open_homes(&s);
	WANT_INT(s.agent.homes->homes_n, 1);
	s.agent.new_vault = false;
	again(&s);
	WANT_INT(s.agent.homes->homes_n, 1);
	shut(&s);
	ly_copy(s.agent.conf.vault, sizeof(s.agent.conf.vault), "none");
	refused(&s, "would forget");
	ly_copy(s.agent.conf.vault, sizeof(s.agent.conf.vault), tcti);
	open_homes(&s);
	vault_end(&s, &p);
}

TEST(a_host_that_is_nobodys_home_needs_no_TPM)
{
	struct scene s;

	scene_of(&s);
	ly_copy(s.agent.conf.vault, sizeof(s.agent.conf.vault),
	    "device:/dev/no-such-tpm");
	refused(&s, "/dev/no-such-tpm");
	s.agent.conf.tpms_n = 0;
	open_homes(&s);
	end(&s);
}

TEST_MAIN()

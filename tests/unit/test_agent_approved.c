/* SPDX-License-Identifier: Apache-2.0 */
/* agent/io/approved: what a host believes of the lists its manager sends. */
#include "agent/io/approved.h"
#include "lib/io/file.h"
#include "tests/unit/policy_pem.h"

#include "tests/test.h"

#include <unistd.h>

static struct ly_agent agent;
static struct authority pol, other;
static struct list made;
static char root[64];
static struct ly_why why;

static const char *
in_root(const char *name)
{
	static char path[4][160];
	static unsigned turn;
	char *out = path[turn++ % LY_COUNT(path)];

	ly_print(out, sizeof(path[0]), "%s/%s", root, name);
	return out;
}

static void
begin(void)
{
	ly_print(root, sizeof(root), "/tmp/lyagappr-%d", (int)getpid());
	WANT_INT(ly_file_mkdir(in_root("trust"), 0700, &why), LY_OK);
	authority_make(&pol, 1);
	authority_make(&other, 2);
	write_key(in_root("trust/south.policy.pem"), &pol);
	ly_copy(agent.conf.state, sizeof(agent.conf.state), root);
	ly_copy(agent.conf.trust, sizeof(agent.conf.trust), in_root("trust"));
	WANT_INT(ly_approved_open(&agent, &why), LY_OK);
}

static void
end(void)
{
	char cmd[96];

	ly_approved_close(&agent);
	ly_print(cmd, sizeof(cmd), "rm -rf %s", root);
	WANT_INT(system(cmd), 0);
}

static void
hear(const char *site, uint64_t serial, const struct authority *by, int spoil)
{
	struct ly_approved_told m = { .site = "" };

	list_start(&made, site, serial, 1);
	list_add(&made, "compute", "Debian", 1);
	m.list = sign_list(&made, by);
	if (spoil)
		made.bytes[spoil] ^= 1;
	ly_copy(m.site, sizeof(m.site), site);
	ly_approved_hear(&agent, &m);
}

static uint64_t
serial(void)
{
	const struct ly_approved *l = ly_agent_approved(&agent, "south");

	return l ? l->serial : 0;
}

TEST(a_host_keeps_the_newest_list_that_the_pinned_key_has_signed)
{
	begin();
	WANT_INT(serial(), 0);
	hear("south", 4, &other, 0);
	WANT_INT(serial(), 0);
	hear("south", 4, &pol, 50);
	WANT_INT(serial(), 0);
	hear("south", 4, &pol, 0);
	WANT_INT(serial(), 4);
	hear("south", 3, &pol, 0);
	WANT_INT(serial(), 4);
	hear("south", 9, &other, 0);
	WANT_INT(serial(), 4);
	ly_approved_hear(&agent, &(struct ly_approved_told){ .site = "south" });
	WANT_INT(serial(), 4);
	end();
}

TEST(a_restart_forgets_no_list_and_takes_no_older_one)
{
	begin();
	hear("south", 6, &pol, 0);
	ly_approved_close(&agent);
	WANT_INT(ly_approved_open(&agent, &why), LY_OK);
	WANT_INT(serial(), 6);
	hear("south", 5, &pol, 0);
	WANT_INT(serial(), 6);
	end();
}

TEST(a_site_without_a_pinned_key_approves_nothing)
{
	uint8_t name[LY_TPM_NAME], want[LY_TPM_NAME];
	struct ly_point key;

	begin();
	hear("west", 2, &pol, 0);
	WANT(!ly_agent_approved(&agent, "west"));
	WANT_INT(ly_agent_policy_name(&agent, "west", name, NULL, &why),
	    LY_UNKNOWN);
	WANT_INT(ly_agent_policy_name(&agent, "south", name, &key, &why),
	    LY_OK);
	ly_tpm_authority_name(&pol.key, want);
	WANT_MEM(name, want, sizeof(want));
	WANT_MEM(&key, &pol.key, sizeof(key));
	end();
}

TEST_MAIN()

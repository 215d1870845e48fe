/* SPDX-License-Identifier: Apache-2.0 */
/* lanyard-agent.conf: what its keys must be together. */
#include "agent/io/agent.h"
#include "tests/unit/site.h"

static struct ly_why said;

/* Of a file with a manager and these lines. */
static enum ly_rc
conf(const char *agent, const char *tpm, struct ly_agent_conf *out)
{
	const char *path = site_path("agent.conf");
	char text[600];

	ly_print(text, sizeof(text),
	    "[agent]\nmanager = m:1\n%s\n[tpm a]\ntcti = device:/dev/tpm0\n%s\n",
	    agent, tpm);
	SITE_OK(ly_file_write(path, text, strlen(text), 0600, &why));
	said.text[0] = '\0';
	return ly_agent_conf_read(path, out, &said);
}

static void
refused(const char *agent, const char *tpm, const char *part)
{
	struct ly_agent_conf c;

	WANT_INT(conf(agent, tpm, &c), LY_REFUSED);
	if (!strstr(said.text, part) || !strstr(said.text, "agent.conf"))
		test_fail(__FILE__, __LINE__, "said: %s", said.text);
}

TEST(the_vault_is_by_default_strict_and_in_the_machines_own_chip)
{
	struct ly_agent_conf c;

	WANT_INT(conf("", "", &c), LY_OK);
	WANT_STR(c.vault, "device:/dev/tpmrm0");
	WANT_INT(c.vault_nv, 0x01801c79);
	WANT(!c.vault_lazy);
	ly_agent_conf_fini(&c);
}

TEST(a_host_with_a_vault_proves_what_it_is_unless_told_not_to)
{
	struct ly_agent_conf c;

	WANT_INT(conf("vault = device:/dev/tpmrm1", "", &c), LY_OK);
	WANT(c.attests);
	ly_agent_conf_fini(&c);
	WANT_INT(conf("vault = swtpm:path=/x", "", &c), LY_OK);
	WANT(c.attests);
	ly_agent_conf_fini(&c);
	WANT_INT(conf("vault = device:/dev/tpmrm1\nattest = no", "", &c),
	    LY_OK);
	WANT(!c.attests);
	ly_agent_conf_fini(&c);
	WANT_INT(conf("vault = none\neventlog = /x/log", "", &c), LY_OK);
	WANT(!c.attests);
	WANT_STR(c.eventlog, "/x/log");
	ly_agent_conf_fini(&c);
	refused("vault = none\nattest = yes", "", "no TPM");
	refused("attest = perhaps", "", "attest");
}

TEST(a_host_whose_TPM_a_VM_has_proves_nothing)
{
	struct ly_agent_conf c;

	WANT_INT(conf("", "", &c), LY_OK); /* tpm0, and tpmrm0: one chip */
	WANT(!c.attests);
	ly_agent_conf_fini(&c);
	refused("attest = yes", "", "what it likes");
	refused("vault = device:/dev/x\nattest = yes", "", "what it likes");
}

TEST(the_counters_index_is_one_of_the_owners)
{
	struct ly_agent_conf c;

	WANT_INT(conf("vault_index = 0x01bfffff\nclaim_durability = lazy", "",
		     &c),
	    LY_OK);
	WANT_INT(c.vault_nv, 0x01bfffff);
	WANT(c.vault_lazy);
	ly_agent_conf_fini(&c);
	refused("vault_index = 0x01c00002", "", "vault_index");
	refused("vault_index = 0x017fffff", "", "vault_index");
	refused("vault_index = 0x01801c79x", "", "vault_index");
	refused("vault_index = tpm", "", "vault_index");
	refused("claim_durability = often", "", "claim_durability");
}

TEST(what_was_sent_is_quoted_at_one_of_three_times)
{
	struct ly_agent_conf c;

	WANT_INT(conf("", "", &c), LY_OK);
	WANT_STR(c.fin_quote, "auto");
	ly_agent_conf_fini(&c);
	WANT_INT(conf("fin_quote = after", "", &c), LY_OK);
	WANT_STR(c.fin_quote, "after");
	ly_agent_conf_fini(&c);
	refused("fin_quote = never", "", "fin_quote");
}

TEST(a_VM_that_may_clear_its_TPM_has_not_the_one_of_the_vault)
{
	struct ly_agent_conf c;

	refused("", "allow_clear = yes", "[tpm a] allow_clear");
	refused("vault = device:/dev/tpm0", "allow_clear = yes", "cleared");
	WANT_INT(conf("vault = swtpm:path=/x", "allow_clear = yes", &c), LY_OK);
	WANT(!ly_agent_vault_chip(&c, &c.tpms[0]));
	ly_agent_conf_fini(&c);
	refused("vault = swtpm:path=/x", "[tpm b]\ntcti = swtpm:path=/x",
	    "[tpm b] tcti");
	WANT_INT(conf("vault = none", "allow_clear = yes", &c), LY_OK);
	ly_agent_conf_fini(&c);
	WANT_INT(conf("", "", &c), LY_OK);
	WANT(ly_agent_vault_chip(&c, &c.tpms[0]));
	ly_agent_conf_fini(&c);
}

TEST_MAIN()

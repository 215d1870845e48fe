/* SPDX-License-Identifier: Apache-2.0 */
/* lanyard-agent.conf(5): the table of keys, and what they must be together. */
#include "agent/io/agent.h"
#include "lib/io/conf.h"
#include "lib/link/lease.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

/* What Unix socket paths leave for [agent] run: "RUN/NAME/mig-out.sock". */
#define RUN_MAX (sizeof(((struct sockaddr_un *)0)->sun_path) - LY_NAME_MAX - 14)
#define COUNT_MAX 10000
/* NV indices that are the owner's to give away. */
#define OWNER_FIRST 0x01800000ul
#define OWNER_LAST 0x01bffffful
#define KERNEL_LOG "/sys/kernel/security/tpm0/binary_bios_measurements"
#define PATIENCE_LEAST 10 /* seconds */

/* One [tpm NAME], as it stands in the file. */
struct section {
	char name[LY_NAME_MAX];
	char tcti[256];
	bool allow_clear;
	uint64_t patience;
	uint64_t count;
};

struct file {
	struct ly_agent_conf conf;
	struct section *tpms;
	size_t tpms_n;
};

// clang-format off
#define AGENT(member, kind, must, deflt, what)                                 \
	LY_CONF(struct ly_agent_conf, "agent", member, kind, 0, must, deflt, what)
#define AGENT_UINT(member, most, deflt, what)                                  \
	LY_CONF(struct ly_agent_conf, "agent", member, LY_CONF_UINT, most,     \
	    false, deflt, what)
#define TPM(member, kind, most, must, deflt, what)                             \
	LY_CONF(struct section, "tpm *", member, kind, most, must, deflt, what)

static const struct ly_conf_key keys[] = {
	AGENT(cert, LY_CONF_PATH, false, "/etc/lanyard/host.pem",
	    "This host's certificate (PEM), from `lanyard host add`."),
	AGENT(key, LY_CONF_PATH, false, "/etc/lanyard/host.key",
	    "Its private key (PEM, mode 0600)."),
	AGENT(trust, LY_CONF_PATH, false, "/etc/lanyard/trust",
	    "Directory of SITE.pem: the CA of this site and of each peer."),
	AGENT(listen, LY_CONF_ADDRESS, false, "0.0.0.0:7010",
	    "Where other agents reach this one."),
	AGENT(address, LY_CONF_ADDRESS, false, NULL,
	    "The same as others must dial it; default: listen."),
	AGENT(manager, LY_CONF_ADDRESS, true, NULL,
	    "This site's manager."),
	AGENT(state, LY_CONF_PATH, false, LY_STATEDIR "/agent",
	    "Directory of the record of each VM whose home is here."),
	AGENT(run, LY_CONF_PATH, false, LY_RUNDIR "/vm",
	    "Directory of sockets and logs, one directory a VM."),
	LY_CONF(struct ly_agent_conf, "agent", lease_ms, LY_CONF_UINT,
	    LY_LEASE_MOST_MS, false, "10000",
	    "How long a host may use a TPM of here unasked; 500 to 60000."),
	AGENT(attest, LY_CONF_TEXT, false, NULL,
	    "Prove by the vault's TPM what this host is; yes if no VM has that."),
	AGENT(eventlog, LY_CONF_PATH, false, NULL,
	    "Event log of the firmware; the kernel's, if it can be read."),
	AGENT(vault, LY_CONF_TEXT, false, "device:/dev/tpmrm0",
	    "This host's TPM, by TCTI string, which guards the records; or none."),
	AGENT(vault_index, LY_CONF_TEXT, false, "0x01801c79",
	    "NV index of its counter, 0x01800000 to 0x01bfffff."),
	AGENT(vault_auth, LY_CONF_PATH, false, NULL,
	    "File with the owner hierarchy's password, if it has one."),
	AGENT(claim_durability, LY_CONF_TEXT, false, "strict",
	    "strict: a lease counts before it is told; lazy: within a second."),
	AGENT(fin_quote, LY_CONF_TEXT, false, "auto",
	    "The TPM's word for what was sent: inline, after, or as it is fast."),
	AGENT(qemu, LY_CONF_PATH, false, "/usr/bin/qemu-system-x86_64",
	    "The QEMU that runs the VMs."),
	AGENT(on_release, LY_CONF_PATH, false, NULL,
	    "Run at a source, its guest stopped, before the lease is let go."),
	AGENT(on_claim, LY_CONF_PATH, false, NULL,
	    "Run with the new lease, before the guest runs here."),
	AGENT(on_abort, LY_CONF_PATH, false, NULL,
	    "Run at a source that keeps its VM, before the guest goes on."),
	AGENT_UINT(hook_timeout, 60, "10",
	    "Seconds a hook has; then it is killed, and has failed."),
	TPM(tcti, LY_CONF_TEXT, 0, true, NULL,
	    "How to reach this TPM: socket:PATH, device:PATH, or a TCTI string."),
	TPM(allow_clear, LY_CONF_BOOL, 0, false, "no",
	    "Let the VM clear it (TPM2_Clear): only if it is the VM's for good."),
	TPM(patience, LY_CONF_UINT, 86400, false, "300",
	    "Seconds it has for one command; then it has failed. At least 10."),
	TPM(count, LY_CONF_UINT, COUNT_MAX, false, "0",
	    "Over 0: that many TPMs, NAME0 and on, %d in tcti being the number."),
};
// clang-format on

static void *
named(void *arg, const char *kind, const char *name, struct ly_why *why)
{
	struct file *f = LY_HOLDER(arg, struct file, conf);
	void *more;

	(void)kind;
	if (!ly_name_good(name)) {
		ly_fail(why, LY_REFUSED, "[tpm %s]: not a good name", name);
		return NULL;
	}
	more = realloc(f->tpms, (f->tpms_n + 1) * sizeof(*f->tpms));
	if (!more)
		abort();
	f->tpms = more;
	f->tpms[f->tpms_n] = (struct section){ .count = 0 };
	ly_copy(f->tpms[f->tpms_n].name, LY_NAME_MAX, name);
	return &f->tpms[f->tpms_n++];
}

/* "%d" once, replaced by `i`. */
static enum ly_rc
numbered(const char *tcti, unsigned i, char *out, size_t size,
    struct ly_why *why)
{
	const char *at = strstr(tcti, "%d");

	if (!at)
		return ly_fail(why, LY_REFUSED,
		    "count needs a %%d in tcti for the number");
	if (!ly_print(out, size, "%.*s%u%s", (int)(at - tcti), tcti, i, at + 2))
		return ly_fail(why, LY_FULL, "tcti too long");
	return LY_OK;
}

static enum ly_rc
expand(const struct section *s, struct ly_agent_conf *conf, struct ly_why *why)
{
	size_t n = s->count ? s->count : 1;
	void *more = realloc(conf->tpms,
	    (conf->tpms_n + n) * sizeof(*conf->tpms));
	enum ly_rc rc = LY_OK;

	if (!more)
		abort();
	if (s->patience < PATIENCE_LEAST)
		rc = ly_fail(why, LY_REFUSED, "patience: %llu, at least %u",
		    (unsigned long long)s->patience, PATIENCE_LEAST);
	conf->tpms = more;
	for (unsigned i = 0; i < n && rc == LY_OK; i++) {
		struct ly_agent_tpm *t = &conf->tpms[conf->tpms_n++];

		*t = (struct ly_agent_tpm){ .allow_clear = s->allow_clear,
			.patience_s = s->patience };
		ly_copy(t->name, sizeof(t->name), s->name);
		ly_copy(t->tcti, sizeof(t->tcti), s->tcti);
		if (!s->count)
			continue;
		if (!ly_print(t->name, sizeof(t->name), "%s%u", s->name, i))
			rc = ly_fail(why, LY_FULL, "name too long");
		else
			rc = numbered(s->tcti, i, t->tcti, sizeof(t->tcti),
			    why);
	}
	return rc == LY_OK ? rc : ly_fail_in(why, rc, "[tpm %s]", s->name);
}

static enum ly_rc
same_name_twice(const struct ly_agent_conf *conf, struct ly_why *why)
{
	for (size_t i = 0; i < conf->tpms_n; i++)
		for (size_t k = 0; k < i && conf->tpms_n <= 256; k++)
			if (!strcmp(conf->tpms[i].name, conf->tpms[k].name))
				return ly_fail(why, LY_REFUSED,
				    "two TPMs named %s", conf->tpms[i].name);
	return LY_OK;
}

bool
ly_agent_vault_chip(const struct ly_agent_conf *conf,
    const struct ly_agent_tpm *tpm)
{
	static const char device[] = "device:";
	size_t n = strlen(device);

	return strcmp(conf->vault, tpm->tcti) == 0 ||
	    (strncmp(conf->vault, device, n) == 0 &&
		strncmp(tpm->tcti, device, n) == 0);
}

/* A VM that may clear the chip may clear the counter; and a swtpm has one
 * connection, so who comes second waits for ever. */
static enum ly_rc
vault_apart(const struct ly_agent_conf *conf, struct ly_why *why)
{
	for (size_t i = 0; i < conf->tpms_n; i++) {
		if (!ly_agent_vault_chip(conf, &conf->tpms[i]))
			continue;
		if (strncmp(conf->vault, "swtpm", 5) == 0)
			return ly_fail(why, LY_REFUSED,
			    "[tpm %s] tcti: the swtpm of [agent] vault, which"
			    " serves one at a time",
			    conf->tpms[i].name);
		if (conf->tpms[i].allow_clear)
			return ly_fail(why, LY_REFUSED,
			    "[tpm %s] allow_clear: this TPM may be the one of"
			    " [agent] vault, which would be cleared with it",
			    conf->tpms[i].name);
	}
	return LY_OK;
}

/* N of "device:/dev/tpmN" and "device:/dev/tpmrmN"; -1: of anything else. */
static int
chip_number(const char *tcti)
{
	int n = -1, end = 0;

	if (sscanf(tcti, "device:/dev/tpm%d%n", &n, &end) == 1 && !tcti[end])
		return n;
	if (sscanf(tcti, "device:/dev/tpmrm%d%n", &n, &end) == 1 && !tcti[end])
		return n;
	return -1;
}

/* The VM that has our chip extends its PCRs and may use its keys: what that
 * chip says of its host is what the guest likes. */
static const struct ly_agent_tpm *
shared_chip(const struct ly_agent_conf *conf)
{
	int ours = chip_number(conf->vault);

	for (size_t i = 0; i < conf->tpms_n; i++) {
		int theirs = chip_number(conf->tpms[i].tcti);

		if (ours >= 0 && theirs >= 0 ?
			ours == theirs :
			ly_agent_vault_chip(conf, &conf->tpms[i]))
			return &conf->tpms[i];
	}
	return NULL;
}

static enum ly_rc
attest_keys(struct ly_agent_conf *conf, struct ly_why *why)
{
	bool chip = strcmp(conf->vault, "none") != 0;
	const struct ly_agent_tpm *shared = shared_chip(conf);

	if (!*conf->attest)
		ly_copy(conf->attest, sizeof(conf->attest),
		    chip && !shared ? "yes" : "no");
	conf->attests = strcmp(conf->attest, "yes") == 0;
	if (!conf->attests && strcmp(conf->attest, "no") != 0)
		return ly_fail(why, LY_REFUSED,
		    "[agent] attest: %s: not yes or no", conf->attest);
	if (conf->attests && !chip)
		return ly_fail(why, LY_REFUSED,
		    "[agent] attest: yes, but vault is none: there is no TPM to"
		    " prove anything with");
	if (conf->attests && shared)
		return ly_fail(why, LY_REFUSED,
		    "[agent] attest: yes, but the TPM of vault is that of [tpm"
		    " %s]: a VM that has it could say of this host what it"
		    " likes",
		    shared->name);
	if (!*conf->eventlog && access(KERNEL_LOG, R_OK) == 0)
		ly_copy(conf->eventlog, sizeof(conf->eventlog), KERNEL_LOG);
	return LY_OK;
}

static enum ly_rc
vault_keys(struct ly_agent_conf *conf, struct ly_why *why)
{
	char *end;
	unsigned long nv = strtoul(conf->vault_index, &end, 0);

	if (attest_keys(conf, why) != LY_OK)
		return LY_REFUSED;
	if (*end || nv < OWNER_FIRST || nv > OWNER_LAST)
		return ly_fail(why, LY_REFUSED,
		    "[agent] vault_index: %s: not from 0x%08lx to 0x%08lx",
		    conf->vault_index, OWNER_FIRST, OWNER_LAST);
	conf->vault_nv = (uint32_t)nv;
	conf->vault_lazy = strcmp(conf->claim_durability, "lazy") == 0;
	if (!conf->vault_lazy && strcmp(conf->claim_durability, "strict") != 0)
		return ly_fail(why, LY_REFUSED,
		    "[agent] claim_durability: %s: not strict or lazy",
		    conf->claim_durability);
	return vault_apart(conf, why);
}

static enum ly_rc
fin_quote_key(const struct ly_agent_conf *conf, struct ly_why *why)
{
	static const char *const good[] = { "auto", "inline", "after" };

	for (unsigned i = 0; i < LY_COUNT(good); i++)
		if (strcmp(conf->fin_quote, good[i]) == 0)
			return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    "[agent] fin_quote: %s: not auto, inline or after",
	    conf->fin_quote);
}

enum ly_rc
ly_agent_conf_read(const char *path, struct ly_agent_conf *conf,
    struct ly_why *why)
{
	struct file f = { .tpms = NULL };
	enum ly_rc rc = ly_conf_read(path, keys, LY_COUNT(keys), named, &f.conf,
	    why);

	for (size_t i = 0; i < f.tpms_n && rc == LY_OK; i++) {
		rc = expand(&f.tpms[i], &f.conf, why);
		if (rc != LY_OK)
			rc = ly_fail_in(why, rc, "%s", path);
	}
	free(f.tpms);
	if (rc == LY_OK && same_name_twice(&f.conf, why) != LY_OK)
		rc = ly_fail_in(why, LY_REFUSED, "%s", path);
	if (rc == LY_OK && f.conf.hook_timeout == 0)
		rc = ly_fail(why, LY_REFUSED,
		    "%s: [agent] hook_timeout: 0, at least 1", path);
	if (rc == LY_OK &&
	    (vault_keys(&f.conf, why) != LY_OK ||
		fin_quote_key(&f.conf, why) != LY_OK))
		rc = ly_fail_in(why, LY_REFUSED, "%s", path);
	if (rc == LY_OK && strlen(f.conf.run) > RUN_MAX)
		rc = ly_fail(why, LY_REFUSED,
		    "%s: [agent] run: %zu characters, at most %zu (Unix socket"
		    " paths are short)",
		    path, strlen(f.conf.run), (size_t)RUN_MAX);
	if (rc == LY_OK && f.conf.lease_ms < LY_LEASE_LEAST_MS)
		rc = ly_fail(why, LY_REFUSED,
		    "%s: [agent] lease_ms: %llu, at least %u", path,
		    (unsigned long long)f.conf.lease_ms, LY_LEASE_LEAST_MS);
	if (rc != LY_OK) {
		free(f.conf.tpms);
		return rc;
	}
	if (!*f.conf.address)
		ly_copy(f.conf.address, sizeof(f.conf.address), f.conf.listen);
	*conf = f.conf;
	return LY_OK;
}

void
ly_agent_conf_say(const struct ly_agent_conf *conf)
{
	ly_conf_say(keys, LY_COUNT(keys), "agent", NULL, conf);
	for (size_t i = 0; i < conf->tpms_n; i++) {
		const struct ly_agent_tpm *t = &conf->tpms[i];
		struct section s = { .allow_clear = t->allow_clear,
			.patience = t->patience_s };

		ly_copy(s.tcti, sizeof(s.tcti), t->tcti);
		ly_conf_say(keys, LY_COUNT(keys), "tpm", t->name, &s);
	}
}

void
ly_agent_conf_help(void)
{
	const char *section = "";

	for (size_t i = 0; i < LY_COUNT(keys); i++) {
		if (strcmp(section, keys[i].section) != 0)
			printf("\n[%s]\n", keys[i].section);
		section = keys[i].section;
		printf("  %-12s %s%s%s%s\n", keys[i].key, keys[i].what,
		    keys[i].deflt ? " Default: " : "",
		    keys[i].deflt ? keys[i].deflt : "",
		    keys[i].must ? " Must be given." : "");
	}
}

void
ly_agent_conf_fini(struct ly_agent_conf *conf)
{
	free(conf->tpms);
	conf->tpms = NULL;
	conf->tpms_n = 0;
}

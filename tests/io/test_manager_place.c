/* SPDX-License-Identifier: Apache-2.0 */
/* timeout: 120 */
/*
 * `lanyard attest`: the manager asks two hosts and believes them only together.
 * The VM runs at south/s1, its TPM is at north/n1; n2 is somebody else.
 */
#include "tests/io/attest_scene.h"

#include <sys/wait.h>

/* What a host answers here instead of what is true. */
enum lie {
	TRUE_WORD,
	OLD_EPOCH,   /* V: the lease of before */
	OTHER_LINK,  /* H: somebody else's key at its link */
	NO_LINK,     /* H: nobody's */
	RELAYED,     /* V: the quote of n2, which says it runs the VM */
	OTHERS_CALL, /* V: the quote it made for the call before */
};

static enum lie lie[FAKES];
static uint8_t before[64 * 1024]; /* of V, for the call before */
static size_t before_len;

static bool
place_call(const struct fake *f, struct ly_bytes object, struct ly_call *out)
{
	const uint8_t *tagged;
	struct ly_peer signer;
	struct ly_why no;
	size_t len;

	return ly_verify(f->ids, LY_TYPE_CALL, object.at, object.len, &tagged,
		   &len, &signer, &no) == LY_OK &&
	    ly_message_get_tagged(&ly_call_message, tagged, len, out, &no) ==
	    LY_OK;
}

static struct ly_context
place_context(struct fake *f, const struct ly_call *c, uint8_t role)
{
	enum lie how = lie[f - fakes];
	struct ly_context x;

	if (how == RELAYED)
		f = &fakes[N2];
	x = context_of(f, c, role);
	if (how == OLD_EPOCH)
		x.epoch--;
	if (role != LY_AS_TPM)
		return x;
	x.seq = 6;
	memset(x.vpcrs, 0x77, sizeof(x.vpcrs));
	memcpy(x.holder_hk, tpm_of(fake_by_id(c->source))->hk, 32);
	if (how == OTHER_LINK)
		memcpy(x.holder_hk, tpms[N2].hk, 32);
	if (how == NO_LINK)
		memset(x.holder_hk, 0, 32);
	return x;
}

static bool
place_answers(struct fake *f, unsigned type, const union ly_any *m,
    struct ly_done *d)
{
	static uint8_t out[FAKES][64 * 1024];
	struct fake *who = lie[f - fakes] == RELAYED ? &fakes[N2] : f;
	uint8_t *at = out[f - fakes];
	struct ly_call call;
	struct ly_context x;
	size_t len;

	if (type != LY_QUOTE)
		return fake_attested(f, type, m, d);
	if (!place_call(f, m->quote.call, &call)) {
		d->rc = LY_REFUSED;
		return true;
	}
	x = place_context(f, &call, m->quote.role);
	len = make_evidence(who, &x, true, at, sizeof(out[0]));
	d->data = (struct ly_bytes){ at, len };
	if (lie[f - fakes] == OTHERS_CALL)
		d->data = (struct ly_bytes){ before, before_len };
	if (f == &fakes[S1] && lie[S1] == TRUE_WORD) {
		memcpy(before, at, len);
		before_len = len;
	}
	return true;
}

static void
place_scene(void)
{
	scene();
	memset(lie, 0, sizeof(lie));
	fake_attests = fake_attested;
	if (strcmp(web1()->at.name, "s1") != 0)
		WANT_INT(migrate(S1).state, LY_SAGA_CLEANED);
	fake_attests = place_answers;
}

/* ---- the program, while the managers go on ---- */

static char said[16384];

static int
lanyard(const char *words)
{
	const char *build = getenv("BUILD");
	char cmd[1024], out[256];
	int status = -1;
	uint8_t *text;
	size_t len;
	pid_t pid;

	ly_copy(out, sizeof(out), site_path("said"));
	ly_print(cmd, sizeof(cmd),
	    "timeout 30 %s/lanyard --manager %s %s >%s"
	    " 2>&1",
	    build ? build : "build", site_path("north.sock"), words, out);
	pid = fork();
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, WNOHANG) == 0)
		turn(2);
	SITE_OK(ly_file_read(out, sizeof(said), &text, &len, &why));
	ly_copy(said, sizeof(said), (char *)text);
	free(text);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
want_said(int status, int want, const char *text)
{
	if (status != want || !strstr(said, text))
		test_fail(__FILE__, __LINE__, "exit %d, not \"%s\": %s", status,
		    text, said);
}

static void
want_refused(const char *text)
{
	want_said(lanyard("attest web1"), 1, text);
	WANT(!strstr(said, "runs where"));
}

TEST(a_vms_place_is_proved_by_its_host_and_its_home_together)
{
	place_scene();
	want_said(lanyard("attest web1"), 0, "web1 runs where it is said");
	WANT(strstr(said, "at    south/s1: class compute, approved as"));
	WANT(strstr(said, "home  north/n1: class compute, approved as"));
	WANT(strstr(said, "command 6"));
	want_said(lanyard("attest web1 --json"), 0, "\"vm_pcrs\"");
}

TEST(what_the_manager_has_signed_can_be_checked_with_openssl_alone)
{
	char cmd[1024], file[256];

	place_scene();
	ly_copy(file, sizeof(file), site_path("proof"));
	ly_print(cmd, sizeof(cmd), "attest web1 --out %s", file);
	want_said(lanyard(cmd), 0, "Good until");
	ly_print(cmd, sizeof(cmd),
	    "set -e; f=%s; openssl x509 -in $f.pem -noout -pubkey >$f.pub;"
	    " openssl dgst -sha256 -verify $f.pub -signature $f.sig $f"
	    " >/dev/null;"
	    " openssl verify -CAfile %s $f.pem >/dev/null;"
	    " grep -qx 'host spiffe://south/host/s1' $f;"
	    " grep -qx 'home spiffe://north/host/n1' $f;"
	    " grep -qx 'vm-pcrs 7777.*' $f;"
	    " sed -i s/s1/s2/ $f;"
	    " ! openssl dgst -sha256 -verify $f.pub -signature $f.sig $f"
	    " >/dev/null 2>&1",
	    file, site_path("north.ca.pem"));
	WANT_INT(system(cmd), 0);
}

TEST(a_host_is_attested_alone)
{
	place_scene();
	want_said(lanyard("attest north/n2"), 0, "host  north/n2: class");
	want_said(lanyard("attest south/s1"), 0, "host  south/s1: class");
	tpms[N2].spoil = SPOIL_STATE;
	want_said(lanyard("attest north/n2"), 1,
	    "attest: host north/n2: state");
	want_said(lanyard("attest nobody"), 1, "no VM and no host");
}

TEST(a_quote_of_another_host_does_not_say_where_the_vm_runs)
{
	place_scene();
	lie[S1] = RELAYED; /* n2 would say that it is there */
	want_refused("attest: host south/s1: certificate: is that of"
		     " spiffe://north/host/n2");
	lie[S1] = TRUE_WORD;
	lie[N1] = OTHER_LINK;
	want_refused("its quote is relayed");
	lie[N1] = NO_LINK;
	want_refused("nobody is linked");
}

TEST(a_quote_of_another_lease_or_for_another_question_is_refused)
{
	place_scene();
	want_said(lanyard("attest web1"), 0, "web1 runs where");
	lie[S1] = OTHERS_CALL;
	want_refused("attest: host south/s1: context: the quote is over"
		     " another nonce");
	lie[S1] = OLD_EPOCH;
	want_refused("attest: host south/s1: context: the quote is over"
		     " another epoch");
	lie[S1] = TRUE_WORD;
	lie[N1] = OLD_EPOCH;
	want_refused("attest: home north/n1: context: the quote is over"
		     " another epoch");
}

TEST(a_homes_quote_without_the_hosts_is_no_place)
{
	place_scene();
	fakes[S1].mood[LY_QUOTE] = FAKE_REFUSES;
	want_refused("attest: host south/s1: in a bad mood");
	fakes[S1].mood[LY_QUOTE] = FAKE_GOOD;
	fakes[N1].mood[LY_QUOTE] = FAKE_REFUSES;
	want_refused("attest: home north/n1: in a bad mood");
}

TEST(either_host_in_a_state_that_is_not_approved_is_named)
{
	place_scene();
	tpms[S1].spoil = SPOIL_STATE;
	want_refused("attest: host south/s1: state");
	tpms[S1].spoil = SPOIL_NOTHING;
	tpms[N1].spoil = SPOIL_BOOT;
	want_refused("attest: home north/n1: quote: another boot");
	place_scene();
	fake_attests = fake_attested;
	go_home();
}

TEST_MAIN()

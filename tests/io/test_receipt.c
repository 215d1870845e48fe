/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A receipt is checked by the very commands of docs/receipt.md. The quotes are
 * a swtpm's; the statements are signed with the hosts' own certificates.
 */
#pragma GCC diagnostic ignored "-Wunused-function" /* the scene has more */
#include "tests/io/run_shell.h"

#include "manager/store/store.h"
#include "tests/io/chip_scene.h"

static char mig[LY_ID_TEXT];
static struct ly_id mig_id;
static uint8_t nonce[32];
static struct ly_store *store;

static struct ly_identity *
identity(const char *site, const char *name)
{
	char file[2 * LY_NAME_MAX];

	ly_print(file, sizeof(file), "%s-%s", site, name);
	return site_load(file, "trust");
}

static void
keep(const char *what, const void *at, size_t len)
{
	SITE_OK(ly_store_keep(store, &mig_id, what,
	    (struct ly_bytes){ at, len }, &why));
}

struct object {
	uint8_t at[LY_STATEMENT_MAX];
	size_t len;
};

static void
sign(struct ly_identity *ids, uint16_t type, const struct ly_message *table,
    const void *statement, struct object *out)
{
	uint8_t tagged[1024];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));

	ly_message_put_tagged(table, statement, &w);
	WANT(!w.bad);
	out->len = sizeof(out->at);
	SITE_OK(ly_sign(ids, type, tagged, ly_wr_len(&w), out->at, &out->len,
	    &why));
}

static struct ly_bytes
bytes(const struct object *o)
{
	return (struct ly_bytes){ o->at, o->len };
}

/* ---- quotes ---- */

struct packed {
	uint8_t at[16384];
	size_t len;
};

static void
quote(struct chip *c, unsigned role, const char *self, const char *cert_file,
    const struct object *over, struct packed *out)
{
	struct ly_context x = { .role = (uint8_t)role, .mig = mig_id };
	struct ly_wr w = ly_wr_over(out->at, sizeof(out->at));
	struct chip_evidence e;
	uint8_t *pem = NULL;
	size_t len;

	memcpy(x.nonce, nonce, sizeof(nonce));
	ly_copy(x.self, sizeof(x.self), self);
	if (over)
		ly_sha256(over->at, over->len, x.over);
	chip_quote(c, &x, &e);
	SITE_OK(ly_file_read(cert_file, 65536, &pem, &len, &why));
	e.ev.certificate = (struct ly_bytes){ pem, len };
	ly_message_put(&ly_evidence_message, &e.ev, &w);
	WANT(!w.bad);
	out->len = ly_wr_len(&w);
	free(pem);
}

static void
keep_quote(struct chip *c, unsigned role, const char *self, const char *pem,
    const char *what)
{
	struct packed p;

	quote(c, role, self, pem, NULL, &p);
	keep(what, p.at, p.len);
}

static const char n1[] = "spiffe://north/host/n1";
static const char s1[] = "spiffe://south/host/s1";

static void
keep_proof(struct chip *c, struct ly_identity *source, struct ly_identity *dest)
{
	struct ly_sent sent = { .mig = mig_id, .bytes = 4711, .seq = 5 };
	struct ly_arrived arrived = { .mig = mig_id, .bytes = 4711 };
	struct ly_destroyed gone = { .mig = mig_id, .when = 1700000000 };
	struct object o[3];
	struct packed q[2];
	static uint8_t room[65536];
	struct ly_wr w = ly_wr_over(room, sizeof(room));
	struct ly_move_proof p;

	sign(source, LY_TYPE_SENT, &ly_sent_message, &sent, &o[0]);
	sign(dest, LY_TYPE_ARRIVED, &ly_arrived_message, &arrived, &o[1]);
	sign(source, LY_TYPE_DESTROYED, &ly_destroyed_message, &gone, &o[2]);
	quote(c, LY_QUOTE_SENT, n1, site_path("north-n1.pem"), &o[0], &q[0]);
	quote(c, LY_QUOTE_DESTROYED, n1, site_path("north-n1.pem"), &o[2],
	    &q[1]);
	p = (struct ly_move_proof){ .sent = bytes(&o[0]),
		.arrived = bytes(&o[1]),
		.destroyed = bytes(&o[2]),
		.sent_evidence = { q[0].at, q[0].len },
		.destroyed_evidence = { q[1].at, q[1].len } };
	ly_message_put(&ly_move_proof_message, &p, &w);
	WANT(!w.bad);
	keep("proof", room, ly_wr_len(&w));
}

/* What an attested migration leaves behind, for one that was not. */
static void
keep_all(void)
{
	struct ly_identity *source = identity("north", "n1");
	struct ly_identity *dest = identity("south", "s1");
	struct ly_identity *manager;
	struct ly_call call = { .mig = mig_id, .expires = 1700000000 };
	struct ly_decided decided = { .mig = mig_id, .fate = LY_FATE_CLAIMED };
	struct object o;
	struct chip c;

	site_copy(site_path("north/manager.pem"), site_path("m.pem"));
	SITE_OK(ly_file_write(site_path("m.key"), "", 0, 0600, &why));
	run_shell("cat %s >%s", site_path("north/manager.key"),
	    site_path("m.key"));
	manager = site_load("m", "trust");
	memset(nonce, 0x5a, sizeof(nonce));
	memcpy(call.nonce, nonce, sizeof(nonce));
	sign(manager, LY_TYPE_CALL, &ly_call_message, &call, &o);
	keep("call", o.at, o.len);
	sign(source, LY_TYPE_OUTCOME, &ly_decided_message, &decided, &o);
	keep("decided", o.at, o.len);
	chip_start(&c);
	keep_quote(&c, LY_QUOTE_SOURCE, n1, site_path("north-n1.pem"),
	    "evidence.source");
	keep_quote(&c, LY_QUOTE_HOME, n1, site_path("north-n1.pem"),
	    "evidence.home");
	chip_extend(&c, 4, 9);
	keep_quote(&c, LY_QUOTE_DEST, s1, site_path("south-s1.pem"),
	    "evidence.dest");
	keep_proof(&c, source, dest);
	chip_end(&c);
	ly_identity_free(source);
	ly_identity_free(dest);
	ly_identity_free(manager);
}

static void
lanyard(const char *words)
{
	const char *build = getenv("BUILD");

	run_shell("%s/lanyard --manager %s %s 2>&1", build ? build : "build",
	    site_path("north.sock"), words);
}

/* web1 has moved; what is kept of it is put in while nobody looks. */
static void
receipt(void)
{
	static bool there;
	char cmd[300], *at;

	if (there)
		return;
	there = true;
	web1();
	move_here();
	migrate("south/s1");
	want_idle(NORTH, "web1");
	lanyard("audit --vm web1 --json");
	at = strstr(shell_out, "migration committed");
	WANT(at && (at = strstr(at, "\"mig\":\"")));
	ly_copy(mig, sizeof(mig), at + 7);
	WANT_INT(ly_id_parse(mig, &mig_id), LY_OK);
	kill_manager(NORTH);
	SITE_OK(ly_store_open(site_path("north/lanyard.db"), &store, &why));
	keep_all();
	ly_store_close(store);
	start_manager(NORTH);
	ly_print(cmd, sizeof(cmd), "audit --receipt %s --out %s", mig,
	    site_path("receipt"));
	lanyard(cmd);
	want_shell("first of all receipt.txt", 0);
	ly_print(cmd, sizeof(cmd), "audit --export %s", site_path("all"));
	lanyard(cmd);
	want_shell("unbroken", 0);
	/* The manual's own commands. */
	run_shell("sed -n '/^```sh$/,/^```$/{/^```/d;p}' docs/receipt.md >%s",
	    site_path("check.sh"));
}

static int
check(const char *dir)
{
	run_shell("cd %s && RECORD=../all sh -eu ../check.sh 2>&1 ",
	    site_path("%s", dir));
	return shell_status;
}

TEST(a_receipt_says_who_what_and_what_was_proved)
{
	static const char *const says[] = { "lanyard-receipt-v1\n",
		"vm-name web1\n", "party source spiffe://north/host/n1\n",
		"party destination spiffe://south/host/s1\n", "fate claimed\n",
		"call nonce 5a5a", "source ak 000b", "destination pcr 4 ",
		"sent bytes 4711\n", "destroyed-quote for ",
		"\"kind\":\"migration asked\"", "record events " };

	receipt();
	run_shell("cat %s", site_path("receipt/receipt.txt"));
	for (size_t i = 0; i < LY_COUNT(says); i++)
		want_shell(says[i], 0);
}

TEST(a_receipt_is_checked_by_the_commands_of_the_manual)
{
	receipt();
	if (check("receipt") != 0)
		test_fail(__FILE__, __LINE__, "... %s",
		    shell_out + ly_max(strlen(shell_out), 1500) - 1500);
	want_shell("Verified OK", 0);
	run_shell("grep -c . %s", site_path("check.sh"));
	WANT(atoi(shell_out) > 40);
}

TEST(a_byte_changed_in_any_file_is_found)
{
	char *list, *name, *rest;

	receipt();
	run_shell("cp -r %s %s; ls %s", site_path("receipt"),
	    site_path("forged"), site_path("receipt"));
	run_shell("cd %s && sed -n 's/^file [0-9a-f]*  //p' receipt.txt",
	    site_path("receipt"));
	list = strdup(shell_out);
	for (name = strtok_r(list, "\n", &rest); name;
	     name = strtok_r(NULL, "\n", &rest)) {
		run_shell("cd %s && rm -rf forged && cp -r receipt forged &&"
			  " printf x | dd of=forged/%s bs=1 seek=9 conv=notrunc"
			  " 2>/dev/null",
		    site_path("."), name);
		WANT_INT(shell_status, 0);
		if (check("forged") == 0)
			test_fail(__FILE__, __LINE__, "%s", name);
	}
	free(list);
}

/* Somebody with the manager's key writes other hashes: the hosts' signatures
 * still say no. */
static void
want_found_below(const char *file, const char *by)
{
	run_shell("cd %s && rm -rf forged && cp -r receipt forged && cd forged"
		  " && printf x | dd of=%s bs=1 seek=40 conv=notrunc"
		  " 2>/dev/null && new=$(sha256sum <%s | cut -c 1-64) &&"
		  " sed -i \"s/^file .*  %s\\$/file $new  %s/\" receipt.txt &&"
		  " openssl dgst -sha256 -sign ../m.key -out receipt.sig"
		  " receipt.txt",
	    site_path("."), file, file, file, file);
	WANT_INT(shell_status, 0);
	WANT(check("forged") != 0);
	if (by)
		WANT(strstr(shell_out, by));
}

TEST(what_a_host_has_signed_the_manager_cannot_change)
{
	receipt();
	want_found_below("sent.said", "Verification failure");
	want_found_below("arrived.said", "Verification failure");
	want_found_below("destroyed.said", "Verification failure");
	want_found_below("decided.said", "Verification failure");
	want_found_below("source.quote", NULL);
	want_found_below("destination.pcrs", NULL);
	want_found_below("home.said", NULL);
	want_found_below("sent-quote.said", NULL);
}

TEST(a_receipt_of_a_migration_that_never_was_is_refused)
{
	char cmd[300];

	receipt();
	ly_print(cmd, sizeof(cmd),
	    "audit --receipt 00000000-0000-0000-0000-000000000001 --out %s",
	    site_path("none"));
	lanyard(cmd);
	want_shell("no migration", 1);
	lanyard("audit --receipt 00000000-0000-0000-0000-000000000001");
	want_shell("go together", 2);
}

TEST_MAIN()

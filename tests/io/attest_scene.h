/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For test_manager_attest.c: two managers in this process, their hosts as fakes
 * that know of evidence, and web1, at home and running at north/n1. A manager
 * is "killed" by closing it without a word and opening another on its state:
 * whatever it told anybody was on disk before.
 */
#ifndef LY_TESTS_ATTEST_SCENE_H
#define LY_TESTS_ATTEST_SCENE_H

#include "tests/test.h"

#include "manager/io/manager.h"
#include "tests/io/fake_attest.h"
#include "tests/unit/approved_scene.h"

#include <netinet/in.h>
#include <openssl/evp.h>
#include <signal.h>
#include <sys/socket.h>

enum { NORTH, SOUTH, SITES };
enum { N1, N2, S1, FAKES };

static const char *const site_names[SITES] = { "north", "south" };
static struct ly_manager *mgr[SITES];
static unsigned ports[SITES];
static struct fake_world world;
static struct fake fakes[FAKES_MAX];
static bool attest = true; /* of a manager that is opened */
static struct authority pol[SITES];

static unsigned
free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	unsigned port;

	WANT(bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0);
	WANT(getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	port = ntohs(a.sin_port);
	close(fd);
	return port;
}

static void
turn(unsigned ms)
{
	uv_run(world.loop, UV_RUN_NOWAIT);
	usleep(ms * 1000);
	uv_run(world.loop, UV_RUN_NOWAIT);
}

#define UNTIL(cond)                                                            \
	do {                                                                   \
		for (int n_ = 0; n_ < 3000 && !(cond); n_++)                   \
			turn(2);                                               \
		WANT(cond);                                                    \
	} while (0)

/* ---- sites ---- */

static void
write_pem(const char *path, const struct ly_point *key)
{
	uint8_t spki[LY_SPKI_P256];
	char text[512], b64[256];

	ly_spki_of(key, spki);
	EVP_EncodeBlock((uint8_t *)b64, spki, sizeof(spki));
	ly_print(text, sizeof(text),
	    "-----BEGIN PUBLIC KEY-----\n%.64s\n%s\n"
	    "-----END PUBLIC KEY-----\n",
	    b64, b64 + 64);
	SITE_OK(ly_file_write(path, text, strlen(text), 0644, &why));
}

/* The policy of a site, as both managers know it. */
static void
install_policy(int of)
{
	static struct list l;
	static struct gen good;
	struct ly_bytes b;
	const char *n = site_names[of];

	boot_of(&good, true);
	list_start(&l, n, 1, 1);
	(void)list_add_of(&l, FAKE_LIST_CLASS, "Debian 12.8", LY_SEALED_PCRS,
	    (const uint8_t(*)[32])good.pcr);
	b = sign_list(&l, &pol[of]);
	for (int at = 0; at < SITES; at++) {
		const char *dir = site_names[at];

		write_pem(site_path("%s/trust/%s.policy.pem", dir, n),
		    &pol[of].key);
		SITE_OK(ly_file_write(site_path("%s/approved/%s.list", dir, n),
		    b.at, b.len, 0644, &why));
	}
}

static void
init_site(int s)
{
	const char *n = site_names[s];
	char id[LY_SPIFFE_MAX], file[64];

	site_make(n);
	authority_make(&pol[s], (uint8_t)(s + 1));
	ly_print(id, sizeof(id), "spiffe://%s/manager/m1", n);
	ly_print(file, sizeof(file), "%s/manager", n);
	SITE_OK(ly_file_mkdir(site_path("%s", n), 0700, &why));
	SITE_OK(ly_file_mkdir(site_path("%s/trust", n), 0700, &why));
	SITE_OK(ly_file_mkdir(site_path("%s/approved", n), 0700, &why));
	site_certify(file, n, id);
	site_copy(site_path("%s.ca.pem", n), site_path("%s/ca.pem", n));
	site_copy(site_path("%s.ca.key", n), site_path("%s/ca.key", n));
}

/* As if it had proved itself some minutes ago. */
static void
add_host_rows(struct ly_store *store, int f)
{
	const char *pem = tpms[f].pem;
	struct ly_host_row row = { .address = "127.0.0.1:9",
		.class_ = FAKE_LIST_CLASS };
	struct ly_enrol_row en = { .enrolled = 1,
		.attested = 1,
		.issued = ly_now_s() - 100,
		.ends = ly_now_s() + 7200,
		.class_ = FAKE_LIST_CLASS,
		.approval = 1 };

	ly_copy(row.name, sizeof(row.name), fakes[f].name);
	ly_copy(en.host, sizeof(en.host), fakes[f].name);
	SITE_OK(ly_ca_read_leaf(pem, en.serial, &en.before_ends, &why));
	SITE_OK(ly_store_put(store, LY_ROW_HOST, &row, NULL, &why));
	SITE_OK(ly_store_put(store, LY_ROW_ENROL, &en, NULL, &why));
}

static void
add_rows(struct ly_store *store, int s)
{
	struct ly_vm_row vm = { .id = world.vm[0].id,
		.name = "web1",
		.home = "n1",
		.tpm = "tpm0",
		.bound = 1,
		.at_site = "north",
		.at_host = "n1",
		.epoch = 2,
		.definition = "{\"memory\":256}" };

	for (int f = 0; f < FAKES; f++)
		if (strcmp(fakes[f].site, site_names[s]) == 0)
			add_host_rows(store, f);
	if (s == NORTH)
		SITE_OK(ly_store_put(store, LY_ROW_VM, &vm, NULL, &why));
}

static LY_UNUSED void
set_standing(int s, const char *name, enum ly_standing standing)
{
	struct ly_host *h = ly_roster_host(&mgr[s]->roster, site_names[s],
	    name);

	h->standing = (uint8_t)standing;
	ly_copy(h->class_, sizeof(h->class_), FAKE_LIST_CLASS);
	ly_fed_tell(mgr[s], h);
}

static void
start_manager(int s)
{
	struct ly_manager_conf conf = { .name = "m1",
		.ticket_minutes = 10,
		.cert_days = 30,
		.crl_hours = 24,
		.host_lost_seconds = 1,
		.host_cert_seconds = 28800,
		.attest = attest,
		.lanes = 3,
		.peers_n = 1 };

	ly_copy(conf.site, sizeof(conf.site), site_names[s]);
	ly_copy(conf.peers[0].site, LY_NAME_MAX, site_names[!s]);
	ly_print(conf.listen, sizeof(conf.listen), "127.0.0.1:%u", ports[s]);
	ly_print(conf.peers[0].address, LY_ADDR_MAX, "127.0.0.1:%u", ports[!s]);
	ly_copy(conf.state, sizeof(conf.state), site_path("%s", site_names[s]));
	ly_copy(conf.vendor_roots, sizeof(conf.vendor_roots),
	    site_path("trust"));
	ly_copy(conf.socket, sizeof(conf.socket),
	    site_path("%s.sock", site_names[s]));
	SITE_OK(ly_manager_new(world.loop, &conf, &mgr[s], &why));
}

static LY_UNUSED void
kill_manager(int s)
{
	struct ly_manager *m = mgr[s];

	mgr[s] = NULL;
	ly_manager_close(m);
	for (int i = 0; i < 20; i++)
		turn(2);
	ly_manager_free(m);
}

static bool
all_up(int s)
{
	struct ly_host *h;
	unsigned n = 0;

	for (uint32_t i = 0; (h = ly_roster_next_host(&mgr[s]->roster, &i));)
		n += h->up && h->standing == LY_STANDING_GOOD;
	return n == FAKES;
}

static const struct {
	int site;
	const char *name;
} hosts[FAKES] = {
	[N1] = { NORTH, "n1" }, [N2] = { NORTH, "n2" }, [S1] = { SOUTH, "s1" }
};

static void
enrol_host(int f)
{
	const char *site = site_names[hosts[f].site];

	fake_enrol(&fakes[f], site, hosts[f].name, (unsigned)f + 1);
	ly_copy(fakes[f].site, LY_NAME_MAX, site);
	ly_copy(fakes[f].name, LY_NAME_MAX, hosts[f].name);
}

static void
scene_init(void)
{
	struct fake_vm *vm = &world.vm[0];
	struct ly_store *store;

	signal(SIGPIPE, SIG_IGN);
	world.loop = uv_default_loop();
	fake_first = fakes;
	fake_attests = fake_attested;
	fake_attests_after = fake_attested_after;
	ly_random(&vm->id, sizeof(vm->id));
	ly_copy(vm->name, sizeof(vm->name), "web1");
	ly_spiffe_host("north", "n1", vm->home);
	ly_spiffe_host("north", "n1", vm->holder);
	vm->epoch = 2;
	vm->seq = 6;
	world.vms_n = 1;
	for (int s = 0; s < SITES; s++) {
		ports[s] = free_port();
		init_site(s);
	}
	for (int f = 0; f < FAKES; f++)
		enrol_host(f);
	for (int s = 0; s < SITES; s++) {
		install_policy(s);
		for (int of = 0; of < SITES; of++)
			site_copy(site_path("%s.ca.pem", site_names[of]),
			    site_path("%s/trust/%s.pem", site_names[s],
				site_names[of]));
		SITE_OK(ly_store_open(site_path("%s/lanyard.db", site_names[s]),
		    &store, &why));
		add_rows(store, s);
		ly_store_close(store);
	}
	for (int s = 0; s < SITES; s++)
		start_manager(s);
	for (int f = 0; f < FAKES; f++)
		fake_up(&fakes[f], &world, site_names[hosts[f].site],
		    hosts[f].name, ports[hosts[f].site]);
	fakes[N1].here = vm;
}

/* Everybody is there and well; nothing is under way. */
static void
scene(void)
{
	static bool there;

	if (!there)
		scene_init();
	there = true;
	attest = true;
	for (int s = 0; s < SITES; s++)
		if (!mgr[s])
			start_manager(s);
	for (int f = 0; f < FAKES; f++) {
		memset(fakes[f].mood, 0, sizeof(fakes[f].mood));
		memset(fakes[f].asked, 0, sizeof(fakes[f].asked));
		tpms[f].spoil = SPOIL_NOTHING;
		tpms[f].calls = tpms[f].releases = 0;
		fakes[f].off = false;
	}
	UNTIL(all_up(NORTH) && all_up(SOUTH));
}

/* ---- web1 ---- */

static struct ly_vm *
web1(void)
{
	return ly_roster_vm(&mgr[NORTH]->roster, &world.vm[0].id);
}

/* The fakes do not run anything: who holds it, runs it. */
static void
move_here(void)
{
	for (int f = 0; f < FAKES; f++) {
		bool holds = strcmp(world.vm[0].holder, fakes[f].id) == 0;

		if (holds && fakes[f].here != &world.vm[0])
			fake_report(&fakes[f], &world.vm[0], LY_VM_RUNNING);
		fakes[f].here = holds ? &world.vm[0] : NULL;
	}
	turn(5);
}

static enum ly_rc
try_migrate(int f, struct ly_id *id, struct ly_why *why)
{
	struct ly_move_wish w = { .vm = web1(),
		.to = ly_roster_host(&mgr[NORTH]->roster, fakes[f].site,
		    fakes[f].name) };
	struct ly_move *mv = NULL;
	enum ly_rc rc = ly_move_begin(mgr[NORTH], &w, 0, &mv, why);

	if (rc == LY_OK)
		*id = mv->row.id;
	return rc;
}

static struct ly_id
begin_migration(int f)
{
	struct ly_id id;

	SITE_OK(try_migrate(f, &id, &why));
	return id;
}

static struct ly_mig_row
row_of(const struct ly_id *id)
{
	struct ly_mig_row row;
	char key[LY_ID_TEXT];

	SITE_OK(ly_store_get(mgr[NORTH]->store, LY_ROW_MIG, ly_id_text(id, key),
	    &row, &why));
	return row;
}

static struct ly_mig_row
ended(const struct ly_id *id)
{
	UNTIL(ly_saga_over(row_of(id).state));
	UNTIL(!web1()->saga);
	move_here();
	return row_of(id);
}

static struct ly_mig_row
migrate(int f)
{
	struct ly_id id = begin_migration(f);

	return ended(&id);
}

static void
go_home(void)
{
	if (strcmp(web1()->at.name, "n1") != 0)
		WANT_INT(migrate(N1).state, LY_SAGA_CLEANED);
}

/* An alarm that has been raised since `since` has this text in it. */
static LY_UNUSED bool
alarmed(unsigned long since, const char *text)
{
	struct ly_manager *m = mgr[NORTH];

	for (unsigned long i = since; i < m->alarms_n; i++)
		if (strstr(m->alarms[i % LY_ALARMS_KEPT].text, text))
			return true;
	return false;
}

/* ---- the permanent record ---- */

struct counted {
	const char *word;
	unsigned n;
};

static enum ly_rc
on_line(void *arg, const struct ly_store_line *line, struct ly_why *why)
{
	struct counted *c = arg;

	(void)why;
	c->n += strstr(line->line, c->word) != NULL;
	return LY_OK;
}

/* How many events of a migration have this kind. */
static LY_UNUSED unsigned
recorded(const struct ly_id *mig, enum ly_record_kind kind)
{
	struct counted c = { ly_record_kinds[kind].word, 0 };
	char id[LY_ID_TEXT];
	struct ly_lines_wish wish = { .mig = ly_id_text(mig, id) };

	SITE_OK(ly_store_lines(mgr[NORTH]->store, &wish, on_line, &c, &why));
	return c.n;
}

#endif

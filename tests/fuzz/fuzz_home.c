/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events in any order into a home machine. Eight bytes are one event; the
 * shell's own promises are kept (WRITTEN only while writing, no answer of a
 * TPM that runs nothing, a door is not used again once it is gone), those of
 * visitors are not: any may say anything. Checked after every step are the
<<<<<<< HEAD
 * laws of home.h, against a count of our own, and of the leases in time that each
 * host may believe in at the worst. A restart takes the record that
 * was last on disk.
=======
 * laws of home.h, against a count of our own. A restart takes the record that
 * was last on disk; after a death of the agent alone what was kept after the
 * last step comes back too, perhaps to a record that is one write further.
>>>>>>> 94a2dbe (agent/home, agent/tpm: tables of what outlives the agent)
 */
#include "agent/home/kept.h"

#include <stdlib.h>

#define EVENT 8
#define DOORS 6
#define HOSTS 3
#define LEASE 20

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const char *const hosts[] = { "spiffe://n/host/a", "spiffe://n/host/b",
	"spiffe://n/host/c", NULL };
static const struct ly_id vm = { { 1 } };

struct world {
	struct ly_home home;
	struct ly_home_todos todo;
	struct ly_record disk;
	ly_door serial, doors[DOORS]; /* those open now */
	ly_door granted; /* the newest; 0 once it is fenced or gone */
	/* What a host may believe: while its door is open the lease may just
	 * have been renewed. */
	struct {
		ly_door open;
		uint64_t end;
	} lease[HOSTS];
	uint64_t boot_ms;
	unsigned knows; /* the secret of `knows_epoch`: it was granted it */
	uint64_t knows_epoch;
	bool running;
	bool peeking; /* a command of the home's own */
	bool peeked;  /* this step's answer is to one */
	uint64_t ran; /* the newest seq that was run in `ran_epoch` */
	uint64_t ran_epoch;
	bool unreset; /* a guest has started, and its TPM was not reset */
	enum ly_op op;
	uint8_t kept[LY_HOME_KEPT_MAX]; /* after the last step */
	size_t kept_len;
};

static void
must(bool so)
{
	if (!so)
		abort();
}

static uint64_t
near(uint64_t n, unsigned how)
{
	switch (how % 8) {
	case 5:
		return n + 1;
	case 6:
		return n - 1;
	case 7:
		return how & 8 ? UINT64_MAX : 0;
	default:
		return n;
	}
}

/* H1: run on the door that has the lease, each seq of an epoch once. */
static void
check_run(struct world *w, const struct ly_home_event *ev, uint64_t seq)
{
	must(ev->kind == LY_HOME_COMMAND && !w->running && seq > 0);
	must(!w->peeking); /* H7 */
	must(ev->door == w->granted && ev->epoch == w->disk.epoch);
	must(w->ran_epoch != ev->epoch || seq > w->ran);
	must(w->disk.state == LY_REC_ATTACHED ||
	    w->disk.state == LY_REC_PREPARED);
	must(!w->unreset || ev->op == LY_OP_INIT);
	w->running = true;
	w->op = ev->op;
	w->ran = seq;
	w->ran_epoch = ev->epoch;
}

static unsigned
host_of(const struct world *w, ly_door door)
{
	for (unsigned i = 0; i < DOORS; i++)
		if (w->doors[i] == door)
			return i / 2;
	return HOSTS;
}

static void
lease_ends(struct world *w, ly_door door, uint64_t end)
{
	for (unsigned i = 0; i < HOSTS; i++)
		if (door && w->lease[i].open == door) {
			w->lease[i].open = 0;
			w->lease[i].end = end;
		}
}

/* H6: nobody else may believe in a lease. */
static void
lease_begins(struct world *w, ly_door door)
{
	unsigned who = host_of(w, door);

	/* It hung up while we wrote, and hears nothing; or it has released,
	 * and uses its lease no more. */
	if (who == HOSTS || w->disk.state == LY_REC_QUIESCED)
		return;
	for (unsigned i = 0; i < HOSTS; i++)
		must(i == who ||
		    (!w->lease[i].open && w->lease[i].end <= w->boot_ms));
	w->lease[who].open = door;
	w->knows = who;
	w->knows_epoch = w->disk.epoch;
}

static bool
is_lease(enum ly_home_kind kind)
{
	return kind == LY_HOME_ATTACH || kind == LY_HOME_RESUME ||
	    kind == LY_HOME_CLAIM || kind == LY_HOME_WRITTEN;
}

static void
check(struct world *w, const struct ly_home_event *ev,
    const struct ly_home_todo *t)
{
	switch (t->act) {
	case LY_DO_RUN:
		check_run(w, ev, t->seq);
		break;
	case LY_DO_CANCEL:
		must(w->running);
		break;
	case LY_DO_PEEK:
		must(ev->kind == LY_HOME_PEEK && !w->running && !w->peeking);
		w->peeking = true;
		break;
	case LY_DO_HOLD:
		must(ev->kind == LY_HOME_COMMAND && w->peeking);
		break;
	case LY_DO_KEEP:
		must(ev->kind == LY_HOME_ANSWER && !w->peeked);
		break;
	case LY_DO_WRITE:
		must(w->home.next.epoch >= w->disk.epoch);
		break;
	case LY_DO_GRANT:
		if (t->rc != LY_OK)
			break;
		must(is_lease(ev->kind) && t->epoch == w->disk.epoch);
		must(w->disk.state != LY_REC_DETACHED);
		w->granted = t->door;
		lease_begins(w, t->door);
		break;
	case LY_DO_FENCE:
		lease_ends(w, t->door, w->boot_ms + LEASE);
		if (t->door == w->granted)
			w->granted = 0;
		break;
	case LY_DO_ANSWER:
		must(t->door == w->home.door && w->home.kept);
		break;
	case LY_DO_RELEASED:
		must(t->rc != LY_OK || w->disk.state == LY_REC_QUIESCED);
		break;
	case LY_DO_DETACHED:
	case LY_DO_PEEKED:
	case LY_DO_KEEP_FAILURE:
	case LY_DO_REFUSE:
	case LY_DO_STAGED:
	case LY_DO_OUTCOME:
	case LY_DO_ALARM:
		break;
	}
}

/* The next record is on disk, whether the machine lives to hear of it or not.
 * Who asks for RELEASE or DETACH uses its lease no more. */
static void
landed(struct world *w)
{
	if (w->home.asked == LY_HOME_RELEASE || w->home.asked == LY_HOME_DETACH)
		memset(w->lease, 0, sizeof(w->lease));
	w->unreset |= w->home.asked == LY_HOME_ATTACH;
	w->disk = w->home.next;
}

static void
keep(struct world *w)
{
	const struct ly_home_shell shell = { .answer_len = 10 };
	const struct ly_tpm_kept tpm = { .way = LY_TPM_SOCKET,
		.busy = w->running || w->peeking,
		.phase = w->running || w->peeking };

	w->kept_len = ly_home_kept_pack(&w->home, &shell, &tpm, w->kept);
}

static void
step(struct world *w, const struct ly_home_event *ev)
{
	uint64_t epoch = w->disk.epoch;

	w->todo.n = 0;
	if (ev->kind == LY_HOME_WRITTEN && ev->ok)
		landed(w);
	w->peeked = ev->kind == LY_HOME_ANSWER && w->peeking;
	if (ev->kind == LY_HOME_ANSWER && !w->peeking && w->op == LY_OP_INIT &&
	    ev->ok)
		w->unreset = false;
	if (ev->kind == LY_HOME_ANSWER || ev->kind == LY_HOME_TPM_DEAD)
		w->running = w->peeking = false;
	ly_home_step(&w->home, ev, &w->todo);
	for (unsigned i = 0; i < w->todo.n; i++)
		check(w, ev, &w->todo.act[i]);
	must(w->disk.epoch >= epoch);				    /* H5 */
	must(memcmp(&w->home.rec, &w->disk, sizeof(w->disk)) == 0); /* H3 */
	must((w->home.tpm == LY_TPM_RUNNING) == w->running);
	must(w->home.peeking == w->peeking);
	keep(w);
}

static void
restart(struct world *w)
{
	struct ly_record rec = w->disk;

	ly_home_init(&w->home, &rec);
	w->home.lease_ms = LEASE;
	w->home.began_ms = w->boot_ms;
	w->running = w->peeking = false;
	w->unreset = false;
	w->ran = 0; /* the holder says how far it was */
}

/* Only the agent has died: its TPM works on. */
static void
wake(struct world *w)
{
	struct ly_home_kept kept;
	struct ly_why why;

	must(ly_home_kept_unpack(w->kept, w->kept_len, &kept, &why) == LY_OK);
	must(ly_home_wake(&w->home, &w->disk, &kept.core, w->boot_ms, LEASE,
		 &why) == LY_OK);
	must((w->home.tpm == LY_TPM_RUNNING) == w->running);
	must(w->home.peeking == w->peeking);
	must(w->home.seq >= w->disk.seq);
}

enum death { DEATH_OF_ALL, DEATH, DEATH_AFTER_WRITE, DEATHS };

static void
die(struct world *w, unsigned how)
{
	if (how % DEATHS == DEATH_AFTER_WRITE && w->home.writing)
		landed(w);
	if (how % DEATHS == DEATH_OF_ALL)
		restart(w);
	else
		wake(w);
	for (unsigned i = 0; i < DOORS; i++)
		lease_ends(w, w->doors[i], w->boot_ms + LEASE);
	memset(w->doors, 0, sizeof(w->doors));
	w->granted = 0;
	keep(w);
}

static bool
possible(const struct world *w, const struct ly_home_event *ev)
{
	if (ev->kind == LY_HOME_WRITTEN)
		return w->home.writing;
	return ev->kind != LY_HOME_ANSWER || w->running || w->peeking;
}

static void
one(struct world *w, const uint8_t *b)
{
	static const uint8_t hash[2][32] = { { 1 }, { 2 } };
	static const uint8_t secret[2][LY_SECRET_LEN] = { { 1 }, { 2 } };
	static const uint8_t unknown[LY_SECRET_LEN] = { 3 };
	ly_door *door = &w->doors[b[1] % DOORS];
	unsigned kind = b[0] % (LY_HOME_KINDS + 1);
	struct ly_home_event ev = { .kind = (enum ly_home_kind)kind,
		.who = hosts[b[1] % DOORS / 2],
		.now = 1000 + b[7],
		.boot_ms = w->boot_ms += b[7] >> 4,
		.mig = { { (uint8_t)(b[2] % 4) } },
		.epoch = near(w->home.rec.epoch, b[3]),
		.seq = near(w->home.seq, b[4]),
		.waiting = b[5] & 1,
		.secret = secret[b[5] >> 1 & 1],
		.op = b[5] & 4 ? LY_OP_INIT : LY_OP_TPM,
		.hash = hash[b[5] >> 3 & 1],
		.ok = b[5] & 16 };
	struct ly_token token = { .vm = vm,
		.mig = ev.mig,
		.epoch = ev.epoch,
		.seq = ev.seq };
	struct ly_ticket ticket = { .vm = vm,
		.mig = ev.mig,
		.rights = b[6],
		.from_epoch = ev.epoch,
		.to_epoch = w->home.rec.epoch + (b[6] >> 3 & 3),
		.expires = 1100 };

	if (kind == LY_HOME_KINDS) {
		die(w, b[5]);
		return;
	}
	if (!possible(w, &ev))
		return;
	if (!*door)
		*door = ++w->serial;
	ev.door = *door;
	if (ev.kind == LY_HOME_ABORT && b[5] & 32)
		ev.who = NULL;
	/* Nobody guesses a secret. */
	if (ev.kind == LY_HOME_RESUME &&
	    (w->knows != b[1] % DOORS / 2 || w->knows_epoch != w->disk.epoch))
		ev.secret = unknown;
	ly_copy(ticket.holder, sizeof(ticket.holder), hosts[b[1] % DOORS / 2]);
	ev.ticket = b[5] & 64 ? NULL : &ticket;
	ev.token = b[5] & 128 ? NULL : &token;
	if (ev.kind == LY_HOME_GONE && w->granted == *door)
		w->granted = 0;
	if (ev.kind == LY_HOME_GONE) {
		lease_ends(w, *door, w->boot_ms + LEASE);
		*door = 0;
	}
	step(w, &ev);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static struct world w;

	memset(&w, 0, sizeof(w));
	w.disk.vm = vm;
	ly_home_init(&w.home, &w.disk);
	w.home.lease_ms = LEASE;
	keep(&w);
	for (; len >= EVENT; data += EVENT, len -= EVENT)
		one(&w, data);
	return 0;
}

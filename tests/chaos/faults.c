/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fault is begun, lasts, and is ended. What the guest waited for from its
 * begin to SETTLE after its end is charged to it; those that overlap are all
 * charged, so a figure of a mixed run is a bound, and one of a run with a
 * single kind is that kind's.
 */
#include "tests/chaos/faults.h"

#include "tests/chaos/daemons.h"
#include "tests/chaos/guestlog.h"
#include "tests/chaos/qmp.h"

#define SETTLE_NS (2 * NS_PER_S)
#define DONE_MAX 100000 /* further ones are done but not told in the table */
#define ACTIVE_MAX 32
#define MOVE_SECONDS 180

struct one {
	unsigned kind;
	uint64_t pick;
	unsigned target;
	bool active;
	uint64_t begun_ns, end_ns, gap_ms, wall_ms;
	bool felt; /* the guest did a round in its time */
};

struct fault {
	const char *name;
	unsigned weight, min_ms, max_ms;
	bool (*begin)(struct one *o); /* false: nothing to do it to */
	void (*end)(struct one *o);
};

struct moves moves;

static struct one done[DONE_MAX];
static unsigned done_n, first_live;
static const char *chosen;

/* ---- whom it hits ---- */

static unsigned
away(void)
{
	int where = qmp_where();

	return where >= 0 ? (unsigned)where : guestlog.host;
}

static unsigned
other(uint64_t pick)
{
	unsigned candidates[HOSTS_N], n = 0;

	for (unsigned i = 1; i < HOSTS_N; i++)
		if (i != away())
			candidates[n++] = i;
	return candidates[pick % n];
}

static unsigned
any(uint64_t pick)
{
	return (unsigned)(pick % HOSTS_N);
}

/* The home's link is what TPM commands take: hit twice as often. */
static unsigned
link_of(uint64_t pick)
{
	return pick % 4 < 2 ? 0 : (unsigned)(pick % 4 - 1);
}

static const char *
host_name(unsigned host)
{
	return world.host[host].name;
}

/* ---- processes ---- */

/* An agent that goes while its keeper has not everything yet is a blackout,
 * which is a fault of its own. */
static bool
hit(struct one *o, unsigned daemon, int sig, const char *what)
{
	o->target = daemon;
	if (!daemon_settled(daemon) || !daemon_signal(daemon, sig))
		return false;
	tell("%s %s", what, daemon_name(daemon));
	return true;
}

/* A guest at home is hit by what hits its home. */
static bool
kill_away(struct one *o)
{
	return away() != 0 && hit(o, AGENT(away()), SIGKILL, "kill -9");
}

static bool
kill_home(struct one *o)
{
	return hit(o, AGENT(0), SIGKILL, "kill -9");
}

static bool
kill_other(struct one *o)
{
	return hit(o, AGENT(other(o->pick)), SIGKILL, "kill -9");
}

static bool
kill_agents(struct one *o)
{
	bool hit_one = false;

	for (unsigned i = 0; i < HOSTS_N; i++)
		hit_one = hit(o, AGENT(i), SIGKILL, "kill -9") || hit_one;
	return hit_one;
}

static bool
hup_away(struct one *o)
{
	return away() != 0 && hit(o, AGENT(away()), SIGHUP, "SIGHUP to");
}

static bool
hup_home(struct one *o)
{
	return hit(o, AGENT(0), SIGHUP, "SIGHUP to");
}

static bool
term_any(struct one *o)
{
	return hit(o, AGENT(any(o->pick)), SIGTERM, "SIGTERM to");
}

static bool
kill_manager(struct one *o)
{
	return hit(o, MANAGER(o->pick % 2), SIGKILL, "kill -9");
}

static bool
kill_keeper(struct one *o)
{
	o->target = any(o->pick);
	if (!keeper_pid(o->target) || !daemon_settled(AGENT(o->target)))
		return false;
	tell("kill -9 keeper of %s", host_name(o->target));
	keeper_kill(o->target);
	return true;
}

/* Both at once: what a guest had there is gone, and somebody must be told. */
static bool
blackout(struct one *o)
{
	o->target = o->pick % 2 ? 0 : away();
	tell("kill -9 agent and keeper of %s", host_name(o->target));
	guestlog_pardon();
	keeper_kill(o->target);
	daemon_signal(AGENT(o->target), SIGKILL);
	return true;
}

/* ---- the network ---- */

static bool
relay(unsigned host, const char *fmt, unsigned value)
{
	struct place p;
	char text[64], answer[256];
	int fd, n = snprintf(text, sizeof(text), fmt, value);
	bool good;

	place_unix(&p, world.host[host].relay);
	fd = place_dial(&p);
	good = fd >= 0 && send(fd, text, (size_t)n, MSG_NOSIGNAL) == n &&
	    recv(fd, answer, sizeof(answer), 0) > 2 && answer[0] == 'o';
	if (fd >= 0)
		close(fd);
	if (!good)
		die("relay %s does not obey", world.host[host].relay);
	return true;
}

static bool
cut(struct one *o)
{
	o->target = link_of(o->pick);
	tell("cut all connections to %s", host_name(o->target));
	return relay(o->target, "cut\n", 0);
}

static bool
down(struct one *o)
{
	o->target = link_of(o->pick);
	tell("no connections to %s", host_name(o->target));
	return relay(o->target, "down\n", 0);
}

static bool
blackhole(struct one *o)
{
	o->target = link_of(o->pick);
	tell("black hole before %s", host_name(o->target));
	return relay(o->target, "blackhole\n", 0);
}

static void
restore(struct one *o)
{
	relay(o->target, "restore\n", 0);
}

static bool
delay(struct one *o)
{
	unsigned ms = 5 + (unsigned)(o->pick / 8 % 100);

	o->target = link_of(o->pick);
	tell("%u ms more each way to %s", ms, host_name(o->target));
	return relay(o->target, "delay %u\n", ms);
}

static void
undelay(struct one *o)
{
	relay(o->target, "delay %u\n", 0);
}

/* ---- the disk ---- */

static bool
fill_disk(struct one *o)
{
	char path[200], zeros[4096] = { 0 };
	int fd;

	o->target = o->pick % 2 ? 0 : any(o->pick / 2);
	if (!world.host[o->target].small)
		return false;
	snprintf(path, sizeof(path), "%s/filler", world.host[o->target].state);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	while (write(fd, zeros, sizeof(zeros)) > 0)
		;
	close(fd);
	tell("the disk of %s is full", host_name(o->target));
	return true;
}

static void
empty_disk(struct one *o)
{
	char path[200];

	snprintf(path, sizeof(path), "%s/filler", world.host[o->target].state);
	unlink(path);
}

/* ---- migrations ---- */

static void
moved(int status, const char *last, void *arg)
{
	const char *why = strstr(last, "\"why\"");

	(void)arg;
	moves.under_way = false;
	moves.ended_ns = now_ns();
	*(status == 0	    ? &moves.done :
		status == 1 ? &moves.undone :
			      &moves.open) += 1;
	tell("  migration: %s%s%.150s",
	    status == 0	    ? "done" :
		status == 1 ? "undone" :
			      "open",
	    why ? ": " : "", why ? why + 6 : "");
}

static void
lanyard(on_ended *ended, const char *verb, const char *sub, const char *to,
    const char *rate)
{
	char program[200], socket[200];
	const char *argv[16] = { program, "--manager", socket, "--json", verb };
	unsigned n = 5;

	snprintf(program, sizeof(program), "%s/lanyard", world.build);
	snprintf(socket, sizeof(socket), "%s/north/manager.sock", world.lab);
	if (sub)
		argv[n++] = sub;
	argv[n++] = VM;
	if (to) {
		argv[n++] = "--to";
		argv[n++] = to;
		argv[n++] = "--wait";
	}
	if (rate) {
		argv[n++] = "--bandwidth";
		argv[n++] = rate;
	}
	command(ended, NULL, MOVE_SECONDS, argv);
}

void
move_begin(uint64_t pick)
{
	static const char *const rates[] = { NULL, NULL, "64M", "16M" };
	unsigned at = away(), to = (at + 1 + (unsigned)(pick % 2)) % HOSTS_N;
	const char *rate = rates[pick / 2 % LY_COUNT(rates)];
	char where[80];

	if (moves.under_way)
		return;
	moves.under_way = true;
	moves.begun++;
	snprintf(where, sizeof(where), "%s/%s", world.host[to].site,
	    host_name(to));
	tell("migrate from %s to %s%s%s", host_name(at), where,
	    rate ? " at " : "", rate ? rate : "");
	lanyard(moved, "migrate", NULL, where, rate);
}

static bool
move(struct one *o)
{
	if (moves.under_way)
		return false;
	move_begin(o->pick);
	return true;
}

static bool
cancel(struct one *o)
{
	(void)o;
	if (!moves.under_way)
		return false;
	tell("cancel the migration");
	lanyard(NULL, "migrate", "cancel", NULL, NULL);
	return true;
}

/* ---- the table ---- */

static const struct fault faults[] = {
	{ "kill-away", 8, 0, 0, kill_away, NULL },
	{ "kill-home", 8, 0, 0, kill_home, NULL },
	{ "kill-other", 5, 0, 0, kill_other, NULL },
	{ "kill-agents", 2, 0, 0, kill_agents, NULL },
	{ "hup-away", 4, 0, 0, hup_away, NULL },
	{ "hup-home", 4, 0, 0, hup_home, NULL },
	{ "term", 4, 0, 0, term_any, NULL },
	{ "kill-manager", 4, 0, 0, kill_manager, NULL },
	{ "kill-keeper", 4, 0, 0, kill_keeper, NULL },
	{ "blackout", 1, 0, 0, blackout, NULL },
	{ "cut", 8, 0, 0, cut, NULL },
	{ "down", 4, 100, 3000, down, restore },
	{ "blackhole", 4, 100, 5000, blackhole, restore },
	{ "delay", 4, 500, 4000, delay, undelay },
	{ "disk", 3, 500, 4000, fill_disk, empty_disk },
	{ "migrate", 16, 0, 0, move, NULL },
	{ "cancel", 3, 0, 0, cancel, NULL },
};

#define KINDS LY_COUNT(faults)

bool
faults_chosen(const char *name)
{
	size_t len = strlen(name);

	if (!chosen)
		return true;
	for (const char *at = chosen; (at = strstr(at, name)); at += len)
		if ((at == chosen || at[-1] == ',') &&
		    (at[len] == ',' || !at[len]))
			return true;
	return false;
}

void
faults_choose(const char *names)
{
	unsigned n = 0, words = 1;

	chosen = names && *names ? names : NULL;
	for (size_t i = 0; i < KINDS; i++)
		n += faults_chosen(faults[i].name);
	for (const char *at = chosen; chosen && *at; at++)
		words += *at == ',';
	if (!chosen || n == words)
		return;
	fprintf(stderr, "chaos: in %s some kind is none of:", names);
	for (size_t i = 0; i < KINDS; i++)
		fprintf(stderr, " %s", faults[i].name);
	die(" ");
}

struct planned
faults_next(uint64_t *seed)
{
	struct planned p = { .kind = 0 };
	unsigned all = 0, at;

	for (size_t i = 0; i < KINDS; i++)
		all += faults_chosen(faults[i].name) ? faults[i].weight : 0;
	at = (unsigned)roll_in(seed, 0, all - 1);
	for (;; p.kind++) {
		unsigned w = faults_chosen(faults[p.kind].name) ?
		    faults[p.kind].weight :
		    0;

		if (at < w)
			break;
		at -= w;
	}
	p.pick = roll(seed) >> 8;
	p.last_ms = (unsigned)roll_in(seed, faults[p.kind].min_ms,
	    faults[p.kind].max_ms);
	/* now and then two at once, and now and then a rest */
	p.then_ms = (unsigned)(roll_in(seed, 0, 3) ? roll_in(seed, 300, 3000) :
						     roll_in(seed, 0, 200));
	return p;
}

void
faults_print(const struct planned *p, double at)
{
	printf("%8.3f %-12s pick %lx", at, faults[p->kind].name, p->pick);
	if (p->last_ms)
		printf(" for %u ms", p->last_ms);
	putchar('\n');
}

void
faults_do(const struct planned *p)
{
	struct one *o = &done[done_n];

	if (done_n == DONE_MAX)
		return;
	*o = (struct one){ .kind = p->kind, .pick = p->pick };
	o->begun_ns = now_ns();
	o->end_ns = o->begun_ns + p->last_ms * NS_PER_MS;
	if (!faults[p->kind].begin(o))
		return;
	o->active = faults[p->kind].end != NULL;
	done_n++;
}

static void
finish(struct one *o)
{
	o->active = false;
	o->end_ns = now_ns();
	tell("  end of %s at %s", faults[o->kind].name, host_name(o->target));
	faults[o->kind].end(o);
}

/* Faults end in any order; those before first_live are over and paid for. */
void
faults_turn(void)
{
	uint64_t now = now_ns();

	for (unsigned i = first_live; i < done_n; i++)
		if (done[i].active && done[i].end_ns <= now)
			finish(&done[i]);
	while (first_live < done_n && !done[first_live].active &&
	    done[first_live].end_ns + SETTLE_NS < now)
		first_live++;
}

void
faults_heal(void)
{
	for (unsigned i = first_live; i < done_n; i++)
		if (done[i].active)
			finish(&done[i]);
}

void
faults_charge(uint64_t gap_ms, uint64_t since_ms)
{
	uint64_t now = now_ns();

	for (unsigned i = first_live; i < done_n; i++) {
		struct one *o = &done[i];

		if (!o->active && o->end_ns + SETTLE_NS < now &&
		    o->end_ns + SETTLE_NS + since_ms * NS_PER_MS < now)
			continue;
		o->felt = true;
		o->gap_ms = ly_max(o->gap_ms, gap_ms);
		o->wall_ms = ly_max(o->wall_ms, since_ms);
	}
}

static int
by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void
row(unsigned kind)
{
	static uint64_t gaps[DONE_MAX], walls[DONE_MAX];
	unsigned n = 0, all = 0;

	for (unsigned i = 0; i < done_n; i++) {
		if (done[i].kind != kind)
			continue;
		all++;
		if (!done[i].felt)
			continue;
		gaps[n] = done[i].gap_ms;
		walls[n++] = done[i].wall_ms;
	}
	if (!all)
		return;
	qsort(gaps, n, sizeof(*gaps), by_value);
	qsort(walls, n, sizeof(*walls), by_value);
	printf("  %-14s %6u", faults[kind].name, all);
	if (n)
		printf(" %10lu %8lu %10lu %8lu", gaps[n / 2], gaps[n - 1],
		    walls[n / 2], walls[n - 1]);
	putchar('\n');
}

void
faults_table(void)
{
	printf("\n  %-14s %6s %19s %19s\n  %-14s %6s %10s %8s %10s %8s\n",
	    "fault", "times", "guest waited, ms", "guest stood, ms", "", "",
	    "median", "max", "median", "max");
	for (unsigned k = 0; k < KINDS; k++)
		row(k);
}

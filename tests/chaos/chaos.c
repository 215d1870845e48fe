/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chaos: does to a real lanyard what the world does, and watches that its laws
 * hold. Run by chaos.sh, which has built the lab; ends with a line for each
 * law, `ok NAME` or `not ok NAME: why`, and status 0 if all held.
 *
 *	chaos -l LAB -b BUILD -s SEED -m MINUTES [-n SWITCHES] [-k KINDS] [-r MS]
 *	    [-a SITE/HOST] [-p N]
 *
 * Every BREATH all faults are ended, and within RECOVER the guest must get on,
 * or its loss must have been reported; then it is started anew.
 */
#include "tests/chaos/daemons.h"
#include "tests/chaos/faults.h"
#include "tests/chaos/guestlog.h"
#include "tests/chaos/qmp.h"

#define TURN_MS 5
#define BREATH_NS (30 * NS_PER_S)
#define RECOVER_S 60 /* all healed: the guest gets on, migrations are over */
#define LOST_S 15    /* without a word of it: is it reported lost? */
#define BOOT_S 90
#define REST_NS (300 * NS_PER_MS) /* between two migrations, with -n */
#define PAUSE_NS (2 * NS_PER_S)	  /* without a round: it is paused */

static const struct {
	const char *name;
} laws[LAWS] = {
	[ONE_COPY] = { "never do two copies of the guest run" },
	[LOG] = { "the guest's log has no gap, no repeat and no odd value" },
	[ANSWERS] = { "no TPM command of the guest fails" },
	[DAEMONS] = { "no daemon ends by itself" },
	[MOVES] = { "every migration ends" },
	[ALIVE] = { "healed, the guest runs, or its loss is reported" },
};

static struct {
	unsigned n;
	char first[200];
} broken[LAWS];

struct world world = { .host = { { .name = "n1", .site = "north" },
			   { .name = "s1", .site = "south" },
			   { .name = "s2", .site = "south" } } };

static unsigned cold_starts;
static bool hopeless;	  /* no use in going on */
static uint64_t walls[2]; /* worst wait and worst standstill of all */

/* ---- what all share ---- */

void
path_in(char out[160], const char *fmt, ...)
{
	va_list args;
	int n = snprintf(out, 160, "%s/", world.lab), m;

	va_start(args, fmt);
	m = vsnprintf(out + n, (size_t)(160 - n), fmt, args);
	va_end(args);
	if (n + m >= 160)
		die("%s: too long", world.lab);
}

double
since_start(void)
{
	return (double)(now_ns() - world.start_ns) / 1e9;
}

void
tell(const char *fmt, ...)
{
	va_list args;

	printf("%8.3f ", since_start());
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

void
violation(enum law law, const char *fmt, ...)
{
	char text[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (broken[law].n++ == 0)
		memcpy(broken[law].first, text, sizeof(text));
	if (broken[law].n <= 20)
		tell("VIOLATION: %s", text);
}

unsigned
violations(enum law law)
{
	return broken[law].n;
}

uint64_t
roll(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

uint64_t
roll_in(uint64_t *seed, uint64_t low, uint64_t high)
{
	return low + roll(seed) % (high - low + 1);
}

/* ---- turns ---- */

static void
charge(uint64_t gap_ms, uint64_t since_ms)
{
	walls[0] = ly_max(walls[0], gap_ms);
	walls[1] = ly_max(walls[1], since_ms);
	faults_charge(gap_ms, since_ms);
}

static void
turn(void)
{
	qmp_turn(TURN_MS);
	daemons_turn();
	guestlog_turn(charge);
	faults_turn();
}

static bool
wait_for(bool (*what)(void), unsigned seconds)
{
	uint64_t until = now_ns() + seconds * NS_PER_S;

	while (!what()) {
		if (now_ns() > until || world.stop)
			return false;
		turn();
	}
	return true;
}

/* lanyard --json WORDS...; its output in `out`. */
static int
ask(char *out, size_t size, const char *a, const char *b, const char *c,
    const char *d, const char *e)
{
	char program[200], socket[200];
	const char *argv[] = { program, "--manager", socket, "--json",
		"--timeout", "60", a, b, c, d, e, NULL };

	snprintf(program, sizeof(program), "%s/lanyard", world.build);
	snprintf(socket, sizeof(socket), "%s/north/manager.sock", world.lab);
	return command_now(BOOT_S, out, size, argv);
}

/* ---- the guest's life ---- */

static uint64_t rounds_before;
static unsigned alarms_before; /* this boot of the guest */
static int console = -1;

static bool
gets_on(void)
{
	return guestlog.rounds_all > rounds_before;
}

/* A console whose reader does not read stands still, and while it has one, it
 * doubles a character now and then. */
static bool
pauses(void)
{
	char buf[4096];

	while (recv(console, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	return now_ns() - guestlog.did_ns > PAUSE_NS;
}

static bool
rests(void)
{
	return guestlog.paused > 2;
}

static bool
managers_answer(void)
{
	char out[4096];

	return ask(out, sizeof(out), "site", "show", NULL, NULL, NULL) == 0;
}

static bool
agents_are_up(void)
{
	char out[4096], host[40];

	for (unsigned i = 0; i < HOSTS_N; i++) {
		snprintf(host, sizeof(host), "%s/%s", world.host[i].site,
		    world.host[i].name);
		if (ask(out, sizeof(out), "host", "show", host, NULL, NULL) ||
		    !strstr(out, "\"connected\":true"))
			return false;
	}
	return true;
}

/* A start waits for the lease of before, so it gets more time than a look. */
static int
start(const char *host, bool force, char *out, size_t size)
{
	char program[200], socket[200];
	const char *argv[] = { program, "--manager", socket, "--json", "vm",
		"start", VM, "--host", host, force ? "--force" : NULL, NULL };

	snprintf(program, sizeof(program), "%s/lanyard", world.build);
	snprintf(socket, sizeof(socket), "%s/north/manager.sock", world.lab);
	return command_now(BOOT_S, out, size, argv);
}

static bool
boot(const char *host, bool force)
{
	char out[4096];
	int status;

	rounds_before = guestlog.rounds_all;
	alarms_before = alarms();
	guestlog_cold();
	status = start(host, false, out, sizeof(out));
	if (status != 0 && force)
		status = start(host, true, out, sizeof(out));
	if (status != 0)
		tell("  it does not start: %.150s", out);
	return status == 0 && wait_for(gets_on, BOOT_S);
}

/* Is it what somebody has been told? */
static bool
reported_lost(char *state, size_t size)
{
	char out[8192];
	const char *at;

	snprintf(state, size, "unknown");
	if (ask(out, sizeof(out), "vm", "show", VM, NULL, NULL) != 0)
		return false;
	at = strstr(out, "\"state\":\"");
	if (at)
		snprintf(state, size, "%.*s", (int)strcspn(at + 9, "\""),
		    at + 9);
	return strncmp(state, "running", 7) != 0 &&
	    strncmp(state, "migrating", 9) != 0;
}

static bool
qemus_are_gone(void)
{
	return qmp_alive() == 0;
}

/* Switched off and on, as an operator would who has read the alarm. */
static void
start_anew(const char *why)
{
	char out[4096];

	tell("the VM is started anew: %s", why);
	cold_starts++;
	ask(out, sizeof(out), "vm", "stop", VM, "--force", NULL);
	wait_for(qemus_are_gone, 20);
	if (!boot("north/n1", true)) {
		violation(ALIVE, "it cannot be started anew");
		hopeless = true;
	}
}

static bool
moves_are_over(void)
{
	char out[65536];

	if (moves.under_way || commands_running())
		return false;
	return ask(out, sizeof(out), "status", NULL, NULL, NULL, NULL) == 0 &&
	    strstr(out, "\"migrations\":[]");
}

/* Faults are over: does all end well? */
static void
breathe(void)
{
	char state[64], why[160];

	faults_heal();
	rounds_before = guestlog.rounds_all;
	if (!wait_for(managers_answer, RECOVER_S) ||
	    !wait_for(agents_are_up, RECOVER_S))
		violation(DAEMONS, "healed, not all daemons are up");
	if (!wait_for(moves_are_over, RECOVER_S) && !world.stop)
		violation(MOVES, "a migration is still open after %d s",
		    RECOVER_S);
	rounds_before = guestlog.rounds_all;
	if (!wait_for(gets_on, LOST_S) && !world.stop) {
		if (reported_lost(state, sizeof(state))) {
			snprintf(why, sizeof(why), "reported %s", state);
			start_anew(why);
		} else if (!wait_for(gets_on, RECOVER_S)) {
			violation(ALIVE, "the guest stands still, reported %s",
			    state);
			start_anew("it stands still");
		}
	} else if (guestlog.failed) {
		if (alarms() == alarms_before)
			violation(ALIVE, "its TPM failed and nobody was told");
		start_anew("its TPM failed");
	}
	qmp_check();
}

/* ---- the run ---- */

struct run {
	uint64_t seed;
	long switches;
	double minutes;
	uint64_t until_ns, next_ns, breath_ns;
};

static bool
goes_on(const struct run *r)
{
	if (world.stop || hopeless || now_ns() > r->until_ns)
		return false;
	return r->switches == 0 || moves.done < (unsigned)r->switches;
}

static void
torment(struct run *r)
{
	uint64_t moves_seed = r->seed ^ 0x5851f42d4c957f2d;
	struct planned p;

	r->next_ns = now_ns();
	r->breath_ns = now_ns() + BREATH_NS;
	while (goes_on(r)) {
		turn();
		if (now_ns() >= r->breath_ns) {
			breathe();
			r->breath_ns = now_ns() + BREATH_NS;
			r->next_ns = now_ns();
		}
		if (r->switches && !moves.under_way &&
		    now_ns() > moves.ended_ns + REST_NS)
			move_begin(roll(&moves_seed) >> 8);
		if (now_ns() < r->next_ns)
			continue;
		p = faults_next(&r->seed);
		r->next_ns += p.then_ms * NS_PER_MS;
		faults_do(&p);
	}
}

/* At rest: what its log says is what the chip must say; chaos.sh compares. */
static void
lay_to_rest(void)
{
	char path[200];
	struct place p;
	FILE *f;

	if (hopeless || world.stop)
		return;
	snprintf(path, sizeof(path), "%s/serial.sock",
	    world.host[guestlog.host].run);
	place_unix(&p, path);
	console = place_dial(&p);
	if (console < 0 || send(console, "\npause\n", 7, MSG_NOSIGNAL) != 7 ||
	    !wait_for(pauses, 30) || close(console) != 0 ||
	    !wait_for(rests, 30)) {
		violation(ALIVE, "the guest does not come to rest");
		return;
	}
	path_in(path, "rest");
	f = fopen(path, "w");
	if (!f)
		die("%s: %s", path, strerror(errno));
	for (int i = 0; i < 32; i++)
		fprintf(f, "%02x", guestlog.pcr11[i]);
	fputc(' ', f);
	for (int i = 0; i < 32; i++)
		fprintf(f, "%02x", guestlog.pcr12[i]);
	fprintf(f, " %lu\n", guestlog.nv);
	fclose(f);
}

static int
verdict(uint64_t seed)
{
	unsigned bad = 0;

	faults_table();
	printf("\n  %lu TPM commands and %lu policy sessions in %lu rounds of"
	       " %lu boots; %lu console lines damaged\n"
	       "  %u migrations: %u done, %u undone, %u still open when their"
	       " command ended; %u cold restarts\n"
	       "  the guest waited at most %lu ms for an answer, and stood at"
	       " most %lu ms\n"
	       "  %u times of running compared; %.0f s; seed %lu\n\n",
	    guestlog.commands_before + guestlog.commands, guestlog.uses_all,
	    guestlog.rounds_all, guestlog.boots, guestlog.garbled, moves.begun,
	    moves.done, moves.undone, moves.open, cold_starts, walls[0],
	    walls[1], qmp_check(), since_start(), seed);
	for (unsigned i = 0; i < LAWS; i++) {
		if (broken[i].n)
			printf("not ok %s: %u times, first: %s\n", laws[i].name,
			    broken[i].n, broken[i].first);
		else
			printf("ok %s\n", laws[i].name);
		bad += broken[i].n;
	}
	return bad != 0;
}

/* ---- the start ---- */

static void
on_signal(int sig)
{
	(void)sig;
	world.stop = true;
}

static void
know_hosts(void)
{
	for (unsigned i = 0; i < HOSTS_N; i++) {
		struct host *h = &world.host[i];
		char mark[160];

		path_in(h->relay, "%s/relay.ctl", h->name);
		path_in(h->run, "%s/run/" VM, h->name);
		path_in(h->state, "%s/state", h->name);
		path_in(mark, "%s/small", h->name);
		h->small = access(mark, F_OK) == 0;
	}
}

static void
print_plan(uint64_t seed, long n)
{
	double at = 0;

	for (long i = 0; i < n; i++) {
		struct planned p = faults_next(&seed);

		faults_print(&p, at);
		at += p.then_ms / 1e3;
	}
	exit(0);
}

int
main(int argc, char **argv)
{
	struct run r = { .minutes = 1 };
	const char *kinds = NULL, *at = "north/n1";
	long seed = 1, plan = 0, restart_ms = 10;
	const struct opt opts[] = {
		{ 'l', OPT_TEXT, &world.lab, "DIR", "the lab" },
		{ 'b', OPT_TEXT, &world.build, "DIR", "the programs" },
		{ 's', OPT_COUNT, &seed, "SEED", "of the schedule" },
		{ 'm', OPT_REAL, &r.minutes, "MINUTES", "at most" },
		{ 'n', OPT_COUNT, &r.switches, "N", "migrations done" },
		{ 'k', OPT_TEXT, &kinds, "KIND,...", "of faults" },
		{ 'a', OPT_TEXT, &at, "SITE/HOST", "where the guest begins" },
		{ 'r', OPT_COUNT, &restart_ms, "MS", "until a restart" },
		{ 'p', OPT_COUNT, &plan, "N", "print so many, do none" },
	};

	if (opts_read(opts, LY_COUNT(opts), "", argc, argv) != argc ||
	    (!plan && (!world.lab || !world.build)))
		opts_usage(opts, LY_COUNT(opts), "");
	faults_choose(kinds);
	r.seed = (uint64_t)seed;
	if (plan)
		print_plan(r.seed, plan);
	bench_start();
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	know_hosts();
	world.start_ns = now_ns();
	r.until_ns = world.start_ns + (uint64_t)(r.minutes * 60e9);
	daemons_start((unsigned)restart_ms);
	if (!wait_for(managers_answer, 30) || !wait_for(agents_are_up, 30))
		violation(DAEMONS, "they do not come up");
	else if (!boot(at, false))
		violation(ALIVE, "the guest does not start");
	else
		torment(&r);
	breathe();
	lay_to_rest();
	daemons_end();
	return verdict((uint64_t)seed);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* timeout: 240 */
/*
 * lanyard-manager itself, as processes on loopback, with agents that are
 * fakes: two sites, a host each and a second one in the north.
 */
#include "tests/test.h"

#include "tests/io/fake_agent.h"

#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

enum { NORTH, SOUTH, SITES };
enum { N1, N2, S1, FAKES };

static const char *const site_names[SITES] = { "north", "south" };

struct manager {
	pid_t pid;
	unsigned port;
	int api;
	char in[262144];
	size_t in_n;
};

static struct manager managers[SITES];
static struct fake_world world;
static struct fake fakes[FAKES];
static json_t *progress_seen; /* the last progress event */

/* ---- processes ---- */

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

static const char *
program(void)
{
	static char path[256];
	const char *build = getenv("BUILD");

	ly_print(path, sizeof(path), "%s/lanyard-manager",
	    build ? build : "build");
	return path;
}

static pid_t
run(const char *a, const char *b, const char *c, const char *log)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (!freopen(log, "a", stderr) || !freopen(log, "a", stdout))
			_exit(126);
		execl(program(), program(), a, b, c, (char *)NULL);
		_exit(127);
	}
	return pid;
}

static int
wait_for(pid_t pid)
{
	int status = -1;

	for (int i = 0; i < 1000; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		usleep(10000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

static void
turn(unsigned ms)
{
	uv_run(world.loop, UV_RUN_NOWAIT);
	if (ms)
		usleep(ms * 1000);
	uv_run(world.loop, UV_RUN_NOWAIT);
}

static void
api_open(int s)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	struct manager *m = &managers[s];

	ly_copy(a.sun_path, sizeof(a.sun_path),
	    site_path("%s.sock", site_names[s]));
	m->in_n = 0;
	for (int i = 0; i < 500; i++) {
		m->api = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(m->api, (struct sockaddr *)&a, sizeof(a)) == 0)
			return;
		close(m->api);
		m->api = -1;
		turn(10);
	}
	test_fail(__FILE__, __LINE__, "%s: nobody answers", a.sun_path);
}

static void
start_manager(int s)
{
	managers[s].pid = run("-v", "-c", site_path("%s.conf", site_names[s]),
	    site_path("%s.log", site_names[s]));
	api_open(s);
}

static void
kill_manager(int s)
{
	close(managers[s].api);
	kill(managers[s].pid, SIGKILL);
	waitpid(managers[s].pid, NULL, 0);
}

/* ---- the API ---- */

static void
api_say(int s, const char *line)
{
	WANT(write(managers[s].api, line, strlen(line)) ==
	    (ssize_t)strlen(line));
	WANT(write(managers[s].api, "\n", 1) == 1);
}

/* One line, while the fakes live on; NULL after `ms` or at the end. */
static json_t *
api_line(int s, unsigned ms)
{
	struct manager *m = &managers[s];
	struct pollfd p = { .fd = m->api, .events = POLLIN };
	char *end;

	for (unsigned i = 0; i < ms; i += 2) {
		json_t *out;
		ssize_t n;

		end = memchr(m->in, '\n', m->in_n);
		if (end) {
			size_t len = (size_t)(end - m->in) + 1;

			out = json_loadb(m->in, len, 0, NULL);
			WANT(out);
			m->in_n -= len;
			memmove(m->in, m->in + len, m->in_n);
			return out;
		}
		uv_run(world.loop, UV_RUN_NOWAIT);
		if (poll(&p, 1, 2) == 1) {
			n = read(m->api, m->in + m->in_n,
			    sizeof(m->in) - m->in_n);
			if (n <= 0)
				return NULL;
			m->in_n += (size_t)n;
		}
	}
	return NULL;
}

static json_t *
api_final(int s)
{
	for (;;) {
		json_t *line = api_line(s, 20000);

		if (!line)
			test_fail(__FILE__, __LINE__, "no final answer");
		if (json_object_get(line, "ok"))
			return line;
		if (strcmp(json_string_value(json_object_get(line, "event")),
			"progress") == 0) {
			json_decref(progress_seen);
			progress_seen = line;
		} else {
			json_decref(line);
		}
	}
}

static json_t *
ask(int s, const char *line)
{
	api_say(s, line);
	return api_final(s);
}

static const char *
text(const json_t *o, const char *key)
{
	const char *v = json_string_value(json_object_get(o, key));

	return v ? v : "";
}

static intmax_t
number(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	return json_is_integer(v) ? json_integer_value(v) : -99;
}

static void
want_ok(int s, const char *line)
{
	json_t *a = ask(s, line);

	if (!json_is_true(json_object_get(a, "ok")))
		test_fail(__FILE__, __LINE__, "%s: %s: %s", line, text(a, "rc"),
		    text(a, "why"));
	json_decref(a);
}

static void
want_no(int s, const char *line, const char *rc, const char *why)
{
	json_t *a = ask(s, line);

	if (json_is_true(json_object_get(a, "ok")) ||
	    strcmp(text(a, "rc"), rc) != 0 || !strstr(text(a, "why"), why))
		test_fail(__FILE__, __LINE__, "%s: %s: %s", line, text(a, "rc"),
		    text(a, "why"));
	json_decref(a);
}

/* Until all hosts are seen, by both managers; at most 10 s. */
static bool
hosts_up(int s, unsigned want)
{
	json_t *a = ask(s, "{\"do\":\"host.list\"}"), *h;
	unsigned n = 0;
	size_t i;

	json_array_foreach(json_object_get(a, "hosts"), i, h)
		n += json_is_true(json_object_get(h, "connected"));
	json_decref(a);
	return n == want;
}

static void
want_hosts(int s, unsigned want)
{
	for (int i = 0; i < 500; i++) {
		if (hosts_up(s, want))
			return;
		turn(20);
	}
	test_fail(__FILE__, __LINE__, "%s: not %u hosts", site_names[s], want);
}

static json_t *
vm_of(int s, const char *name)
{
	json_t *a = ask(s, "{\"do\":\"vm.list\"}"), *v, *out = NULL;
	size_t i;

	json_array_foreach(json_object_get(a, "vms"), i, v)
		if (strcmp(text(v, "vm"), name) == 0)
			out = json_incref(v);
	json_decref(a);
	WANT(out);
	return out;
}

static void
want_vm(int s, const char *name, const char *at, const char *state)
{
	for (int i = 0; i < 200; i++) {
		json_t *v = vm_of(s, name);
		bool good = strcmp(text(v, "at"), at) == 0 &&
		    strcmp(text(v, "state"), state) == 0;

		if (i == 199)
			print_error("%s is %s at %s\n", name, text(v, "state"),
			    text(v, "at"));
		json_decref(v);
		if (good)
			return;
		turn(20);
	}
	test_fail(__FILE__, __LINE__, "%s is not %s at %s", name, state, at);
}

static void
want_idle(int s, const char *name)
{
	for (int i = 0; i < 200; i++) {
		json_t *v = vm_of(s, name);
		bool idle = !json_object_get(v, "migrating");

		json_decref(v);
		if (idle)
			return;
		turn(20);
	}
	test_fail(__FILE__, __LINE__, "%s is still being migrated", name);
}

static void
until_asked(int f, unsigned type, unsigned times)
{
	for (int i = 0; i < 1000 && fakes[f].asked[type] < times; i++)
		turn(10);
	WANT(fakes[f].asked[type] >= times);
}

/* ---- the scene ---- */

static void
write_text(const char *path, const char *body)
{
	SITE_OK(ly_file_write(path, body, strlen(body), 0600, &why));
}

/* As `lanyard site init` does. */
static void
init_site(int s)
{
	const char *n = site_names[s];
	char id[LY_SPIFFE_MAX], conf[2048];

	site_make(n);
	ly_print(id, sizeof(id), "spiffe://%s/manager/m1", n);
	site_certify(site_path("%s-m1", n) + strlen(site_root) + 1, n, id);
	SITE_OK(ly_file_mkdir(site_path("%s/trust", n), 0700, &why));
	WANT(rename(site_path("%s-m1.key", n),
		 site_path("%s/manager.key", n)) == 0);
	site_copy(site_path("%s-m1.pem", n), site_path("%s/manager.pem", n));
	site_copy(site_path("%s.ca.pem", n), site_path("%s/ca.pem", n));
	site_copy(site_path("%s.ca.pem", n),
	    site_path("%s/trust/%s.pem", n, n));
	WANT(rename(site_path("%s.ca.key", n), site_path("%s/ca.key", n)) == 0);
	ly_print(conf, sizeof(conf),
	    "[manager]\nsite = %s\nlisten = 127.0.0.1:%u\nstate = %s\n"
	    "socket = %s\nhost_lost_seconds = 1\n",
	    n, managers[s].port, site_path("%s", n), site_path("%s.sock", n));
	write_text(site_path("%s.conf", n), conf);
}

static void
trust_each_other(int s, int other)
{
	json_t *o = json_object();
	char *pem = NULL, *line, address[32];
	size_t len;

	SITE_OK(ly_file_read(site_path("%s.ca.pem", site_names[other]), 65536,
	    (uint8_t **)&pem, &len, &why));
	ly_print(address, sizeof(address), "127.0.0.1:%u",
	    managers[other].port);
	json_object_set_new(o, "do", json_string("site.trust"));
	json_object_set_new(o, "site", json_string(site_names[other]));
	json_object_set_new(o, "ca_pem", json_string(pem));
	json_object_set_new(o, "address", json_string(address));
	line = json_dumps(o, JSON_COMPACT);
	want_ok(s, line);
	free(line);
	free(pem);
	json_decref(o);
}

static void
add_host(int s, int f, const char *name)
{
	const char *n = site_names[s];
	char id[LY_SPIFFE_MAX], *csr = NULL, *line;
	json_t *o = json_object(), *a;

	ly_spiffe_host(n, name, id);
	SITE_OK(ly_ca_request(id, site_path("%s-%s.key", n, name), &csr, &why));
	json_object_set_new(o, "do", json_string("host.add"));
	json_object_set_new(o, "name", json_string(name));
	json_object_set_new(o, "address", json_string("127.0.0.1:9"));
	json_object_set_new(o, "csr", json_string(csr));
	line = json_dumps(o, JSON_COMPACT);
	a = ask(s, line);
	WANT(json_is_true(json_object_get(a, "ok")));
	WANT(strstr(text(a, "ca"), "BEGIN CERTIFICATE"));
	WANT(json_is_string(json_object_get(json_object_get(a, "trust"), n)));
	write_text(site_path("%s-%s.pem", n, name), text(a, "cert"));
	fake_up(&fakes[f], &world, n, name, managers[s].port);
	json_decref(a);
	json_decref(o);
	free(line);
	free(csr);
}

static void
stop_all(void)
{
	for (int s = 0; s < SITES; s++)
		if (managers[s].pid > 0)
			kill(managers[s].pid, SIGKILL);
}

static void
scene(void)
{
	static bool there;

	if (there)
		return;
	there = true;
	signal(SIGPIPE, SIG_IGN);
	world.loop = uv_default_loop();
	atexit(stop_all);
	for (int s = 0; s < SITES; s++) {
		managers[s].port = free_port();
		init_site(s);
		start_manager(s);
	}
	trust_each_other(NORTH, SOUTH);
	trust_each_other(SOUTH, NORTH);
	add_host(NORTH, N1, "n1");
	add_host(NORTH, N2, "n2");
	add_host(SOUTH, S1, "s1");
	want_hosts(NORTH, 3);
	want_hosts(SOUTH, 3);
}

static void
good_moods(void)
{
	for (int f = 0; f < FAKES; f++)
		memset(fakes[f].mood, 0, sizeof(fakes[f].mood));
}

/* web1, at home at n1, running there. */
static struct fake_vm *
web1(void)
{
	static bool there;

	scene();
	good_moods();
	if (!there) {
		want_ok(NORTH,
		    "{\"do\":\"vm.add\",\"name\":\"web1\",\"home\":"
		    "\"n1\",\"definition\":{\"memory\":256}}");
		there = true;
	}
	if (!world.vm[0].holder[0])
		want_ok(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\"}");
	return &world.vm[0];
}

/* The fakes do not run anything: who holds it, runs it. */
static void
move_here(void)
{
	for (int f = 0; f < FAKES; f++) {
		bool holds = strcmp(world.vm[0].holder, fakes[f].id) == 0;

		if (holds && !fakes[f].here)
			fake_report(&fakes[f], &world.vm[0], LY_VM_RUNNING);
		fakes[f].here = holds ? &world.vm[0] : NULL;
	}
	turn(20);
}

static void
migrate(const char *to)
{
	char line[128];

	ly_print(line, sizeof(line),
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"%s\",\"wait\":true}",
	    to);
	want_ok(NORTH, line);
	move_here();
}

/* ---- tests ---- */

TEST(a_configuration_that_makes_no_sense_names_file_line_and_key)
{
	char *log = NULL;
	size_t len;
	pid_t pid;

	write_text(site_path("bad.conf"),
	    "[manager]\nsite = north\nlisten = 127.0.0.1:1\nslate = /x\n");
	pid = run("-t", "-c", site_path("bad.conf"), site_path("bad.log"));
	WANT(WEXITSTATUS(wait_for(pid)) == 1);
	SITE_OK(ly_file_read(site_path("bad.log"), 65536, (uint8_t **)&log,
	    &len, &why));
	WANT(strstr(log, "bad.conf:4") && strstr(log, "slate"));
	free(log);
}

TEST(a_second_manager_on_the_same_state_refuses_to_start)
{
	pid_t pid;

	scene();
	pid = run("-v", "-c", site_path("north.conf"), site_path("two.log"));
	WANT(WEXITSTATUS(wait_for(pid)) == 1);
	want_ok(NORTH, "{\"do\":\"status\"}");
}

TEST(hosts_of_both_sites_are_known_to_both_managers)
{
	json_t *a;

	scene();
	a = ask(NORTH, "{\"do\":\"host.show\",\"host\":\"s1\"}");
	WANT_STR(text(a, "site"), "south");
	WANT(json_is_true(json_object_get(a, "connected")));
	json_decref(a);
}

TEST(an_unknown_host_or_vm_says_which_exist)
{
	scene();
	want_no(NORTH, "{\"do\":\"host.show\",\"host\":\"n9\"}", "unknown",
	    "north/n1");
	want_no(NORTH, "{\"do\":\"vm.show\",\"vm\":\"web9\"}", "unknown",
	    "no VM \"web9\"");
	want_no(NORTH,
	    "{\"do\":\"vm.add\",\"name\":\"x\",\"home\":\"s1\","
	    "\"definition\":{}}",
	    "refused", "not a host of this");
}

TEST(a_line_that_is_no_request_is_answered_and_the_next_one_is_heard)
{
	char big[70000];

	scene();
	want_no(NORTH, "garbage", "usage", "not JSON");
	want_no(NORTH, "{\"do\":\"dance\"}", "usage", "host.add");
	want_no(NORTH, "{\"do\":\"vm.show\"}", "usage", "needs \"vm\"");
	want_no(NORTH, "{\"do\":\"vm.show\",\"vm\":1}", "usage", "a text");
	want_no(NORTH, "{\"do\":\"vm.list\",\"x\":1}", "usage", "no key");
	want_ok(NORTH, "{\"do\":\"vm.list\"}");
	memset(big, 'x', sizeof(big));
	WANT(write(managers[NORTH].api, big, sizeof(big)) > 0);
	json_t *a = api_final(NORTH);

	WANT_STR(text(a, "rc"), "usage");
	json_decref(a);
	WANT(!api_line(NORTH, 2000)); /* and closed */
	close(managers[NORTH].api);
	api_open(NORTH);
}

TEST(a_vm_is_added_started_and_shown_with_its_homes_record)
{
	struct fake_vm *vm = web1();
	json_t *a;

	WANT_INT(vm->epoch, 2);
	WANT_INT(vm->rights, LY_MAY_ATTACH);
	a = ask(NORTH, "{\"do\":\"vm.show\",\"vm\":\"web1\"}");
	WANT_STR(text(a, "tpm"), "tpm0");
	WANT_STR(text(json_object_get(a, "record"), "state"), "attached");
	WANT_INT(number(json_object_get(a, "definition"), "memory"), 256);
	json_decref(a);
	want_vm(NORTH, "web1", "north/n1", "running");
	want_no(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\",\"host\":\"n2\"}",
	    "refused", "runs at north/n1 already");
	want_no(NORTH,
	    "{\"do\":\"vm.add\",\"name\":\"web1\",\"home\":\"n1\","
	    "\"definition\":{}}",
	    "refused", "already");
	want_no(NORTH, "{\"do\":\"vm.remove\",\"vm\":\"web1\"}", "refused",
	    "stop it first");
}

TEST(a_dry_run_asks_nobody_and_names_what_is_not_in_this_version)
{
	json_t *a, *step;
	size_t i;
	unsigned unbuilt = 0;

	web1();
	memset(fakes[S1].asked, 0, sizeof(fakes[S1].asked));
	a = ask(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"south/s1\""
	    ",\"dry_run\":true}");
	json_array_foreach(json_object_get(a, "steps"), i, step)
		if (strcmp(text(step, "would"), "not in this version") == 0)
			unbuilt++;
	WANT_INT(unbuilt, 2);
	WANT(json_is_true(json_object_get(a, "allowed")));
	WANT_INT(fakes[S1].asked[LY_PREPARE], 0);
	json_decref(a);
}

TEST(a_migration_to_another_site_and_back_moves_the_vm_and_not_its_home)
{
	struct fake_vm *vm = web1();
	json_t *a;

	a = ask(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\","
	    "\"wait\":true}");
	WANT(json_is_true(json_object_get(a, "ok")));
	WANT(json_is_true(json_object_get(a, "migrated")));
	WANT_STR(text(a, "from"), "north/n1");
	WANT_STR(text(a, "to"), "south/s1");
	WANT_STR(text(a, "home"), "north/n1");
	WANT_INT(number(a, "epoch"), 3);
	WANT_INT(number(a, "memory_bytes"), 268435456);
	WANT_INT(number(a, "downtime_ms"), 42);
	WANT_INT(number(a, "tpm_state_bytes"), 0);
	WANT_INT(number(a, "commands_after") - number(a, "commands_before"),
	    10);
	WANT(progress_seen && number(progress_seen, "percent") == 50);
	json_decref(a);
	move_here();
	want_vm(NORTH, "web1", "south/s1", "running");
	a = ask(SOUTH, "{\"do\":\"host.show\",\"host\":\"s1\"}");
	WANT_INT(json_array_size(json_object_get(a, "guests")), 1);
	json_decref(a);
	migrate("n2");
	want_vm(NORTH, "web1", "north/n2", "running");
	migrate("n1");
	want_vm(NORTH, "web1", "north/n1", "running");
	WANT_INT(vm->epoch, 5);
}

TEST(a_second_migration_is_refused_while_one_runs)
{
	json_t *a;

	web1();
	fakes[N1].mood[LY_COPY] = FAKE_HOLDS;
	fakes[N1].asked[LY_COPY] = 0;
	a = ask(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	WANT(strlen(text(a, "migration")) == 36);
	until_asked(N1, LY_COPY, 1);
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"n2\","
	    "\"wait\":true}",
	    "busy", "copying");
	want_no(NORTH, "{\"do\":\"vm.stop\",\"vm\":\"web1\"}", "busy",
	    "migrated");
	fake_let_go(&fakes[N1]);
	want_vm(NORTH, "web1", "south/s1", "running");
	want_idle(NORTH, "web1");
	json_decref(a);
	move_here();
	migrate("n1");
}

TEST(a_destination_that_refuses_leaves_the_vm_where_it_was)
{
	web1();
	fakes[S1].mood[LY_PREPARE] = FAKE_REFUSES;
	fakes[S1].asked[LY_DROP] = 0;
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\","
	    "\"wait\":true}",
	    "refused", "in a bad mood");
	WANT_INT(fakes[S1].asked[LY_DROP], 1);
	WANT_INT(world.vm[0].fate, LY_FATE_ABORTED);
	want_vm(NORTH, "web1", "north/n1", "running");
}

TEST(a_source_that_cannot_tell_is_settled_by_the_home)
{
	web1();
	fakes[N1].mood[LY_COPY] = FAKE_REFUSES; /* and says no fate */
	fakes[N1].asked[LY_SETTLE] = 0;
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\","
	    "\"wait\":true}",
	    "refused", "copy at north/n1");
	WANT_INT(fakes[N1].asked[LY_SETTLE], 1);
	WANT_INT(fakes[N1].last_flag, LY_FATE_ABORTED);
}

TEST(a_migration_to_a_dead_host_is_refused_at_once)
{
	web1();
	fake_cut(&fakes[S1]);
	want_hosts(NORTH, 2);
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\","
	    "\"wait\":true}",
	    "refused", "the destination south/s1 is not connected");
	fakes[S1].off = false;
	want_hosts(NORTH, 3);
}

TEST(a_source_that_is_cut_off_and_comes_back_is_asked_again)
{
	web1();
	fakes[N1].mood[LY_COPY] = FAKE_LOSES;
	fakes[N1].asked[LY_COPY] = 0;
	want_ok(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"n2\"}");
	until_asked(N1, LY_COPY, 1);
	good_moods();
	fake_cut(&fakes[N1]);
	want_hosts(NORTH, 2);
	fakes[N1].off = false;
	until_asked(N1, LY_COPY, 2);
	move_here();
	want_vm(NORTH, "web1", "north/n2", "running");
	want_idle(NORTH, "web1");
	migrate("n1");
}

TEST(a_source_that_is_lost_is_settled_by_the_home_and_told_on_its_return)
{
	web1();
	migrate("n2"); /* the home must not be the one that is lost */
	fakes[N2].mood[LY_COPY] = FAKE_HOLDS;
	fakes[N2].asked[LY_COPY] = fakes[N2].asked[LY_SETTLE] = 0;
	fakes[S1].asked[LY_DROP] = 0;
	want_ok(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	until_asked(N2, LY_COPY, 1);
	fake_cut(&fakes[N2]);
	until_asked(S1, LY_DROP, 1);
	WANT_INT(world.vm[0].fate, LY_FATE_ABORTED);
	want_vm(NORTH, "web1", "north/n2", "down at north/n2 (host lost)");
	fakes[N2].has_held = false;
	good_moods();
	fakes[N2].off = false;
	until_asked(N2, LY_SETTLE, 1);
	WANT_INT(fakes[N2].last_flag, LY_FATE_ABORTED);
	want_idle(NORTH, "web1");
	want_vm(NORTH, "web1", "north/n2", "running");
	migrate("n1");
}

TEST(a_vm_of_a_lost_source_starts_elsewhere_and_the_source_is_not_resumed)
{
	web1();
	migrate("n2");
	fakes[N2].mood[LY_COPY] = FAKE_HOLDS;
	fakes[N2].asked[LY_COPY] = fakes[N2].asked[LY_SETTLE] = 0;
	fakes[S1].asked[LY_DROP] = 0;
	want_ok(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	until_asked(N2, LY_COPY, 1);
	fake_cut(&fakes[N2]);
	until_asked(S1, LY_DROP, 1);
	want_vm(NORTH, "web1", "north/n2", "down at north/n2 (host lost)");
	want_ok(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\",\"force\":true}");
	fakes[N2].has_held = false;
	fakes[N2].here = NULL;
	good_moods();
	fakes[N2].off = false;
	want_hosts(NORTH, 3);
	want_vm(NORTH, "web1", "north/n1", "running");
	WANT_INT(fakes[N2].asked[LY_SETTLE], 0);
}

TEST(a_full_disk_refuses_the_step_and_status_says_so)
{
	struct rlimit was, full = { 0, 0 };
	json_t *a;

	web1();
	WANT(prlimit(managers[NORTH].pid, RLIMIT_FSIZE, NULL, &was) == 0);
	full.rlim_max = was.rlim_max;
	WANT(prlimit(managers[NORTH].pid, RLIMIT_FSIZE, &full, NULL) == 0);
	fakes[S1].asked[LY_PREPARE] = 0;
	want_no(NORTH,
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\","
	    "\"wait\":true}",
	    "outside", "written down");
	want_no(NORTH,
	    "{\"do\":\"vm.add\",\"name\":\"web2\",\"home\":\"n1\","
	    "\"definition\":{}}",
	    "outside", "lanyard.db");
	WANT_INT(fakes[S1].asked[LY_PREPARE], 0);
	a = ask(NORTH, "{\"do\":\"status\"}");
	WANT_STR(text(a, "site"), "north");
	WANT(strcmp(text(a, "store"), "good") != 0);
	WANT_INT(json_array_size(json_object_get(a, "vms")), 1);
	WANT_INT(json_array_size(json_object_get(a, "migrations")), 0);
	json_decref(a);
	WANT(prlimit(managers[NORTH].pid, RLIMIT_FSIZE, &was, NULL) == 0);
	migrate("s1");
	a = ask(NORTH, "{\"do\":\"status\"}");
	WANT_STR(text(a, "store"), "good");
	json_decref(a);
	migrate("n1");
}

TEST(a_migration_can_be_called_off_while_it_copies)
{
	web1();
	fakes[N1].mood[LY_COPY] = FAKE_HOLDS;
	fakes[N1].asked[LY_COPY] = fakes[N1].asked[LY_CALLOFF] = 0;
	want_ok(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	until_asked(N1, LY_COPY, 1);
	want_ok(NORTH, "{\"do\":\"migrate.cancel\",\"vm\":\"web1\"}");
	until_asked(N1, LY_CALLOFF, 1);
	world.vm[0].fate = LY_FATE_ABORTED; /* the source did that */
	fakes[S1].asked[LY_DROP] = 0;
	fake_let_go(&fakes[N1]);
	until_asked(S1, LY_DROP, 1);
	want_idle(NORTH, "web1");
	want_vm(NORTH, "web1", "north/n1", "running");
}

/* ---- kill -9 between steps ---- */

static void
killed_at(int f, unsigned type)
{
	json_t *a;
	char line[128];

	web1();
	fakes[f].mood[type] = FAKE_LOSES;
	fakes[f].asked[type] = 0;
	a = ask(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	WANT(json_is_true(json_object_get(a, "ok")));
	until_asked(f, type, 1);
	kill_manager(NORTH);
	good_moods();
	turn(50);
	start_manager(NORTH);
	until_asked(f, type, 2);
	ly_print(line, sizeof(line),
	    "{\"do\":\"migrate.show\",\"migration\":\"%s\"}",
	    text(a, "migration"));
	for (int i = 0; i < 300; i++) {
		json_t *b = ask(NORTH, line);
		bool over = strcmp(text(b, "state"), "cleaned") == 0;

		json_decref(b);
		if (over)
			break;
		WANT(i < 299);
		turn(20);
	}
	json_decref(a);
	move_here();
	want_vm(NORTH, "web1", "south/s1", "running");
	migrate("n1");
}

TEST(a_manager_killed_while_the_home_is_asked_goes_on)
{
	killed_at(N1, LY_SHOW);
}

TEST(a_manager_killed_while_preparing_goes_on)
{
	killed_at(S1, LY_PREPARE);
}

TEST(a_manager_killed_while_copying_goes_on)
{
	killed_at(N1, LY_COPY);
}

TEST(another_sites_manager_killed_in_the_middle_changes_nothing)
{
	web1();
	fakes[S1].mood[LY_PREPARE] = FAKE_LOSES;
	fakes[S1].asked[LY_PREPARE] = 0;
	want_ok(NORTH, "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"s1\"}");
	until_asked(S1, LY_PREPARE, 1);
	kill_manager(SOUTH);
	good_moods();
	start_manager(SOUTH);
	until_asked(S1, LY_PREPARE, 2);
	for (int i = 0; i < 300 && strcmp(world.vm[0].holder, fakes[S1].id);
	     i++)
		turn(20);
	move_here();
	want_vm(NORTH, "web1", "south/s1", "running");
	want_idle(NORTH, "web1");
	migrate("n1");
}

/* ---- starts by force, stops, ends ---- */

TEST(a_vm_whose_host_was_lost_starts_elsewhere_only_by_force)
{
	struct fake_vm *vm = web1();

	migrate("n2");
	fake_cut(&fakes[N2]);
	want_hosts(NORTH, 2);
	want_vm(NORTH, "web1", "north/n2",
	    "unknown (north/n2 is not connected)");
	want_no(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\"}", "refused",
	    "--force");
	want_ok(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\",\"force\":true}");
	WANT_INT(vm->rights, LY_MAY_ATTACH | LY_MAY_FORCE);
	fakes[N2].here = NULL;
	fakes[N2].off = false;
	want_hosts(NORTH, 3);
	want_vm(NORTH, "web1", "north/n1", "running");
}

TEST(a_holder_that_says_it_has_no_such_vm_is_proof_enough)
{
	struct fake_vm *vm = web1();

	migrate("n2");
	fakes[N2].here = NULL; /* it was rebooted */
	fake_report(&fakes[N2], vm, LY_VM_NONE);
	want_vm(NORTH, "web1", "north/n2", "off");
	fakes[N2].asked[LY_STOP] = 0;
	want_ok(NORTH, "{\"do\":\"vm.start\",\"vm\":\"web1\"}");
	WANT_INT(fakes[N2].asked[LY_STOP], 1);
	WANT_INT(vm->rights, LY_MAY_ATTACH | LY_MAY_FORCE);
}

/* ---- a manager of another site, who has turned ---- */

static struct rogue {
	struct ly_conn *conn;
	bool open;
	unsigned answers;
	struct ly_done last;
} rogue;

static enum ly_rc
rogue_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	(void)c, (void)peer, (void)hello, (void)arg, (void)why;
	rogue.open = true;
	return LY_OK;
}

static enum ly_rc
rogue_frame(struct ly_conn *c, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	(void)c, (void)arg, (void)why;
	if (type == LY_DONE) {
		rogue.answers++;
		rogue.last = m->done;
	}
	return LY_OK;
}

static void
rogue_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	(void)c, (void)rc, (void)why, (void)arg;
	rogue.conn = NULL;
}

static const struct ly_conn_ops rogue_ops = {
	.on_open = rogue_open,
	.on_frame = rogue_frame,
	.on_close = rogue_close,
};

static void
rogue_dial(struct ly_net *net)
{
	struct ly_hello hello = { .proto = LY_PROTO,
		.purpose = LY_FOR_FEDERATION };

	rogue.open = false;
	rogue.conn = ly_conn_dial(net, fakes[N1].manager, NULL, &hello,
	    &rogue_ops, NULL);
}

static void
rogue_asks(unsigned type, void *msg, enum ly_rc rc, const char *why)
{
	unsigned was = rogue.answers;

	ly_conn_send(rogue.conn, type, msg);
	for (int i = 0; i < 300 && rogue.answers == was; i++)
		turn(10);
	WANT_INT(rogue.answers, was + 1);
	WANT_INT(rogue.last.rc, rc);
	if (!strstr(rogue.last.why, why))
		test_fail(__FILE__, __LINE__, "%s", rogue.last.why);
}

TEST(a_host_is_no_manager_whatever_it_says_it_is)
{
	scene();
	rogue_dial(fakes[S1].net);
	for (int i = 0; i < 300 && rogue.conn; i++)
		turn(10);
	WANT(!rogue.conn);
}

TEST(another_sites_manager_may_not_ask_for_vms_that_are_not_its_own)
{
	struct ly_start s = { .req = 1,
		.host = "n1",
		.origin = "south",
		.name = "evil",
		.home = "spiffe://north/host/n1" };
	struct ly_request r = { .req = 2, .host = "n1", .origin = "south" };
	struct ly_net *net = NULL;
	struct ly_identity *ids;

	web1();
	site_copy(site_path("south/manager.pem"), site_path("rogue.pem"));
	WANT(rename(site_path("south/manager.key"), site_path("rogue.key")) ==
	    0);
	kill_manager(SOUTH);
	ids = site_load("rogue", "trust");
	SITE_OK(ly_net_new(world.loop, ids, "rogue", &net, &why));
	rogue_dial(net);
	for (int i = 0; i < 300 && !rogue.open; i++)
		turn(10);
	WANT(rogue.open);
	memset(fakes[N1].asked, 0, sizeof(fakes[N1].asked));

	rogue_asks(LY_START, &s, LY_REFUSED, "not a host of site south");
	ly_copy(s.origin, sizeof(s.origin), "north");
	rogue_asks(LY_START, &s, LY_REFUSED, "in the name of north");
	r.vm = world.vm[0].id; /* web1 is of the north */
	rogue_asks(LY_STOP, &r, LY_REFUSED, "not at site south");
	r.vm.b[0] ^= 1;
	ly_copy(r.host, sizeof(r.host), "n9");
	rogue_asks(LY_STOP, &r, LY_UNKNOWN, "no host \"n9\"");
	WANT_INT(fakes[N1].asked[LY_STOP], 0);
	WANT_INT(fakes[N1].asked[LY_START], 0);

	/* BIND, SHOW and ASK are for its own site's hosts only. */
	ly_conn_send(rogue.conn, LY_SHOW, &r);
	for (int i = 0; i < 300 && rogue.conn; i++)
		turn(10);
	WANT(!rogue.conn);
	ly_net_close(net);
	turn(20);
	WANT(rename(site_path("rogue.key"), site_path("south/manager.key")) ==
	    0);
	start_manager(SOUTH);
	want_hosts(NORTH, 3);
	ly_identity_free(ids); /* its net is long closed */
}

TEST(a_vm_is_stopped_started_at_another_site_and_removed)
{
	web1();
	want_ok(NORTH, "{\"do\":\"vm.stop\",\"vm\":\"web1\"}");
	want_vm(NORTH, "web1", "north/n1", "off");
	want_ok(NORTH,
	    "{\"do\":\"vm.start\",\"vm\":\"web1\",\"host\":"
	    "\"south/s1\"}");
	want_vm(NORTH, "web1", "south/s1", "running");
	want_ok(NORTH, "{\"do\":\"vm.stop\",\"vm\":\"web1\"}");
	want_no(NORTH, "{\"do\":\"host.remove\",\"host\":\"n1\"}", "refused",
	    "home");
	want_ok(NORTH, "{\"do\":\"vm.remove\",\"vm\":\"web1\"}");
	want_ok(NORTH, "{\"do\":\"host.remove\",\"host\":\"n2\"}");
	want_no(NORTH, "{\"do\":\"host.show\",\"host\":\"n2\"}", "unknown",
	    "there are");
}

TEST(a_manager_ends_cleanly_when_told_to)
{
	int status;

	scene();
	kill(managers[NORTH].pid, SIGTERM);
	status = wait_for(managers[NORTH].pid);
	WANT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(managers[NORTH].api);
	start_manager(NORTH);
	want_ok(NORTH, "{\"do\":\"status\"}");
}

TEST_MAIN()

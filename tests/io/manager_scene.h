/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For test_manager.c: two sites with a manager each, as processes; hosts n1 and
 * n2 in the north and s1 in the south, as fakes; a caller of each manager's
 * API; and web1, a VM at home at n1.
 */
#ifndef LY_TESTS_MANAGER_SCENE_H
#define LY_TESTS_MANAGER_SCENE_H

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

static LY_UNUSED int
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

static LY_UNUSED intmax_t
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

static LY_UNUSED void
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

static LY_UNUSED void
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

static LY_UNUSED void
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
	    "socket = %s\nhost_lost_seconds = 1\nattest = no\n",
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
certify_host(int s, const char *name)
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
	json_decref(a);
	json_decref(o);
	free(line);
	free(csr);
}

static void
add_host(int s, int f, const char *name)
{
	certify_host(s, name);
	fake_up(&fakes[f], &world, site_names[s], name, managers[s].port);
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
static LY_UNUSED struct fake_vm *
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

static LY_UNUSED void
migrate(const char *to)
{
	char line[128];

	ly_print(line, sizeof(line),
	    "{\"do\":\"migrate\",\"vm\":\"web1\",\"to\":\"%s\",\"wait\":true}",
	    to);
	want_ok(NORTH, line);
	move_here();
}

#endif

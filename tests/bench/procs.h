/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What processes cost, as the kernel counts it: CPU of every thread, resident
 * and proportional memory. Given roots, all their descendants are included.
 */
#ifndef LY_BENCH_PROCS_H
#define LY_BENCH_PROCS_H

#include "tests/bench/common.h"

#include <dirent.h>

#define PROCS_MAX 4096

struct procs {
	int roots[64];
	unsigned roots_n;
	int pid[PROCS_MAX];
	unsigned n;
};

struct procs_cost {
	double cpu_s;
	long rss_kib, pss_kib, threads;
};

/* "12,34" */
static inline void
procs_roots(struct procs *p, const char *list)
{
	while (*list) {
		char *end;
		long pid = strtol(list, &end, 10);

		if (end == list || pid <= 0 || (*end && *end != ','))
			die("%s: not a list of process ids", list);
		if (p->roots_n == LY_COUNT(p->roots))
			die("more than %zu processes", LY_COUNT(p->roots));
		p->roots[p->roots_n++] = (int)pid;
		list = *end ? end + 1 : end;
	}
}

static inline bool
procs_has(const struct procs *p, int pid)
{
	for (unsigned i = 0; i < p->n; i++)
		if (p->pid[i] == pid)
			return true;
	return false;
}

static inline int
proc_parent(int pid)
{
	char path[64], line[512], *after;
	int parent = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fgets(line, sizeof(line), f) && (after = strrchr(line, ')')))
		(void)sscanf(after + 1, " %*c %d", &parent);
	fclose(f);
	return parent;
}

/* Adds children of what is known; true if there were new ones. */
static inline bool
procs_grow(struct procs *p)
{
	unsigned before = p->n;
	DIR *dir = opendir("/proc");

	for (struct dirent *e; dir && (e = readdir(dir));) {
		int pid = atoi(e->d_name);

		if (pid > 0 && p->n < PROCS_MAX && !procs_has(p, pid) &&
		    procs_has(p, proc_parent(pid)))
			p->pid[p->n++] = pid;
	}
	if (dir)
		closedir(dir);
	return p->n > before;
}

static inline void
procs_find(struct procs *p)
{
	p->n = 0;
	for (unsigned i = 0; i < p->roots_n; i++)
		p->pid[p->n++] = p->roots[i];
	while (procs_grow(p))
		;
}

static inline double
proc_cpu_s(int pid)
{
	double ns = 0;
	char path[320];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		unsigned long long v;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid,
		    e->d_name);
		f = e->d_name[0] == '.' ? NULL : fopen(path, "re");
		if (f && fscanf(f, "%llu", &v) == 1)
			ns += (double)v;
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return ns / 1e9;
}

/* Adds up the numbers behind `key` in /proc/PID/FILE. */
static inline long
proc_sum(int pid, const char *file, const char *key)
{
	char path[64], line[256];
	size_t key_len = strlen(key);
	long sum = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, key, key_len) == 0)
			sum += atol(line + key_len);
	if (f)
		fclose(f);
	return sum;
}

static inline struct procs_cost
procs_cost(struct procs *p)
{
	struct procs_cost c = { 0 };
	long pss_kib;

	procs_find(p);
	for (unsigned i = 0; i < p->n; i++) {
		c.cpu_s += proc_cpu_s(p->pid[i]);
		c.rss_kib += proc_sum(p->pid[i], "status", "VmRSS:");
		pss_kib = proc_sum(p->pid[i], "smaps_rollup", "Pss:");
		if (pss_kib == 0) /* not ours to look at */
			pss_kib = proc_sum(p->pid[i], "status", "VmRSS:");
		c.pss_kib += pss_kib;
		c.threads += proc_sum(p->pid[i], "status", "Threads:");
	}
	return c;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervisor: starts each daemon again some time after its end, as
 * systemd with Restart=always would. An end that we did not cause is a violation. And
 * the commands that we run beside: lanyard(1), one line of output kept.
 */
#ifndef LY_TESTS_CHAOS_DAEMONS_H
#define LY_TESTS_CHAOS_DAEMONS_H

#include "tests/chaos/chaos.h"

#define AGENT(host) (host)
#define MANAGER(i) (HOSTS_N + (i))
#define DAEMONS_N (HOSTS_N + 2)

void daemons_start(unsigned restart_ms);
/* Reaps, restarts, and tells commands of their end. */
void daemons_turn(void);
/* kill, SIGHUP, ...: false if it does not run. */
bool daemon_signal(unsigned which, int sig);
/* Held down until _release(). */
void daemon_hold(unsigned which);
void daemon_release(unsigned which);
bool daemon_runs(unsigned which);
const char *daemon_name(unsigned which);
/* It has been up for long enough to have everything its keeper has, and the
 * keeper to have everything of its. */
bool daemon_settled(unsigned which);
/* The keeper of a host's agent; 0: none. */
int keeper_pid(unsigned host);
void keeper_kill(unsigned host);
/* How many alarms stand in the logs of all agents. */
unsigned alarms(void);
/* All of them, and their keepers, for good. */
void daemons_end(void);

/* A command; `ended` is told its status, 128 + n for a signal, and the last
 * line it said. Ended by us after `seconds`. */
typedef void on_ended(int status, const char *last, void *arg);
void command(on_ended *ended, void *arg, unsigned seconds,
    const char *const *argv);
/* The same, waited for; its output in `out`. */
int command_now(unsigned seconds, char *out, size_t size,
    const char *const *argv);
unsigned commands_running(void);

#endif

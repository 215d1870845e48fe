#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 150
#
# Hostile peers at an agent's and at a manager's port: each loses its
# connection, costs one line in the log, and nobody else notices.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin peers
lab_site north
lab_manager_start north || lab_die "no manager"
lab_host north home1
lab_host north away1
HOSTS="home1 away1"

# A site that nobody here trusts, and one of the same name as ours.
for ca in west north; do
	mkdir -p "$LAB/evil-$ca"
	"$BUILD/lanyard" site init --site "$ca" --state "$LAB/evil-$ca" \
		>"$LAB/out" 2>&1 || lab_die "site init: $(cat "$LAB/out")"
done

lab_cli north vm add x --home home1 --memory 8 --external >"$LAB/out" 2>&1 ||
	lab_die "vm add: $(cat "$LAB/out")"
lab_cli north vm start x --host away1 >"$LAB/out" 2>&1 ||
	lab_die "vm start: $(cat "$LAB/out")"
swtpm_ioctl --unix "$LAB/away1/run/x/tpm.ctrl" -i || lab_die "no power"
export TPM2TOOLS_TCTI="swtpm:path=$LAB/away1/run/x/tpm"
timeout 30 tpm2_startup -c || lab_die "no TPM"

port_of() { # NAME: of what `listens on`
	sed -n 's/.*listen[a-z]* on 127\.0\.0\.1:\([0-9]*\).*/\1/p' \
		"$LAB/$1.log" | tail -n 1
}
lines() {
	grep -c ' conn: 127\.0\.0\.1' "$LAB/$1.log"
}
lines_are() {
	[ "$(lines "$1")" = "$2" ]
}

# The VM's session: an unbroken row of commands while the others knock.
session() {
	while [ ! -f "$LAB/enough" ]; do
		timeout 30 tpm2_getrandom --hex 8 >"$LAB/x.out" 2>>"$LAB/x.err" ||
			echo failed >>"$LAB/x.err"
		echo . >>"$LAB/x.done"
	done
}
session &
session_pid=$!
echo "$session_pid session" >>"$LAB/pids"

# knock WHAT FUNCTION: called with the port of each daemon, and whatever it does
# it is hung up on within the limit of a greeting (and not by our timeout), with
# one line more in the log.
knock() {
	for daemon in agent-home1 manager-north; do
		was=$(lines "$daemon")
		"$2" "$(port_of "$daemon")" >"$LAB/out" 2>"$LAB/err" </dev/null
		[ $? != 124 ] || no "$daemon: $1: not hung up on"
		lab_wait 10 "line" lines_are "$daemon" $((was + 1)) 2>/dev/null ||
			no "$daemon: $1: $(($(lines "$daemon") - was)) lines"
		lab_wait 1 "end" true
		kill -0 "$(cat "$LAB/$daemon.pid")" 2>/dev/null ||
			no "$daemon: $1: it died"
	done
}

# client PORT WORD...: TLS, and whatever stands in $LAB/say once it is up; our
# side is kept open until they have hung up.
client() {
	client_port=$1
	shift
	{ cat "$LAB/say"; sleep 40 & echo $! >"$LAB/sleep.pid"; wait; } |
		{
			timeout 30 openssl s_client -quiet -verify_quiet "$@" \
				-connect "127.0.0.1:$client_port"
			client_status=$?
			kill "$(cat "$LAB/sleep.pid")" 2>/dev/null
			exit $client_status
		}
}
: >"$LAB/say"

nobody() { client "$1"; }
west() {
	client "$1" -cert "$LAB/evil-west/manager.pem" \
		-key "$LAB/evil-west/manager.key"
}
false_north() {
	client "$1" -cert "$LAB/evil-north/manager.pem" \
		-key "$LAB/evil-north/manager.key"
}
ours() {
	client "$1" -cert "$LAB/away1/host.pem" -key "$LAB/away1/host.key"
}
old_tls() {
	client "$1" -tls1_2 -cert "$LAB/away1/host.pem" \
		-key "$LAB/away1/host.key"
}
plain() {
	{ cat "$LAB/say"; sleep 40 & echo $! >"$LAB/sleep.pid"; wait; } |
		{
			timeout 30 socat -t 0.1 - "TCP:127.0.0.1:$1"
			plain_status=$?
			kill "$(cat "$LAB/sleep.pid")" 2>/dev/null
			exit $plain_status
		}
}

it "no certificate"
knock "no certificate" nobody

it "a certificate of a site that is not trusted"
knock "another site's" west

it "a certificate of a CA that only says it is ours"
knock "a false CA's" false_north

it "TLS 1.2, with a good certificate"
knock "TLS 1.2" old_tls

it "garbage before TLS"
head -c 4096 /dev/urandom >"$LAB/say"
knock "garbage" plain
printf 'GET / HTTP/1.0\r\n\r\n' >"$LAB/say"
knock "HTTP" plain

it "garbage after TLS, from a host we trust"
head -c 4096 /dev/zero | tr '\0' '\377' >"$LAB/say"
knock "garbage" ours

it "half a frame after TLS, and then nothing"
printf 'LY\001' >"$LAB/say"
knock "half a frame" ours

it "silence after TLS"
: >"$LAB/say"
knock "silence" ours

it "silence before TLS"
knock "silence" plain

it "the VM's session has not noticed"
: >"$LAB/enough"
wait "$session_pid"
[ ! -s "$LAB/x.err" ] || no "$(head -c 300 "$LAB/x.err")"
[ "$(wc -l <"$LAB/x.done")" -gt 20 ] ||
	no "only $(wc -l <"$LAB/x.done") commands"
same "the link's begin" 1 "$(grep -c 'link: up to' "$LAB/agent-away1.log")"

it "and agents and manager are still there for their own"
run --json host list
exits 0
same "hosts connected" 2 "$(key_of '[.hosts[] | select(.connected)] | length')"
run vm stop x --force
exits 0

tell

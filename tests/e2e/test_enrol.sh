#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
#
# Hosts that prove themselves: real managers, agents, and TPMs that their maker
# has certified. One that is good, one that is in no inventory, one that boots,
# one whose TPM is another one, and what time and revocation take away.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
LAB_ATTEST=1
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin enrol
lab_site north
# A life of six seconds: renewed each three, and gone after as many more.
echo "host_cert_seconds = 6" >>"$LAB/north/manager.conf"
lab_manager_start north || lab_die "manager does not start"
lab_host north a
HOSTS=a

field() { # HOST KEY
	lab_cli north --json host show "$1" | lab_json "$2"
}

stands() { # HOST WORD
	[ "$(field "$1" enrolled)" = "$2" ]
}

other_than() { # HOST KEY OLD
	[ "$(field "$1" "$2")" != "$3" ]
}

fingerprint() { # HOST: of its EK's public key
	openssl x509 -inform der -in "$LAB/maker/$1/ek-rsa2048.crt" -noout \
		-pubkey | openssl pkey -pubin -outform der | sha256sum |
		cut -d ' ' -f 1
}

# power_cycle HOST [STATE]: its chip, perhaps with another's inside; its agent
# goes on.
power_cycle() {
	lab_kill "chip-$1-host" KILL
	[ -z "${2:-}" ] || {
		rm -rf "$LAB/$1/chiphost"
		cp -r "$LAB/maker/$2" "$LAB/$1/chiphost"
	}
	rm -f "$LAB/$1/chiphost.sock" "$LAB/$1/chiphost.sock.ctrl"
	lab_chip "$1" host ,startup-clear
}

it a host is enrolled when it connects, by the TPM that the operator named
lives 20 "enrolment of a" stands a enrolled
same "its EK" "$(fingerprint a)" "$(field a ek)"
same "its class" lab "$(field a class)"
run host show a
out "pinned, genuine"
run host list
out enrolled

it openssl reads what its certificate says
lab_cli north --json host show a >"$LAB/a.json"
python3 - "$LAB" <<-'PY' || no "no certificates in host show"
import json, sys
a = json.load(open(sys.argv[1] + "/a.json"))
open(sys.argv[1] + "/a.pem", "w").write(a["certificate"])
open(sys.argv[1] + "/ak.pem", "w").write(a["ak_certificate"])
PY
openssl verify -CAfile "$LAB/north/state/ca.pem" "$LAB/a.pem" >"$LAB/out" \
	2>"$LAB/err" || no "its certificate does not verify"
openssl x509 -in "$LAB/a.pem" -noout -text >"$LAB/out"
out URI:spiffe://north/host/a
out 2.25.20846238016603469010150456982820421833.1
openssl verify -CAfile "$LAB/north/state/ca.pem" "$LAB/ak.pem" >"$LAB/out" \
	2>"$LAB/err" || no "the certificate of its AK does not verify"
openssl x509 -in "$LAB/ak.pem" -noout -text >"$LAB/out"
out URI:spiffe://north/ak/a
out 2.23.133.8.3

it it is renewed at half its life by a quote
was=$(field a serial)
keys=$(field a hk)
lives 10 "renewal" other_than a serial "$was"
same "its TLS key" "$keys" "$(field a hk)"
same "how it stands" enrolled "$(field a enrolled)"

it an agent that is killed has the same key and is enrolled as before
was=$(field a hk)
lab_kill agent-a KILL
lab_agent_start a
lives 20 "its return" lab_up north a
lives 20 "enrolment of a" stands a enrolled
same "its TLS key" "$was" "$(field a hk)"

it a host that has booted proves itself anew, with another TLS key
was=$(field a reset_count)
keys=$(field a hk)
power_cycle a
lives 20 "another boot" other_than a reset_count "$was"
lives 20 "enrolment of a" stands a enrolled
[ "$(field a hk)" != "$keys" ] || no "it has the same TLS key"

it a host that is gone for too long is expired, and enrolled when it is back
kill -STOP "$(cat "$LAB/agent-a.pid")"
lives 20 "its end" stands a expired
kill -CONT "$(cat "$LAB/agent-a.pid")"
lives 40 "enrolment of a" stands a enrolled

it a genuine TPM that is in no inventory is refused, and named
LAB_STRANGER=1
lab_host north b
LAB_STRANGER=
HOSTS="a b"
run host enroll b --wait
exits 1
err "the inventory has no EK for it; it shows sha256:$(fingerprint b)"
err "of a maker that we believe"
same "how it stands" "not enrolled" "$(field b enrolled)"

it it is enrolled once the operator has named it
run host set b --ek-cert "$LAB/maker/b/ek-rsa2048.crt" --class lab
exits 0
lives 20 "enrolment of b" stands b enrolled

it another TPM in the same machine is refused
lab_make_chip other
power_cycle b other
run host enroll b --wait
exits 1
err "another EK than the inventory has"
lives 15 "its end" stands b expired

it the TPM of another host is refused, whatever the inventory says
power_cycle b a
lab_kill agent-b; rm -rf "$LAB/b/state"
lab_agent_start b
lives 20 "its return" lab_up north b
run host set b --ek "sha256:$(fingerprint a)"
exits 0
run host enroll b --wait
exits 1
err "spiffe://north/host/a"

it the record says which keys were whose
run audit
out "host enrolled"
out "key born"
out "host refused"

it a host that is revoked is believed by nobody, and asked nothing
run host revoke a
exits 0
lives 10 "it is cut off" sh -c "! '$BUILD/lanyard' --manager \
	'$LAB/north/manager.sock' --json host show a | grep -q '\"connected\": *true'"
run host enroll a
exits 1
err "a is revoked"

tell

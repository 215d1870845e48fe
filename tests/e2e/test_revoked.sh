#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
#
# Hosts that may not go on: one whose certificate is taken back while its VM
# uses a TPM elsewhere, and one whose certificate ends while it is connected.
# Each loses what it had within one lease, and nobody else notices.
set -u
cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
. tests/lab/lab.sh
. tests/lab/guest.sh
. tests/e2e/lib/story.sh

lab_begin revoked
guest_build
lab_site north
lab_site south
lab_peers north south
lab_host north n1 2
lab_host south s1
lab_host south s2
HOSTS="n1 s1 s2"
EK=$(chip_ek n1)
guest_add north web1 n1 --tpm chip0 >/dev/null || lab_die "vm add web1"
guest_add north web2 n1 --tpm chip1 >/dev/null || lab_die "vm add web2"
guest_start north web1 s1 >/dev/null || lab_die "web1 does not start"
guest_start north web2 s2 >/dev/null || lab_die "web2 does not start"

host_up() {
	lab_cli south --json host show "$1" | grep -q '"connected": *true'
}

host_down() {
	! host_up "$1"
}

# The console gets no new record for three seconds: its TPM does not answer.
silent() { # HOST VM
	silent_was=$(ticks "$1" "$2")
	sleep 3
	[ "$(ticks "$1" "$2")" = "$silent_was" ]
}

# short_cert HOST SECONDS: from the site's own CA, in the place of its own.
short_cert() {
	mkdir -p "$LAB/ca"
	: >"$LAB/ca/index.txt"
	cat >"$LAB/ca/conf" <<-CONF
	[ca]
	default_ca = it
	[it]
	database = $LAB/ca/index.txt
	new_certs_dir = $LAB/ca
	rand_serial = yes
	default_md = sha256
	policy = any
	x509_extensions = leaf
	unique_subject = no
	[any]
	commonName = supplied
	[leaf]
	basicConstraints = critical,CA:FALSE
	keyUsage = critical,digitalSignature
	extendedKeyUsage = serverAuth,clientAuth
	subjectKeyIdentifier = hash
	authorityKeyIdentifier = keyid:always
	subjectAltName = URI:spiffe://south/host/$1
	CONF
	openssl req -new -key "$LAB/$1/host.key" -subj "/CN=$1" \
		-out "$LAB/ca/csr" &&
		openssl ca -batch -notext -config "$LAB/ca/conf" \
			-cert "$LAB/south/state/ca.pem" \
			-keyfile "$LAB/south/state/ca.key" \
			-startdate "$(date -u -d '-1 minute' +%Y%m%d%H%M%SZ)" \
			-enddate "$(date -u -d "+$2 seconds" +%Y%m%d%H%M%SZ)" \
			-in "$LAB/ca/csr" -out "$LAB/$1/host.pem" \
			>"$LAB/ca/log" 2>&1 || { cat "$LAB/ca/log" >&2; return 1; }
}

# A certificate of the manager's, for the key it has.
new_cert() { # HOST
	rm -rf "$LAB/$1/new"
	openssl req -new -key "$LAB/$1/host.key" -subj "/CN=$1" \
		-out "$LAB/$1/csr" &&
		lab_cli south host add "$1" --address \
			"$(sed -n 's/^address = //p' "$LAB/$1/agent.conf")" \
			--csr "$LAB/$1/csr" --out "$LAB/$1/new" >/dev/null &&
		cp "$LAB/$1/new/host.pem" "$LAB/$1/host.pem"
}

reload() { # HOST
	kill -HUP "$(cat "$LAB/agent-$1.pid")"
}

# By the manager of the host it is on; its home is not asked.
vm_why() { # VM TEXT
	lab_cli north --json --timeout 15 vm show "$1" 2>/dev/null |
		jq -r .why | grep -q "$2"
}

logged() { # NAME TEXT
	grep -q "$2" "$LAB/$1.log"
}

it "a revoked host loses the TPM its VM uses, within one lease"
guest_runs s1 web1 || no "the guest does not run to begin with"
SITE=south
run --json host revoke s1 --reason key-compromise
exits 0
same certificates 1 "$(key_of .certificates)"
SITE=north
lives 10 "end of its service" silent s1 web1
lives 5 "word of it by the home" logged agent-n1 \
	"certificate of spiffe://south/host/s1 was revoked: no TPM here for web1"
run --json status
out "was revoked"

it "and the VM of another host goes on"
guest_runs s2 web2 || no "web2 does not run"
same "its holder" spiffe://south/host/s2 "$(vm_says web2 .record.holder)"

it "its own manager and all homes refuse it from then on"
lives 10 "end of its agent's connection" host_down s1
sleep 3
host_down s1 || no "it is connected again"
SITE=south
run host show s1
out revoked
SITE=north

it "its VM starts elsewhere by force, once its lease has surely ended"
run vm start web1 --host s2
exits 1
run vm start web1 --host s2 --force
exits 0
lives 120 "web1 on s2" guest_says s2 web1 ready
same "its holder" spiffe://south/host/s2 "$(vm_says web1 .record.holder)"
matches s2 web1 n1

it "with a new certificate it is believed again, and its old copy is not"
short_cert s1 40 || no "no certificate"
reload s1
lives 15 "agent of s1" host_up s1
lives 20 "end of its old copy" logged agent-s1 "another host holds this VM"
same "its holder" spiffe://south/host/s2 "$(vm_says web1 .record.holder)"

it "a certificate that ends while connected ends the connection at both ends"
lives 70 "end of its agent's connection" host_down s1
lives 5 "word of it at the manager" logged manager-south "certificate has expired"
lives 5 "word of it at the agent" logged agent-s1 "certificate \(has \)\?expired"
host_down s1 || no "it is connected again"
guest_runs s2 web2 || no "web2 does not run"

it "and another one brings it back"
new_cert s1 || no "no certificate"
reload s1
lives 20 "agent of s1" host_up s1
guest_runs s2 web1 || no "web1 does not run"

it "a home that stands still for too long is told of where the VM is shown"
kill -STOP "$(cat "$LAB/agent-n1.pid")"
lives 60 "word of it" vm_why web2 "failure mode until the VM resets"
kill -CONT "$(cat "$LAB/agent-n1.pid")"
sleep 5
vm_why web2 "failure mode until the VM resets" || no "and then not any more"

tell

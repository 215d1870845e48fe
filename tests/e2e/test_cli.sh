#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
#
# lanyard(1) as a shell sees it: exit status, stdout, stderr; against nobody,
# and against a manager that says what it is told to (fake_manager.c).
set -u

cd "$(dirname "$0")/../.." || exit 2
: "${BUILD:=$PWD/build}"
L=$BUILD/lanyard
tmp=$(mktemp -d "${TMPDIR:-/tmp}/lycli.XXXXXX") || exit 2
fake=
finish() {
	[ -z "$fake" ] || kill "$fake" 2>/dev/null
	rm -rf "$tmp"
}
trap finish EXIT
trap 'exit 130' HUP INT TERM
unset LANYARD_MANAGER
export LC_ALL=C TZ=UTC

# --- telling -----------------------------------------------------------------

# it NAME: begins a test; the checks below count for it
it() {
	done_with
	name=$*
	wrong=
}

done_with() {
	[ -n "${name:-}" ] || return 0
	if [ -n "$wrong" ]; then
		echo "not ok $name: $wrong"
		sed 's/^/# stdout: /' "$tmp/out"
		sed 's/^/# stderr: /' "$tmp/err"
	else
		echo "ok $name"
	fi
	name=
}

no() { [ -n "$wrong" ] || wrong=$*; }
skip() {
	echo "skip $name: $*"
	name=
}

# run WORD...: lanyard, bounded
run() {
	timeout -k 5 20 "$L" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
}
exits() { [ "$status" = "$1" ] || no "exit status $status, not $1"; }
out() { grep -qF -e "$1" "$tmp/out" || no "stdout lacks: $1"; }
err() { grep -qF -e "$1" "$tmp/err" || no "stderr lacks: $1"; }
not_err() { ! grep -qF -e "$1" "$tmp/err" || no "stderr has: $1"; }
no_out() { [ ! -s "$tmp/out" ] || no "stdout is not empty"; }
no_err() { [ ! -s "$tmp/err" ] || no "stderr is not empty"; }
# asked LINE: the last request, whole
asked() {
	[ "$(tail -n 1 "$tmp/log" 2>/dev/null)" = "$1" ] ||
	    no "asked $(tail -n 1 "$tmp/log" 2>/dev/null), not $1"
}
# says VERB: the answer to it from now on is stdin
says() { cat >"$tmp/say/$1"; }

# --- wrong usage -------------------------------------------------------------

it "help goes to stdout and ends with 0"
run --help
exits 0
out "usage: lanyard VERB"
out "migrate cancel"
no_err

it "no verb at all is wrong usage and shows the help"
run
exits 2
err "usage: lanyard VERB"
no_out

it "the version is one line"
run --version
exits 0
[ "$(wc -l <"$tmp/out")" = 1 ] || no "not one line"
out "lanyard "

it "every verb has help of its own"
"$L" help --table | awk -F '\t' 'NF == 1' >"$tmp/verbs"
[ "$(wc -l <"$tmp/verbs")" -ge 17 ] || no "too few verbs"
while read -r verb; do
	# shellcheck disable=SC2086
	run $verb --help
	exits 0
	out "usage: lanyard $verb"
	no_err
done <"$tmp/verbs"

it "no line of any help is wider than 80 columns"
"$L" --help | awk 'length > 80' >"$tmp/out"
while read -r verb; do
	# shellcheck disable=SC2086
	"$L" $verb --help | awk 'length > 80' >>"$tmp/out"
done <"$tmp/verbs"
no_out

it "the manual knows every verb and every option"
run help --table
exits 0
cp "$tmp/out" "$tmp/table"
awk -F '\t' '
FILENAME == ARGV[1] { # the manual: a section for each verb
	if (/^\.Ss Options of every verb/)
		verb = "*"
	if (/^\.It Ic /) {
		verb = ""
		for (i = 3; i <= split($0, w, " "); i++) {
			if (w[i] ~ /^(Ar|Fl|Op|Oo)$/)
				break
			verb = verb (verb == "" ? "" : " ") w[i]
		}
		has[verb] = 1
	}
	if (/^\.It Fl /) {
		split($0, w, " ")
		has[verb " -" w[3]] = 1
	}
	next
}
NF == 1 && !($1 in has) { print "no verb: " $1 }
$2 ~ /^--/ && !($1 " " $2 in has) { print "no option: " $1 " " $2 }
' man/lanyard.1 "$tmp/table" >"$tmp/out" 2>"$tmp/err" || no "awk: exit status $?"
no_out

it "the manual is well formed"
if command -v mandoc >/dev/null; then
	mandoc -Tlint -Wwarning man/lanyard.1 >"$tmp/out" 2>"$tmp/err"
	no_out
elif command -v groff >/dev/null; then
	groff -mdoc -Tascii -ww -z man/lanyard.1 >"$tmp/out" 2>"$tmp/err"
	no_err
else
	skip "neither mandoc nor groff is installed"
fi

it "an unknown verb yields the nearest"
run vm lst
exits 2
err "did you mean: lanyard vm list"
run migrat web1 --to s2
exits 2
err "did you mean: lanyard migrate"
run stauts
exits 2
err "did you mean: lanyard status"
run xyzzy
exits 2
err "lanyard --help"

it "half a verb lists those it could be"
run vm
exits 2
err "vm start"

it "an unknown option yields the nearest, and nothing is asked"
run migrate web1 --too s2
exits 2
err "did you mean --to?"
no_out

it "a missing operand, a missing option and a bad value are wrong usage"
run migrate --to s2
exits 2
err "VM is missing"
run migrate web1
exits 2
err "--to HOST is missing"
run migrate web1 --to s2 --bandwidth fast
exits 2
err "not a rate"
run migrate web1 --to s2 --downtime 0
exits 2
run vm add web1 --home n1 --memory 4
exits 2
run vm add web1 --home n1
exits 2
err "--memory"
run vm add Web1 --home n1 --memory 64
exits 2
run status --timeout 0
exits 2

# --- nobody there ------------------------------------------------------------

it "a manager that is not there is named with what to check"
run --manager "$tmp/none.sock" status
exits 1
err "$tmp/none.sock"
err "lanyard-manager"
err "LANYARD_MANAGER"
no_out

it "a socket that nobody listens to is told from one that is missing"
cc=${CC:-cc}
if $cc -std=gnu11 -o "$tmp/fake" tests/e2e/fake_manager.c 2>"$tmp/err"; then
	mkdir "$tmp/say"
	"$tmp/fake" "$tmp/dead.sock" "$tmp/say" "$tmp/log" &
	fake=$!
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		[ -S "$tmp/dead.sock" ] && break
		sleep 0.2
	done
	kill "$fake"
	wait "$fake" 2>/dev/null
	fake=
	run status --manager "$tmp/dead.sock"
	exits 1
	err "nobody listens"
else
	no "$cc cannot compile fake_manager.c"
fi

it "a file that is no socket is no manager"
: >"$tmp/file"
LANYARD_MANAGER=$tmp/file run status
exits 1
err "$tmp/file"

it "with --json a failure is an object as well"
run status --json --manager "$tmp/none.sock"
exits 1
out '{"ok":false,"rc":"outside","why":"'
err "there is no such socket"

it "a path too long for a socket is said to be so"
run status --manager "/$(printf '%0200d' 0)"
exits 1
err "longer than"

# --- site init ---------------------------------------------------------------

it "site init makes a CA and a manager that a verifier believes"
run site init --site north --state "$tmp/site"
exits 0
out "spiffe://north/manager/m1"
out "lanyard host add"
out "state = $tmp/site"
openssl verify -x509_strict -CAfile "$tmp/site/trust/north.pem" \
    "$tmp/site/manager.pem" >/dev/null 2>"$tmp/err" || no "openssl verify"
[ "$(stat -c %a "$tmp/site/ca.key")" = 600 ] || no "mode of ca.key"
[ "$(stat -c %a "$tmp/site/manager.key")" = 600 ] || no "mode of manager.key"

it "site init never overwrites"
before=$(cat "$tmp"/site/*.* "$tmp"/site/trust/* | cksum)
run site init --site north --state "$tmp/site"
exits 1
err "ca.key"
[ "$before" = "$(cat "$tmp"/site/*.* "$tmp"/site/trust/* | cksum)" ] ||
    no "something has changed"
mkdir "$tmp/site2"
: >"$tmp/site2/manager.pem"
run site init --site north --state "$tmp/site2"
exits 1
[ ! -e "$tmp/site2/ca.key" ] || no "a key was left behind"

it "site init in JSON says where everything is"
run site init --site south --state "$tmp/south" --name m7 --days 30 --json
exits 0
out '"ok":true'
out "\"ca_cert\":\"$tmp/south/ca.pem\""
out '"manager":"m7"'

# --- with a manager ----------------------------------------------------------

S=$tmp/m.sock
"$tmp/fake" "$S" "$tmp/say" "$tmp/log" &
fake=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do
	[ -S "$S" ] && break
	sleep 0.2
done
export LANYARD_MANAGER="$S"

it "what is asked is one JSON object of checked values"
says vm.add <<'END'
{"ok":true,"vm":"web1","id":"0b0e7a4e-0000-4000-8000-000000000001"}
END
run vm add web1 --home n1 --tpm tpm0 --memory 512 --cpus 2 --kernel /boot/k \
    --disk /d/1.img --disk /d/2.img --bridge br0 --accel tcg
exits 0
out "web1"
asked '{"do":"vm.add","name":"web1","home":"n1","tpm":"tpm0","definition":{"kernel":"/boot/k","accel":"tcg","memory_mb":512,"cpus":2,"disks":[{"path":"/d/1.img"},{"path":"/d/2.img"}],"nics":[{"bridge":"br0"}]}}'

it "a definition in a file is the beginning and options change it"
cat >"$tmp/def.json" <<'END'
{"memory_mb": 256, "machine": "pc", "disks": [{"path": "/a", "format": "qcow2"}]}
END
run vm add web2 --home north/n1 --definition "$tmp/def.json" --memory 512 \
    --disk /b
exits 0
asked '{"do":"vm.add","name":"web2","home":"north/n1","definition":{"memory_mb":512,"machine":"pc","disks":[{"path":"/a","format":"qcow2"},{"path":"/b"}]}}'
echo '[1]' >"$tmp/def.json"
run vm add web2 --home n1 --definition "$tmp/def.json"
exits 1
err "not a JSON object"
echo '{"memory_mb": 256,' >"$tmp/def.json"
run vm add web2 --home n1 --definition "$tmp/def.json"
exits 1
err "def.json:"

it "a list is an aligned table"
says vm.list <<'END'
{"ok":true,"vms":[{"vm":"web1","at":"south/s2","home":"north/n1","epoch":4,"state":"running"},{"vm":"database","at":null,"home":"north/n1","epoch":12,"state":"off"}]}
END
run vm list
exits 0
cat >"$tmp/want" <<'END'
VM        AT        HOME      EPOCH  STATE
web1      south/s2  north/n1      4  running
database  -         north/n1     12  off
END
cmp -s "$tmp/want" "$tmp/out" || no "not the table that was expected"

it "with --json the answer is passed on as one line"
run vm list --json
exits 0
[ "$(wc -l <"$tmp/out")" = 1 ] || no "not one line"
out '{"ok":true,"vms":[{"vm":"web1"'
no_err

it "an empty list says so on stderr only"
says host.list <<'END'
{"ok":true,"hosts":[]}
END
run host list
exits 0
no_out
err "there are none"

it "what a peer wrote cannot steer the terminal"
says vm.list <<'END'
{"ok":true,"vms":[{"vm":"a\u001b[2Jb","state":"\u009b5n"}]}
END
run vm list
exits 0
out "a?[2Jb"
grep -q "$(printf '\033')" "$tmp/out" && no "an escape came through"
says vm.show <<'END'
{"ok":false,"rc":"unknown","why":"no VM \u001b]0;x\u0007"}
END
run vm show web9
grep -q "$(printf '\033')" "$tmp/err" && no "an escape came through"

it "one VM is shown with its definition and what is new"
says vm.show <<'END'
{"ok":true,"vm":"web1","at":"north/n1","definition":{"memory_mb":2048,"serial":true},"record":{"epoch":4,"state":"held"},"future":7}
END
run vm show web1
exits 0
cat >"$tmp/want" <<'END'
vm                 web1
at                 north/n1
memory             2 GiB
definition.serial  yes
record.epoch       4
record.state       held
future             7
END
cmp -s "$tmp/want" "$tmp/out" || no "not the pairs that were expected"
asked '{"do":"vm.show","vm":"web1"}'

it "a refusal ends with 1 and the manager's reason"
says vm.start <<'END'
{"ok":false,"rc":"refused","why":"web1 runs at south/s2"}
END
run vm start web1 --host n1 --force
exits 1
err "lanyard: vm start: web1 runs at south/s2 (refused)"
asked '{"do":"vm.start","vm":"web1","host":"n1","force":true}'
run vm start web1 --json
exits 1
out '"rc":"refused"'

it "warnings are shown and change nothing"
says vm.stop <<'END'
{"ok":true,"warnings":["the guest did not answer; its plug was pulled"]}
END
run vm stop web1
exits 0
err "warning: the guest did not answer"
out "web1 is off"

it "the other verbs ask what they should"
for v in vm.remove host.remove migrate.cancel host.show migrate.show site.show
do
	echo '{"ok":true}' | says "$v"
done
run vm remove web1
asked '{"do":"vm.remove","vm":"web1"}'
run host remove north/n1
asked '{"do":"host.remove","host":"north/n1"}'
run migrate cancel web1
asked '{"do":"migrate.cancel","vm":"web1"}'
run migrate show 0b0e7a4e-0000-4000-8000-000000000001
asked '{"do":"migrate.show","migration":"0b0e7a4e-0000-4000-8000-000000000001"}'
run host show n1
asked '{"do":"host.show","host":"n1"}'
run site show
exits 0
asked '{"do":"site.show"}'

it "a host is shown with the VMs it has to do with"
says host.show <<'END'
{"ok":true,"site":"north","host":"n1","address":"10.0.0.1:7010","connected":true,"tpms":["tpm0"],"vms":[{"vm":"web1","at":"south/s2","home":"north/n1","epoch":4,"state":"running"}],"guests":[]}
END
run host show n1
exits 0
cat >"$tmp/want" <<'END'
host     n1
site     north
address  10.0.0.1:7010
agent    up
tpms     tpm0

VM    AT        HOME      EPOCH  STATE
web1  south/s2  north/n1      4  running
END
cmp -s "$tmp/want" "$tmp/out" || no "not what was expected"

it "a site is shown without its certificate, which is in the JSON"
says site.show <<'END'
{"ok":true,"site":"north","manager":"spiffe://north/manager/m1","listen":"10.0.0.1:7000","ca":"-----BEGIN\n","peers":[{"site":"south","address":"","connected":false,"why":"it does not answer"}]}
END
run site show
exits 0
out "it does not answer"
out "10.0.0.1:7000"
! grep -q BEGIN "$tmp/out" || no "the certificate is shown"

# --- site trust, host add ----------------------------------------------------

it "site trust sends the certificate and never a key"
echo '{"ok":true}' | says site.trust
run site trust south --ca "$tmp/south/ca.pem" --address m.south.example:7000
exits 0
tail -n 1 "$tmp/log" | grep -q '"ca_pem":"-----BEGIN CERT' || no "no PEM sent"
tail -n 1 "$tmp/log" | grep -q '"address":"m.south.example:7000"' ||
    no "no address sent"
before=$(wc -l <"$tmp/log")
run site trust south --ca "$tmp/south/ca.key"
exits 1
err "private key"
[ "$before" = "$(wc -l <"$tmp/log")" ] || no "something was sent"
run site trust south --ca "$tmp/nothing.pem"
exits 1

it "host add leaves a key, a certificate, trust, and lines for the agent"
echo '{"ok":true,"site":"north"}' | says site.show
says host.add <<'END'
{"ok":true,"site":"north","manager":"m.north.example:7000","cert":"CERT\n","trust":{"north":"CA\n","south":"CB\n"}}
END
run host add n1 --address 10.0.0.1:7010 --out "$tmp/n1"
exits 0
out "cert = $tmp/n1/host.pem"
out "key = $tmp/n1/host.key"
out "address = 10.0.0.1:7010"
out "listen = 0.0.0.0:7010"
out "manager = m.north.example:7000"
[ "$(cat "$tmp/n1/host.pem")" = CERT ] || no "host.pem"
[ "$(cat "$tmp/n1/trust/south.pem")" = CB ] || no "trust/south.pem"
[ "$(stat -c %a "$tmp/n1/host.key")" = 600 ] || no "mode of host.key"
[ ! -e "$tmp/n1/host.csr" ] || no "host.csr is left"
tail -n 1 "$tmp/log" | grep -q 'BEGIN CERTIFICATE REQUEST' || no "no request"

it "host add never overwrites"
run host add n1 --address 10.0.0.1:7010 --out "$tmp/n1"
exits 1
err "host.pem is there already"

it "a refused host leaves no key behind"
echo '{"ok":false,"rc":"refused","why":"n2 is known"}' | says host.add
run host add n2 --address 10.0.0.2:7010 --out "$tmp/n2"
exits 1
err "n2 is known"
[ ! -e "$tmp/n2/host.key" ] || no "a key is left"

it "a lost answer leaves the key, and the request to ask again with"
echo '@close' | says host.add
run host add n3 --address 10.0.0.3:7010 --out "$tmp/n3"
exits 3
err "--csr $tmp/n3/host.csr"
[ -s "$tmp/n3/host.key" ] || no "the key is gone"
echo '{"ok":true,"cert":"CERT","trust":{"north":"CA"}}' | says host.add
run host add n3 --address 10.0.0.3:7010 --out "$tmp/n3" \
    --csr "$tmp/n3/host.csr"
exits 0
[ "$(cat "$tmp/n3/host.pem")" = CERT ] || no "host.pem"

it "a trust entry cannot name a file elsewhere"
echo '{"ok":true,"cert":"CERT","trust":{"../../evil":"CA"}}' | says host.add
run host add n4 --address 10.0.0.4:7010 --out "$tmp/a/b/n4"
exits 1
[ ! -e "$tmp/a/evil.pem" ] && [ ! -e "$tmp/a/b/evil.pem" ] || no "it did"

# --- migrate -----------------------------------------------------------------

it "migrate asks, and says how to watch"
says migrate <<'END'
{"ok":true,"migration":"m-7","vm":"web1"}
END
run migrate web1 --to south/s2 --bandwidth 100M --downtime 50
exits 0
asked '{"do":"migrate","vm":"web1","to":"south/s2","wait":false,"dry_run":false,"bandwidth":104857600,"downtime_ms":50}'
out "lanyard migrate show m-7"
out "lanyard migrate cancel web1"

it "a migration that is waited for shows lines and one sentence"
says migrate <<'END'
{"event":"step","step":"preparing","state":"begun"}
{"event":"progress","phase":"copy","bytes":536870912,"total":1073741824,"remaining":536870912,"rate":327155712,"dirty_rate":12582912,"percent":50,"eta_ms":1640,"elapsed_ms":1700}
{"event":"something new"}
{"event":"progress","phase":"switch","bytes":190840832,"total":1073741824,"remaining":0,"rate":0,"dirty_rate":0,"percent":100,"eta_ms":-1,"elapsed_ms":2700}
{"ok":true,"vm":"web1","from":"north/n1","to":"south/s2","home":"north/n1","bytes":190840832,"total_ms":1234,"downtime_ms":21}
END
run migrate web1 --to south/s2 --wait
exits 0
cat >"$tmp/want" <<'END'
web1 runs at south/s2; its TPM stayed at north/n1: 182 MiB in 1.2 s, stopped 21 ms
END
cmp -s "$tmp/want" "$tmp/out" || no "not the sentence that was expected"
cat >"$tmp/want" <<'END'
preparing: begun
copy: 50 %, 512 MiB of 1 GiB, 312 MiB/s, rest 1.6 s, dirty 12 MiB/s, 1.7 s so far
switch: 100 %, 182 MiB of 1 GiB, 2.7 s so far
END
cmp -s "$tmp/want" "$tmp/err" || no "not the lines that were expected"

it "with --quiet nothing is said but the exit status"
run migrate web1 --to south/s2 --wait --quiet
exits 0
no_out
no_err

it "with --json events and answer are an object a line"
run migrate web1 --to south/s2 --wait --json
exits 0
no_err
[ "$(wc -l <"$tmp/out")" = 5 ] || no "not five lines"
[ "$(grep -c '^{.*}$' "$tmp/out")" = 5 ] || no "not five objects"
tail -n 1 "$tmp/out" | grep -q '"ok":true' || no "the answer is not the last"

it "on a terminal there is a bar that is gone at the end"
if command -v script >/dev/null; then
	timeout -k 5 20 script -qec \
	    "stty cols 100 && $L migrate web1 --to south/s2 --wait" /dev/null \
	    >"$tmp/out" 2>"$tmp/err" </dev/null
	status=$?
	exits 0
	out "50 %  [====="
	tail -n 1 "$tmp/out" | tr '\r' '\n' | tail -n 2 |
	    grep -q 'web1 runs at south/s2' || no "no sentence behind the bar"
else
	skip "script(1) is not installed"
fi

it "a migration whose outcome is open ends with 3"
says migrate <<'END'
{"event":"step","step":"in doubt","state":"begun"}
{"ok":false,"rc":"open","why":"north/n1 does not answer"}
END
run migrate web1 --to s2 --wait
exits 3
err "north/n1 does not answer"
err "lanyard migrate cancel web1"

it "a manager that is lost during a migration leaves it open"
says migrate <<'END'
{"event":"step","step":"copying","state":"begun","migration":"m-9"}
@close
END
run migrate web1 --to s2 --wait
exits 3
err "closed the connection"
err "lanyard migrate show m-9"
run migrate web1 --to s2 --wait --json
exits 3
out '"rc":"open"'

it "a dry run that is lost has changed nothing"
echo '@close' | says migrate
run migrate web1 --to s2 --dry-run
exits 1
not_err "may or may not"

it "Ctrl-C ends the watching and says that the migration goes on"
says migrate <<'END'
{"event":"progress","phase":"copy","migration":"m-9","bytes":1,"total":2,"percent":50}
@int
@hang
END
run migrate web1 --to s2 --wait
exits 3
err "interrupted"
err "goes on"
err "lanyard migrate show m-9"
err "lanyard migrate cancel web1"

it "a refused migration ends with 1"
echo '{"ok":false,"rc":"refused","why":"web1 is off"}' | says migrate
run migrate web1 --to s2 --wait
exits 1
err "web1 is off (refused)"
not_err "goes on"

it "a dry run shows the plan"
says migrate <<'END'
{"ok":true,"from":"north/n1","to":"south/s2","steps":[{"step":"authorise","whom":"home","undo":"nothing to undo","what":"the home shows its record"}]}
END
run migrate web1 --to south/s2 --dry-run
exits 0
out "nothing has been done"
out "authorise"

it "a dry run of what would be refused ends with 1 and the reason"
says migrate <<'END'
{"ok":true,"allowed":false,"why":"web1 is off","steps":[{"step":"authorise","whom":"home","would":"web1 is off"}]}
END
run migrate web1 --to south/s2 --dry-run
exits 1
err "web1 is off"
out "would not migrate"
run migrate web1 --to south/s2 --dry-run --json
exits 1
out '"allowed":false'

it "a migration is shown with its result"
says migrate.show <<'END'
{"ok":true,"migration":"m-9","vm":"web1","from":"north/n1","to":"south/s2","home":"north/n1","state":"cleaned","fate":"claimed","epoch":4,"started_ms":1000000000000,"result":{"memory_bytes":190840832,"total_ms":1234,"downtime_ms":21,"new":1}}
END
run migrate show m-9
exits 2
err "not the id of a migration"
run migrate show 0b0e7a4e-0000-4000-8000-000000000001
exits 0
out "182 MiB"
out "21 ms"
out "2001-09-09 01:46:40"
out "result.new"

# --- answers that are none ---------------------------------------------------

it "an answer that is not ours is an error, not a crash"
for bad in 'hello' '[]' '{}' '{"ok":1}' '{"ok":true' '' '"x"' 'null'; do
	printf '%s\n' "$bad" | says vm.list
	run vm list
	exits 1
	err "no answer of ours"
done
echo '{"ok":true}' | says vm.list
run vm list
exits 1
err "no list of vms"
echo '{"ok":true,"vms":[1,"x",null,{}]}' | says vm.list
run vm list
exits 0

it "a line without end is given up"
printf '@bytes 70000\n@close\n' | says vm.list
run vm list
exits 1
err "closed the connection"

it "an answer that does not come is given up in time"
echo '@hang' | says status
run status --timeout 1
exits 1
err "in time"
echo '@hang' | says vm.remove
run vm remove web1 --timeout 1
exits 3
err "may or may not be done"

# --- status ------------------------------------------------------------------

it "status is a page: site, hosts, VMs, migrations, alarms"
says status <<'END'
{"ok":true,"site":"north","manager":"m1","store":"sqlite","peers":[{"site":"south","address":"10.1.0.1:7000","up":true}],"hosts":[{"host":"n1","site":"north","address":"10.0.0.1:7010","up":true,"tpms":["tpm0","tpm1"]}],"vms":[{"vm":"web1","at":"north/n1","home":"north/n1","epoch":3,"state":"running"}],"migrations":[{"migration":"m-9","vm":"web1","from":"north/n1","to":"south/s2","state":"copying","percent":50,"rate":327155712,"eta_ms":1640}],"alarms":[{"at":1000000000,"host":"south/s2","vm":"web1","text":"it has gone"}]}
END
run status
exits 0
out "site north, manager m1, store sqlite"
out "tpm0, tpm1"
out "312 MiB/s"
out "ALARM 2001-09-09 01:46:40 south/s2 web1: it has gone"

it "status on a site with nothing says what to do next"
echo '{"ok":true,"site":"north","peers":[],"hosts":[],"vms":[]}' | says status
run status
exits 0
out "lanyard host add"
out "lanyard vm add"

it "status --watch is asked again, and ends with the manager"
printf '{"ok":true,"site":"north","vms":[]}\n' | says status
timeout -k 5 4 "$L" status --watch --every 1 --json >"$tmp/out" 2>"$tmp/err" \
    </dev/null
[ "$(grep -c '"site":"north"' "$tmp/out")" -ge 2 ] || no "not asked twice"

it "the shell completes verbs, options, hosts and VMs"
if command -v bash >/dev/null; then
	echo '{"ok":true,"vms":[{"vm":"web1"},{"vm":"db"}]}' | says vm.list
	echo '{"ok":true,"hosts":[{"host":"s2"}]}' | says host.list
	cat >"$tmp/complete" <<'END'
. contrib/completion/lanyard.bash
try() {
	COMP_WORDS=("$@")
	COMP_CWORD=$(($# - 1))
	_lanyard
	echo "${COMPREPLY[*]}"
}
try "$L" sta
try "$L" vm st
try "$L" vm start --f
try "$L" vm start w
try "$L" migrate web1 --to ""
try "$L" migrate w
try "$L" migrate can
END
	cat >"$tmp/want" <<'END'
status
start stop
--force
web1
s2
web1
cancel
END
	L=$L timeout 20 bash "$tmp/complete" >"$tmp/out" 2>"$tmp/err"
	cmp -s "$tmp/want" "$tmp/out" || no "not what was expected"
else
	skip "bash is not installed"
fi

it "a full disk under stdout is a failure"
if [ -c /dev/full ]; then
	"$L" status >/dev/full 2>"$tmp/err"
	[ $? = 1 ] || no "not exit status 1"
else
	skip "there is no /dev/full"
fi

done_with

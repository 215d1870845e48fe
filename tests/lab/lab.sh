# SPDX-License-Identifier: Apache-2.0
#
# A whole lanyard on one machine, for the demo, the end-to-end tests and the
# bench: sites, managers, hosts, agents, and a software TPM in the place of
# each host's chip, reached through the TCTI layer as a chip would be.
#
#	. tests/lab/lab.sh
#	lab_begin NAME			scratch in $LAB, cleaned up at exit
#	lab_site north			CA, manager; its socket: $(lab_socket north)
#	lab_peers north south		they trust and dial one another
#	lab_host north a [CHIPS]	certificate, chips (1), agent
#	lab_cli north vm list		lanyard, talking to that site
#	lab_approve north a b		what these hosts booted is a good state
#
# Everything started is stopped by pid at exit. Ports are of the loopback.
# LAB_ATTEST=1 makes sites that believe hosts only by their TPM: a policy key
# apart from the manager ($LAB/SITE.policy.key), chips with a certificate of
# their maker, hosts in the inventory, and firmware that measures what it boots.
# LAB_KERNEL=NAME is what hosts added after it is set boot.
# LAB_STRANGER=1: hosts added after it is set are in no inventory.
# LAB_AGENT=LINES goes into [agent] of every host added after it is set.
# LAB_CHIP=socket: lets an agent reach its chips by itself, so that an answer
# outlives it (the default is a TCTI of tpm2-tss).
# LAB_RTT=MS puts a relay before every host and manager that others dial, and
# LAB_RELAY=OPTIONS one with these options (see wanrelay.c).

: "${BUILD:=build}"
case $BUILD in /*) ;; *) BUILD=$PWD/$BUILD ;; esac
LAB_TOP=$PWD
LAB_PIDS=
LAB_SITES=
LAB_RTT=${LAB_RTT:-0}

lab_say() {
	printf '%s\n' "$*" >&2
}

lab_die() {
	lab_say "lab: $*"
	exit 1
}

# lab_wait SECONDS WHAT COMMAND...: until it succeeds; WHAT is for the error.
lab_wait() {
	lab_left=$(($1 * 20)) lab_what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		lab_left=$((lab_left - 1))
		[ $lab_left -gt 0 ] || { lab_say "lab: no $lab_what in time"; return 1; }
		sleep 0.05
	done
}

lab_begin() {
	LAB=$(mktemp -d "${TMPDIR:-/tmp}/ly-$1.XXXXXX") || exit 1
	: >"$LAB/pids"
	trap lab_end EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP
}

lab_end() {
	lab_status=$?
	trap - EXIT INT TERM HUP
	# Agents leave their QEMUs running, so those are named by their own files.
	for lab_f in "$LAB"/*/run/*/qemu.pid; do
		[ -f "$lab_f" ] && read -r lab_pid _ <"$lab_f" &&
			kill "$lab_pid" 2>/dev/null
	done
	while read -r lab_pid _; do
		kill "$lab_pid" 2>/dev/null
	done <"$LAB/pids"
	lab_left=60
	while [ $lab_left -gt 0 ] && lab_alive; do
		lab_left=$((lab_left - 1))
		sleep 0.05
	done
	while read -r lab_pid _; do
		kill -9 "$lab_pid" 2>/dev/null
	done <"$LAB/pids"
	# With its agent gone, so may a keeper go.
	for lab_f in "$LAB"/*/run; do
		lab_pid=$(lab_keeper "$lab_f") && kill "$lab_pid" 2>/dev/null
	done
	if [ -n "${LAB_KEEP:-}" ]; then
		lab_say "lab: kept in $LAB"
	else
		rm -rf "$LAB"
	fi
	exit $lab_status
}

# lab_keeper RUN: the pid of the keeper of the agent with that run directory.
lab_keeper() {
	for lab_proc in /proc/[0-9]*; do
		[ "$(cat "$lab_proc/cmdline" 2>/dev/null | tr '\0' ' ')" = \
			"$BUILD/lanyard-keeper $1/keeper.sock " ] || continue
		echo "${lab_proc#/proc/}"
		return 0
	done
	return 1
}

lab_alive() {
	while read -r lab_pid _; do
		kill -0 "$lab_pid" 2>/dev/null && return 0
	done <"$LAB/pids"
	return 1
}

# lab_spawn NAME COMMAND...: in the background, its words in $LAB/NAME.log.
lab_spawn() {
	lab_name=$1
	shift
	"$@" >>"$LAB/$lab_name.log" 2>&1 </dev/null &
	LAB_PID=$!
	echo "$LAB_PID $lab_name" >>"$LAB/pids"
	echo "$LAB_PID" >"$LAB/$lab_name.pid"
}

# lab_kill NAME [SIGNAL]: and waits for its end.
lab_kill() {
	lab_pid=$(cat "$LAB/$1.pid")
	kill "-${2:-TERM}" "$lab_pid" 2>/dev/null
	wait "$lab_pid" 2>/dev/null
	grep -v "^$lab_pid " "$LAB/pids" >"$LAB/pids.new"
	mv "$LAB/pids.new" "$LAB/pids"
}

lab_listening() {
	lab_hex=$(printf ':%04X ' "$1")
	cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q "$lab_hex.*: *0A\|$lab_hex[0-9A-F:]* 0A"
}

# A port nobody listens on, different at each call: sets LAB_PORT.
lab_port() {
	if [ -f "$LAB/port" ]; then
		LAB_PORT=$(cat "$LAB/port")
	else
		LAB_PORT=$((20000 + ($$ * 37) % 12000))
	fi
	LAB_PORT=$((LAB_PORT + 1))
	while lab_listening "$LAB_PORT"; do
		LAB_PORT=$((LAB_PORT + 1))
	done
	echo "$LAB_PORT" >"$LAB/port"
}

# The address others dial for 127.0.0.1:$1: sets LAB_ADDRESS.
lab_address() {
	LAB_ADDRESS=127.0.0.1:$1
	[ "$LAB_RTT" != 0 ] || [ -n "${LAB_RELAY:-}" ] || return 0
	lab_inner=$1
	lab_port
	LAB_ADDRESS=127.0.0.1:$LAB_PORT
	# shellcheck disable=SC2086
	lab_spawn "relay-$lab_inner" "$BUILD/bench/wanrelay" -d "$((LAB_RTT / 2))" \
		${LAB_RELAY:-} -s "$LAB/relay-$lab_inner.ctl" \
		"tcp:127.0.0.1:$LAB_PORT=tcp:127.0.0.1:$lab_inner"
	lab_wait 5 "relay" lab_listening "$LAB_PORT"
}

lab_socket() {
	echo "$LAB/$1/manager.sock"
}

lab_cli() {
	lab_site_=$1
	shift
	"$BUILD/lanyard" --manager "$LAB/$lab_site_/manager.sock" "$@"
}

lab_manager_start() {
	lab_spawn "manager-$1" "$BUILD/lanyard-manager" -c "$LAB/$1/manager.conf"
	lab_wait 20 "manager of $1" lab_cli "$1" site show || {
		cat "$LAB/manager-$1.log" >&2
		return 1
	}
}

# lab_site NAME: initialised; started by lab_peers or lab_manager_start.
lab_site() {
	mkdir -p "$LAB/$1"
	"$BUILD/lanyard" site init --site "$1" --state "$LAB/$1/state" \
		>"$LAB/$1/init.txt" || lab_die "site init $1"
	lab_port
	echo "$LAB_PORT" >"$LAB/$1/port"
	lab_address "$LAB_PORT"
	echo "$LAB_ADDRESS" >"$LAB/$1/address"
	cat >"$LAB/$1/manager.conf" <<-CONF
	[manager]
	site = $1
	listen = 127.0.0.1:$(cat "$LAB/$1/port")
	state = $LAB/$1/state
	socket = $LAB/$1/manager.sock
	attest = $([ -n "${LAB_ATTEST:-}" ] && echo yes || echo no)
	CONF
	[ -z "${LAB_ATTEST:-}" ] || lab_site_attested "$1"
	LAB_SITES="$LAB_SITES $1"
}

# Its policy key is not in the manager's state: that has its public half alone.
lab_site_attested() {
	lab_maker
	"$BUILD/lanyard" policy init --key "$LAB/$1.policy.key" \
		--out "$LAB/$1/state/trust/$1.policy.pem" >"$LAB/$1/policy.txt" ||
		lab_die "policy init $1"
	echo "vendor_roots = $LAB/maker/roots" >>"$LAB/$1/manager.conf"
}

# lab_peers A B: each has the other's CA and address; starts both managers.
lab_peers() {
	cp "$LAB/$1/state/ca.pem" "$LAB/$2/state/trust/$1.pem"
	cp "$LAB/$2/state/ca.pem" "$LAB/$1/state/trust/$2.pem"
	if [ -n "${LAB_ATTEST:-}" ]; then
		cp "$LAB/$1/state/trust/$1.policy.pem" "$LAB/$2/state/trust"
		cp "$LAB/$2/state/trust/$2.policy.pem" "$LAB/$1/state/trust"
	fi
	printf '[peer %s]\naddress = %s\n' "$2" "$(cat "$LAB/$2/address")" \
		>>"$LAB/$1/manager.conf"
	printf '[peer %s]\naddress = %s\n' "$1" "$(cat "$LAB/$1/address")" \
		>>"$LAB/$2/manager.conf"
	lab_manager_start "$1" && lab_manager_start "$2" ||
		lab_die "managers do not start"
}

# lab_chip HOST N [FLAGS]: a TPM that is always powered, as a chip is.
lab_chip() {
	mkdir -p "$LAB/$1/chip$2"
	lab_spawn "chip-$1-$2" swtpm socket --tpm2 \
		--tpmstate "dir=$LAB/$1/chip$2" --flags "not-need-init${3:-}" \
		--server "type=unixio,path=$LAB/$1/chip$2.sock" \
		--ctrl "type=unixio,path=$LAB/$1/chip$2.sock.ctrl"
	lab_wait 10 "chip $2 of $1" [ -S "$LAB/$1/chip$2.sock" ]
}

# Who makes this lab's chips: a CA of its own, whose roots managers are told.
lab_maker() {
	[ ! -d "$LAB/maker" ] || return 0
	mkdir -p "$LAB/maker/ca" "$LAB/maker/roots" "$LAB/maker/first"
	cat >"$LAB/maker/localca.conf" <<-CONF
	statedir = $LAB/maker/ca
	signingkey = $LAB/maker/ca/signkey.pem
	issuercert = $LAB/maker/ca/issuercert.pem
	certserial = $LAB/maker/ca/certserial
	CONF
	cat >"$LAB/maker/localca.options" <<-CONF
	--platform-manufacturer lanyard-lab
	--platform-version 1
	--platform-model lab
	CONF
	cat >"$LAB/maker/setup.conf" <<-CONF
	create_certs_tool = /usr/bin/swtpm_localca
	create_certs_tool_config = $LAB/maker/localca.conf
	create_certs_tool_options = $LAB/maker/localca.options
	CONF
	lab_make_chip first # the first makes the CA
	cp "$LAB"/maker/ca/*cert.pem "$LAB/maker/roots"
}

# lab_make_chip DIR: below the maker's, with a certificate in it and beside it.
lab_make_chip() {
	mkdir -p "$LAB/maker/$1"
	swtpm_setup --tpm2 --tpmstate "$LAB/maker/$1" --createek --create-ek-cert \
		--write-ek-cert-files "$LAB/maker/$1" \
		--config "$LAB/maker/setup.conf" >"$LAB/maker/$1.log" 2>&1 || {
		cat "$LAB/maker/$1.log" >&2
		lab_die "swtpm_setup"
	}
}

# lab_le32 N, in hex
lab_le32() {
	printf '%08x' "$1" | sed 's/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/'
}

# lab_measure HOST PCR TYPE TEXT: as firmware does, into the TPM and the log.
lab_measure() {
	lab_digest=$(printf %s "$4" | sha256sum | cut -d ' ' -f 1)
	printf '%s%s%s0b00%s%s%s' "$(lab_le32 "$2")" "$(lab_le32 "$3")" \
		"$(lab_le32 1)" "$lab_digest" "$(lab_le32 ${#4})" \
		"$(printf %s "$4" | od -An -v -tx1 | tr -d ' \n')" |
		xxd -r -p >>"$LAB/$1/eventlog"
	lab_tpm "$1" host tpm2_pcrextend "$2:sha256=$lab_digest" ||
		lab_die "pcrextend $2 at $1"
}

# lab_boot HOST: firmware, boot loader and LAB_KERNEL are measured. The log
# begins with the event that names its form (one bank, SHA-256).
lab_boot() {
	printf '%s%s%040d%s%s%s' "$(lab_le32 0)" "$(lab_le32 3)" 0 \
		"$(lab_le32 33)" \
		"$(printf 'Spec ID Event03' | od -An -v -tx1 | tr -d ' \n')00" \
		"$(lab_le32 0)00020002$(lab_le32 1)0b00200000" |
		xxd -r -p >"$LAB/$1/eventlog"
	lab_measure "$1" 0 8 "lab firmware 1.0"
	lab_measure "$1" 2 4 "no option ROM"
	lab_measure "$1" 4 13 "${LAB_KERNEL:-linux-good}"
	lab_measure "$1" 7 4 "secure boot is on"
	lab_measure "$1" 11 13 "${LAB_KERNEL:-linux-good} initrd"
}

# Nothing is approved yet when the first host comes.
lab_enrolled() {
	lab_cli "$1" --json host show "$2" |
		grep -q '"enrolled": *"\(enrolled\|unapproved\)"'
}

lab_good() {
	lab_cli "$1" --json host show "$2" | grep -q '"enrolled": *"enrolled"'
}

# lab_approve SITE HOST...: by the site's policy key, which the manager has not.
lab_approve() {
	lab_site_=$1
	shift
	for lab_host_; do
		lab_cli "$lab_site_" policy approve --class "${LAB_CLASS:-lab}" \
			--from-host "$lab_host_" --key "$LAB/$lab_site_.policy.key" \
			>>"$LAB/$lab_site_/policy.txt" &&
			lab_wait 20 "approval of $lab_host_" \
				lab_good "$lab_site_" "$lab_host_" || return 1
	done
}

lab_agent_start() {
	lab_spawn "agent-$1" "$BUILD/lanyard-agent" -c "$LAB/$1/agent.conf"
}

lab_up() {
	lab_cli "$1" --json host show "$2" | grep -q '"connected": *true'
}

# lab_host SITE HOST [CHIPS]
lab_host() {
	mkdir -p "$LAB/$2"
	lab_port
	lab_own=$LAB_PORT
	lab_address "$lab_own"
	lab_inventory=
	if [ -n "${LAB_ATTEST:-}" ]; then
		lab_make_chip "$2"
		cp -r "$LAB/maker/$2" "$LAB/$2/chiphost"
		[ -n "${LAB_STRANGER:-}" ] ||
			lab_inventory="--class ${LAB_CLASS:-lab} --ek-cert $LAB/maker/$2/ek-rsa2048.crt"
	fi
	# shellcheck disable=SC2086
	lab_cli "$1" host add "$2" --address "$LAB_ADDRESS" --out "$LAB/$2" \
		$lab_inventory >"$LAB/$2/add.txt" || lab_die "host add $2"
	cat >"$LAB/$2/agent.conf" <<-CONF
	[agent]
	cert = $LAB/$2/host.pem
	key = $LAB/$2/host.key
	trust = $LAB/$2/trust
	listen = 127.0.0.1:$lab_own
	address = $LAB_ADDRESS
	manager = 127.0.0.1:$(cat "$LAB/$1/port")
	state = $LAB/$2/state
	run = $LAB/$2/run
	vault = swtpm:path=$LAB/$2/chiphost.sock
	${LAB_AGENT:-}
	CONF
	# The host's own, which its firmware has started.
	lab_chip "$2" host ,startup-clear || lab_die "host chip"
	if [ -n "${LAB_ATTEST:-}" ]; then
		lab_boot "$2"
		echo "eventlog = $LAB/$2/eventlog" >>"$LAB/$2/agent.conf"
	fi
	lab_n=0
	while [ $lab_n -lt "${3:-1}" ]; do
		lab_chip "$2" $lab_n || lab_die "chip"
		printf '[tpm chip%s]\ntcti = %s%s\n' $lab_n "${LAB_CHIP:-swtpm:path=}" \
			"$LAB/$2/chip$lab_n.sock" >>"$LAB/$2/agent.conf"
		lab_n=$((lab_n + 1))
	done
	lab_agent_start "$2"
	lab_wait 20 "agent of $2" lab_up "$1" "$2" || {
		cat "$LAB/agent-$2.log" >&2
		exit 1
	}
	[ -z "${LAB_ATTEST:-}" ] || [ -n "${LAB_STRANGER:-}" ] ||
		lab_wait 20 "enrolment of $2" lab_enrolled "$1" "$2" || {
		cat "$LAB/agent-$2.log" "$LAB/manager-$1.log" >&2
		exit 1
	}
}

# lab_tpm HOST CHIP COMMAND...: tpm2-tools on the chip itself, past the agent.
lab_tpm() {
	lab_chip_=$LAB/$1/chip$2.sock
	shift 2
	TPM2TOOLS_TCTI=swtpm:path=$lab_chip_ "$@"
}

# lab_json KEY: the value of a top-level key of the object on standard input.
lab_json() {
	tr -d '\n' | sed -n "s/.*\"$1\": *\"\{0,1\}\([^,\"}]*\).*/\1/p"
}

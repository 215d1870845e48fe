#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 300
#
# The model of the switch (agent/home/switch.pml), searched to its end by spin:
# no run of it breaks a law. And a check that cannot fail proves nothing: each
# rule the model names, left out, is caught, by the law given here.
set -u
cd "$(dirname "$0")/../.." || exit 2
MODEL=$PWD/agent/home/switch.pml
: "${CC:=gcc}"
scratch=$(mktemp -d "${TMPDIR:-/tmp}/ly-model.XXXXXX") || exit 2
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT HUP TERM
cd "$scratch" || exit 2

# search [-DRULE...]: what the verifier prints is in `out`
search() {
	spin "$@" -a "$MODEL" >spin.out 2>&1 &&
		$CC -O2 -w -DSAFETY -DCOLLAPSE -o pan pan.c >cc.out 2>&1 &&
		timeout 240 ./pan -m100000 -w22 >out 2>&1
}

unreached() {
	sed -n '/^unreached in/,$p' out | grep 'state [0-9]' | grep -v -- '"-end-"'
}

name=no_run_of_the_model_breaks_a_law
if ! search; then
	echo "not ok $name: $(tail -n 3 spin.out cc.out out 2>/dev/null | tr '\n' ' ')"
elif ! grep -q 'errors: 0' out || grep -q 'Search not completed' out; then
	echo "not ok $name: $(grep -m 1 -E 'pan:1|not completed' out)"
else
	echo "ok $name ($(sed -n 's/^ *\([0-9]*\) states, stored/\1 states/p' out))"
fi

name=every_step_of_the_model_is_taken
if [ -z "$(unreached)" ]; then
	echo "ok $name"
else
	echo "not ok $name: $(unreached | head -n 1)"
fi

# needed RULE LAW: without the one, the other is broken
needed() {
	name=the_model_needs_$1
	if ! search "-DWITHOUT_$1" && [ ! -f out ]; then
		echo "not ok $name: $(tail -n 3 spin.out cc.out | tr '\n' ' ')"
	elif grep -qF "assertion violated $2" out; then
		echo "ok $name"
	else
		echo "not ok $name: $(grep -m 1 -E 'pan:1|errors:' out)"
	fi
	rm -f out
}

needed RELEASE '(running==1)'
needed CLAIM_OK '(running==1)'
needed ABORTED '(running==1)'
needed PROOF '(running==1)'
needed VAULT '(epoch>top)'

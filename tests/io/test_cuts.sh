#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 180
#
# Commands between two agents whose link is cut at random bytes, and then while
# the agents are killed besides: each runs once.
: "${SEED:=7}"
export SEED
once=$(dirname "$0")/../chaos/once.sh
COMMANDS=20000 BYTES=1500000 sh "$once" && first=0 || first=1
KILLS=1 COMMANDS=60000 BYTES=20000000 sh "$once" && exit $first
exit 1

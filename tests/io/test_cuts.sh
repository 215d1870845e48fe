#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 120
#
# Commands between two agents whose link is cut at random bytes: each runs once.
COMMANDS=${COMMANDS:-20000} SEED=${SEED:-7} BYTES=${BYTES:-1500000} \
	exec sh "$(dirname "$0")/../chaos/once.sh"

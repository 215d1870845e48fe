#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# timeout: 240
#
# A short `make chaos`; the seed is the same each time, the world is not.
QUIET=1 MINUTES=${MINUTES:-0.8} SEED=${SEED:-7} \
	exec sh "$(dirname "$0")/../chaos/chaos.sh"

/* SPDX-License-Identifier: Apache-2.0 */
/* query-migrate's answer, read. */
#ifndef LY_AGENT_IO_MIGSTAT_H
#define LY_AGENT_IO_MIGSTAT_H

#include "agent/stream/stream.h"

#include <jansson.h>

/* Whatever is missing is 0. `text`, may be NULL: why it failed. */
enum ly_mig ly_migstat_read(const json_t *value, struct ly_mig_numbers *out,
    struct ly_why *text);

/* [{"capability": NAME, "state": on}, ...] for migrate-set-capabilities. */
json_t *ly_migstat_capabilities(bool source);

#endif

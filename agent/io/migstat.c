/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/migstat.h"

static uint64_t
number(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_integer(v) && json_integer_value(v) > 0 ?
	    (uint64_t)json_integer_value(v) :
	    0;
}

enum ly_mig
ly_migstat_read(const json_t *value, struct ly_mig_numbers *out,
    struct ly_why *text)
{
	const json_t *ram = json_object_get(value, "ram");
	const char *status = json_string_value(
	    json_object_get(value, "status"));
	const char *desc = json_string_value(
	    json_object_get(value, "error-desc"));
	uint64_t page = number(ram, "page-size");
	uint64_t dirty = number(ram, "dirty-pages-rate");

	*out = (struct ly_mig_numbers){
		.bytes = number(ram, "transferred"),
		.total = number(ram, "total"),
		.remaining = number(ram, "remaining"),
		.dirty_rate = page && dirty < UINT64_MAX / page ? dirty * page :
								  0,
		.passes = number(ram, "dirty-sync-count"),
		.throttle = number(value, "cpu-throttle-percentage"),
		.expected_ms = number(value, "expected-downtime"),
		.downtime_ms = number(value, "downtime"),
	};
	ly_fail(text, LY_OUTSIDE, "QEMU's migration: %.60s%s%.160s",
	    status ? status : "none", desc ? ": " : "", desc ? desc : "");
	return status ? ly_mig_of(status) : LY_MIG_NONE;
}

/*
 * No return path: with one, the source's QEMU says "completed" only when the
 * destination's has loaded everything, a round trip more in the time that the
 * guest stands still; and when the load fails it starts the guest again by
 * itself. Our destination says the same in READY, and the home decides.
 */
json_t *
ly_migstat_capabilities(bool source)
{
	return json_pack("{s:[{s:s,s:b},{s:s,s:b},{s:s,s:b},{s:s,s:b},"
			 "{s:s,s:b},{s:s,s:b}]}",
	    "capabilities", "capability", "return-path", "state", 0,
	    "capability", "events", "state", 1, "capability", "postcopy-ram",
	    "state", 0, "capability", "multifd", "state", 0, "capability",
	    "auto-converge", "state", source ? 1 : 0, "capability",
	    "pause-before-switchover", "state", source ? 1 : 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/attest/call.h"

#define SKEW_S 60    /* between two calendars */
#define LONG_S 86400 /* no call asks for more */

const char *
ly_quote_role_name(unsigned role)
{
	static const char *const names[] = {
		[LY_AS_SOURCE] = "source",
		[LY_AS_DEST] = "destination",
		[LY_AS_HOME] = "home",
		[LY_AS_PLACE] = "place",
		[LY_AS_TPM] = "home of the TPM",
	};

	return role && role < LY_COUNT(names) ? names[role] : "?";
}

/* Who the call says is in that role; NULL: there is no such role. */
static const char *
named(const struct ly_call *call, uint8_t role)
{
	switch (role) {
	case LY_AS_SOURCE:
	case LY_AS_PLACE:
		return call->source;
	case LY_AS_DEST:
		return call->dest;
	case LY_AS_HOME:
	case LY_AS_TPM:
		return call->home;
	default:
		return NULL;
	}
}

/* "spiffe://SITE/manager/..." for the SITE of "spiffe://SITE/host/..." */
static bool
is_manager_of(const char *signer, const char *home)
{
	static const char scheme[] = "spiffe://", manager[] = "/manager/";
	const char *slash;
	size_t site;

	if (strncmp(home, scheme, sizeof(scheme) - 1) != 0)
		return false;
	slash = strchr(home + sizeof(scheme) - 1, '/');
	if (!slash)
		return false;
	site = (size_t)(slash - home);
	return strncmp(signer, home, site) == 0 &&
	    strncmp(signer + site, manager, sizeof(manager) - 1) == 0;
}

static bool
has_nonce(const struct ly_call *call)
{
	static const uint8_t none[sizeof(call->nonce)];

	return memcmp(call->nonce, none, sizeof(none)) != 0;
}

enum ly_rc
ly_call_check(const struct ly_call *call, const char *signer, const char *self,
    uint8_t role, uint64_t now_s, struct ly_why *why)
{
	const char *who = named(call, role);
	bool moves = role == LY_AS_SOURCE || role == LY_AS_DEST ||
	    role == LY_AS_HOME;
	/* What a host is, of no VM, any site's manager may know: its own site
	 * has passed the question on. */
	bool alone = role == LY_AS_PLACE && ly_id_none(&call->vm);
	const char *asker = alone ? signer : call->home;

	if (!who)
		return ly_fail(why, LY_REFUSED, "a call to no role (%u)", role);
	if (strcmp(who, self) != 0)
		return ly_fail(why, LY_REFUSED,
		    "the call names %s as the %s, not this host",
		    *who ? who : "nobody", ly_quote_role_name(role));
	if (!is_manager_of(signer, asker))
		return ly_fail(why, LY_REFUSED,
		    "the call is by %s, not by the manager of the site of %s",
		    signer, asker);
	if (moves == ly_id_none(&call->mig))
		return ly_fail(why, LY_REFUSED, "a call to the %s %s migration",
		    ly_quote_role_name(role), moves ? "without a" : "in a");
	if (moves && strcmp(call->source, call->dest) == 0)
		return ly_fail(why, LY_REFUSED,
		    "the call names one host as source and destination");
	if (!has_nonce(call))
		return ly_fail(why, LY_REFUSED, "a call without a nonce");
	if (now_s + SKEW_S < call->not_before || now_s > call->expires)
		return ly_fail(why, LY_REFUSED,
		    now_s > call->expires ? "the call has expired" :
					    "the call is not valid yet");
	if (call->expires > now_s + LONG_S)
		return ly_fail(why, LY_REFUSED,
		    "the call is valid for too long");
	return LY_OK;
}

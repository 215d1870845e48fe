/* SPDX-License-Identifier: Apache-2.0 */
/* SPIFFE ids: what of identity.h needs no keys. */
#include "lib/io/identity.h"

enum ly_rc
ly_spiffe_parse(const char *id, struct ly_peer *out, struct ly_why *why)
{
	static const char scheme[] = "spiffe://";
	static const struct {
		const char *word;
		enum ly_role role;
	} roles[] = { { "/host/", LY_ROLE_HOST },
		{ "/manager/", LY_ROLE_MANAGER } };
	struct ly_peer p = { 0 };
	const char *site = id + strlen(scheme), *path;

	if (strncmp(id, scheme, strlen(scheme)) != 0 ||
	    !ly_copy(p.id, sizeof(p.id), id))
		return ly_fail(why, LY_MALFORMED, "not a SPIFFE id of ours");
	path = strchr(site, '/');
	if (!path ||
	    !ly_print(p.site, sizeof(p.site), "%.*s", (int)(path - site),
		site) ||
	    !ly_name_good(p.site))
		return ly_fail(why, LY_MALFORMED, "%s: bad site", p.id);
	for (size_t i = 0; i < LY_COUNT(roles); i++) {
		size_t n = strlen(roles[i].word);

		if (strncmp(path, roles[i].word, n) != 0)
			continue;
		p.role = roles[i].role;
		if (!ly_copy(p.name, sizeof(p.name), path + n) ||
		    !ly_name_good(p.name))
			return ly_fail(why, LY_MALFORMED, "%s: bad name", p.id);
		*out = p;
		return LY_OK;
	}
	return ly_fail(why, LY_MALFORMED, "%s: neither host nor manager", p.id);
}

void
ly_spiffe_host(const char *site, const char *name, char out[LY_SPIFFE_MAX])
{
	ly_print(out, LY_SPIFFE_MAX, "spiffe://%s/host/%s", site, name);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration file, whatever is in it. */
#include "lib/io/conf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct tpm {
	char device[64];
	uint64_t slots;
};

struct conf {
	char name[LY_NAME_MAX];
	char listen[LY_ADDR_MAX];
	char state[32];
	char note[8];
	uint64_t limit;
	bool fast;
	struct tpm tpm[4];
	unsigned tpms_n;
};

static const struct ly_conf_key keys[] = {
	LY_CONF(struct conf, "agent", name, LY_CONF_NAME, 0, true, NULL, ""),
	LY_CONF(struct conf, "agent", listen, LY_CONF_ADDRESS, 0, false,
	    "0.0.0.0:7000", ""),
	LY_CONF(struct conf, "agent", state, LY_CONF_PATH, 0, false, "/x", ""),
	LY_CONF(struct conf, "agent", note, LY_CONF_TEXT, 0, false, NULL, ""),
	LY_CONF(struct conf, "limits", limit, LY_CONF_UINT, 100, false, "7",
	    ""),
	LY_CONF(struct conf, "limits", fast, LY_CONF_BOOL, 0, false, "no", ""),
	LY_CONF(struct tpm, "tpm *", device, LY_CONF_PATH, 0, true, NULL, ""),
	LY_CONF(struct tpm, "tpm *", slots, LY_CONF_UINT, 0, false, "3", ""),
};

static void *
named(void *to, const char *section, const char *name, struct ly_why *why)
{
	struct conf *c = to;

	(void)section;
	if (!ly_name_good(name))
		abort();
	if (c->tpms_n < LY_COUNT(c->tpm))
		return &c->tpm[c->tpms_n++];
	ly_fail(why, LY_FULL, "too many");
	return NULL;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct conf conf = { 0 };
	struct ly_why why = { "" };
	enum ly_rc rc = ly_conf_parse("f", (const char *)data, len, keys,
	    LY_COUNT(keys), named, &conf, &why);

	/* A refusal has its reason, and what is taken is what it should be. */
	if (rc != LY_OK && !why.text[0])
		abort();
	if (rc == LY_OK &&
	    (!ly_name_good(conf.name) || conf.state[0] != '/' ||
		conf.limit > 100))
		abort();
	return 0;
}

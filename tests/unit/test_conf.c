/* SPDX-License-Identifier: Apache-2.0 */
/* Configurations: what is taken, and what is said of what is not. */
#include "lib/io/conf.h"
#include "tests/unit/site.h"

#include <fcntl.h>

struct tpm {
	char device[64];
	uint64_t slots;
};

struct conf {
	char name[LY_NAME_MAX];
	char listen[LY_ADDR_MAX];
	char state[32];
	char note[40];
	uint64_t limit;
	bool fast;
	struct tpm tpm[2];
	char tpm_name[2][LY_NAME_MAX];
	unsigned tpms_n;
};

static const struct ly_conf_key keys[] = {
	LY_CONF(struct conf, "agent", name, LY_CONF_NAME, 0, true, NULL,
	    "this host's name"),
	LY_CONF(struct conf, "agent", listen, LY_CONF_ADDRESS, 0, false,
	    "0.0.0.0:7000", "where peers come"),
	LY_CONF(struct conf, "agent", state, LY_CONF_PATH, 0, false,
	    "/var/lib/x", "where state lies"),
	LY_CONF(struct conf, "agent", note, LY_CONF_TEXT, 0, false, NULL,
	    "anything"),
	LY_CONF(struct conf, "limits", limit, LY_CONF_UINT, 100, false, "7",
	    "how many"),
	LY_CONF(struct conf, "limits", fast, LY_CONF_BOOL, 0, false, "no",
	    "in a hurry"),
	LY_CONF(struct tpm, "tpm *", device, LY_CONF_PATH, 0, true, NULL,
	    "the device"),
	LY_CONF(struct tpm, "tpm *", slots, LY_CONF_UINT, 0, false, "3",
	    "of objects"),
};

static struct conf conf;
static struct ly_why said;

static void *
named(void *to, const char *section, const char *name, struct ly_why *why)
{
	struct conf *c = to;

	WANT_STR(section, "tpm");
	if (c->tpms_n == LY_COUNT(c->tpm)) {
		ly_fail(why, LY_FULL, "two TPMs at most");
		return NULL;
	}
	ly_copy(c->tpm_name[c->tpms_n], LY_NAME_MAX, name);
	return &c->tpm[c->tpms_n++];
}

static enum ly_rc
parse(const char *text)
{
	memset(&conf, 0, sizeof(conf));
	said.text[0] = '\0';
	return ly_conf_parse("f.conf", text, strlen(text), keys, LY_COUNT(keys),
	    named, &conf, &said);
}

TEST(a_configuration_is_read_with_its_defaults)
{
	WANT_INT(parse("# a comment\n"
		       "\n"
		       "[agent]\r\n"
		       "name = h1 ; behind a value\n"
		       "  listen=[::]:7001\n"
		       "note : a b  c\n"
		       "; another\n"
		       "[tpm a]\n"
		       "device = /dev/tpm0\n"
		       "[limits]\n"
		       "fast = on\n"
		       "[tpm b]\n"
		       "device = /dev/tpm1\n"
		       "slots = 18446744073709551615"),
	    LY_OK);
	WANT_STR(conf.name, "h1");
	WANT_STR(conf.listen, "[::]:7001");
	WANT_STR(conf.state, "/var/lib/x");
	WANT_STR(conf.note, "a b  c");
	WANT_INT(conf.limit, 7);
	WANT(conf.fast);
	WANT_INT(conf.tpms_n, 2);
	WANT_STR(conf.tpm_name[1], "b");
	WANT_STR(conf.tpm[0].device, "/dev/tpm0");
	WANT_INT(conf.tpm[0].slots, 3);
	WANT(conf.tpm[1].slots == UINT64_MAX);
}

TEST(every_fault_is_told_with_line_and_key)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "", "f.conf: [agent] lacks name: this host's name" },
		{ "[agent]\nnam = x\n",
		    "f.conf:2: nam: no such key in "
		    "[agent]" },
		{ "name = x\n", "f.conf:1: name: before the first [section]" },
		{ "\n[agnet]\n", "f.conf:2: [agnet]: no such section" },
		{ "[agent]\nname = x\nname = y\n",
		    "f.conf:3: name: given twice" },
		{ "[agent]\nname = x\n[limits]\n[agent]\n name = y\n",
		    "f.conf:5: name: given twice" },
		{ "[agent]\nname = X\n",
		    "f.conf:2: name = X: not a name: a "
		    "to z, 0 to 9, '.', '_', '-'" },
		{ "[agent]\nname =\n",
		    "f.conf:2: name = : not a name: a to "
		    "z, 0 to 9, '.', '_', '-'" },
		{ "[agent]\nstate = var\n",
		    "f.conf:2: state = var: not an "
		    "absolute path (/...)" },
		{ "[agent]\nlisten = 7000\n",
		    "f.conf:2: listen = 7000: 7000: not host:port" },
		{ "[agent]\nstate = /123456789012345678901234567890123\n",
		    "f.conf:2: state = /123456789012345678901234567890123: "
		    "over 31 characters" },
		{ "[limits]\nlimit = 101\n",
		    "f.conf:2: limit = 101: not a "
		    "whole number from 0 to 100" },
		{ "[limits]\nlimit = -1\n",
		    "f.conf:2: limit = -1: not a "
		    "whole number from 0 to 100" },
		{ "[limits]\nfast = maybe\n",
		    "f.conf:2: fast = maybe: neither yes nor no" },
		{ "[agent]\nname\n",
		    "f.conf:2: neither [section] nor key = "
		    "value nor # comment" },
		{ "[agent\nname = x\n", "f.conf:1: [ without ]" },
		{ "[tpm]\n",
		    "f.conf:1: [tpm]: needs a name, as in [tpm "
		    "NAME]" },
		{ "[agent x]\n", "f.conf:1: [agent x]: no such section" },
		{ "[tpm A]\n",
		    "f.conf:1: [tpm A]: not a name: a to z, 0 to "
		    "9, '.', '_', '-'" },
		{ "[agent]\nname = x\n[tpm a]\nslots = 1\n",
		    "f.conf:3: [tpm a] lacks device: the device" },
		{ "[agent]\nname = x\n[tpm a]\n",
		    "f.conf:3: [tpm a] lacks device: the device" },
		{ "[tpm a]\n[tpm a]\n",
		    "f.conf:2: [tpm a]: given twice, first in line 1" },
		{ "[tpm a]\n[tpm b]\n[tpm c]\n",
		    "f.conf:3: [tpm c]: two TPMs at most" },
		{ "[agent]\nname = a\x01\n", "f.conf:2: control character" },
	};

	for (size_t i = 0; i < LY_COUNT(bad); i++) {
		WANT_INT(parse(bad[i].text), LY_REFUSED);
		WANT_STR(said.text, bad[i].says);
	}
}

TEST(only_the_first_fault_is_told)
{
	WANT_INT(parse("[agent]\n\nx = 1\ny = 2\nz\n[q]\n"), LY_REFUSED);
	WANT_STR(said.text, "f.conf:3: x: no such key in [agent]");
}

TEST(a_line_may_have_198_characters)
{
	char text[400];

	memset(text, ' ', sizeof(text));
	memcpy(text, "[agent]\nname = x\nnote = ", 24);
	memset(text + 24, 'n', 198 - 7);
	text[24 + 198 - 7] = '\n';
	text[24 + 198 - 6] = '\0';
	WANT_INT(parse(text), LY_REFUSED); /* over the key's own limit */
	WANT(strstr(said.text, "over 39 characters"));
	text[24 + 198 - 7] = 'n';
	text[24 + 198 - 6] = '\n';
	text[24 + 198 - 5] = '\0';
	WANT_INT(parse(text), LY_REFUSED);
	WANT_STR(said.text, "f.conf:3: line over 198 characters");
}

TEST(a_section_name_longer_than_inih_knows_is_whole)
{
	char text[200];
	char name[] = "n23456789012345678901234567890123456789012345678901234"
		      "567890123";

	ly_print(text, sizeof(text), "[agent]\nname=x\n[tpm %s]\ndevice=/d\n",
	    name);
	WANT_INT(parse(text), LY_OK);
	WANT_STR(conf.tpm_name[0], name);
}

TEST(a_mark_of_byte_order_is_passed_over)
{
	WANT_INT(parse("\xef\xbb\xbf[agent]\nname = x\n"), LY_OK);
}

TEST(a_file_is_named_when_it_is_not_there)
{
	WANT_INT(ly_conf_read(site_path("none.conf"), keys, LY_COUNT(keys),
		     named, &conf, &said),
	    LY_UNKNOWN);
	WANT(strstr(said.text, "none.conf"));
}

TEST(what_is_said_back_is_read_the_same)
{
	struct conf before;
	uint8_t *text = NULL;
	size_t len;
	int out = dup(STDOUT_FILENO);
	int fd = open(site_path("said"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	WANT_INT(parse("[agent]\nname=x\n[limits]\nfast=yes\n"
		       "[tpm t]\ndevice=/dev/tpm9\n"),
	    LY_OK);
	before = conf;
	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	ly_conf_say(keys, LY_COUNT(keys), "agent", NULL, &conf);
	ly_conf_say(keys, LY_COUNT(keys), "limits", NULL, &conf);
	ly_conf_say(keys, LY_COUNT(keys), "tpm", "t", &conf.tpm[0]);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	close(fd);
	close(out);
	SITE_OK(ly_file_read(site_path("said"), 4096, &text, &len, &why));
	WANT_INT(parse((const char *)text), LY_OK);
	WANT_MEM(&conf, &before, sizeof(conf));
	WANT(strstr((const char *)text, "listen = 0.0.0.0:7000\n"));
	free(text);
}

TEST_MAIN()

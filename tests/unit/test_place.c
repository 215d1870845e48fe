/* SPDX-License-Identifier: Apache-2.0 */
/* Two quotes of one place, or not. */
#include "tests/test.h"

#include "lib/attest/place.h"

static struct ly_why why;
static struct ly_context place, tpm;

static void
good(void)
{
	place = (struct ly_context){ .role = LY_QUOTE_PLACE,
		.nonce = { 1 },
		.vm = { { 2 } },
		.epoch = 3,
		.hk = { 4 } };
	ly_copy(place.self, sizeof(place.self), "spiffe://a/host/v");
	ly_copy(place.source, sizeof(place.source), place.self);
	ly_copy(place.home, sizeof(place.home), "spiffe://a/host/h");
	tpm = place;
	tpm.role = LY_QUOTE_TPM;
	ly_copy(tpm.self, sizeof(tpm.self), "spiffe://a/host/h");
	memset(tpm.hk, 5, sizeof(tpm.hk));
	memcpy(tpm.holder_hk, place.hk, sizeof(place.hk));
}

static void
want_refused(const char *text)
{
	WANT_INT(ly_place_link(&place, &tpm, &why), LY_REFUSED);
	if (!strstr(why.text, text))
		WANT_STR(why.text, text);
	good();
}

TEST(two_quotes_of_one_vm_lease_and_link_are_one_place)
{
	good();
	WANT_INT(ly_place_link(&place, &tpm, &why), LY_OK);
}

TEST(quotes_that_differ_in_one_thing_are_no_place)
{
	good();
	place.nonce[31] ^= 1;
	want_refused("another question");
	place.vm.b[15] ^= 1;
	want_refused("another VM");
	place.vm = tpm.vm = (struct ly_id){ { 0 } };
	want_refused("another VM");
	tpm.epoch++;
	want_refused("another epoch");
	ly_copy(place.self, sizeof(place.self), "spiffe://a/host/w");
	want_refused("another pair of hosts");
	ly_copy(tpm.self, sizeof(tpm.self), "spiffe://a/host/g");
	want_refused("another pair of hosts");
}

TEST(a_quote_of_one_purpose_stands_for_no_other)
{
	good();
	place.role = LY_QUOTE_SOURCE;
	want_refused("not the quotes");
	tpm.role = LY_QUOTE_HOME;
	want_refused("not the quotes");
}

TEST(a_host_that_is_not_the_one_at_the_link_is_relayed)
{
	good();
	place.hk[0] ^= 1;
	want_refused("its quote is relayed");
	memset(tpm.holder_hk, 0, sizeof(tpm.holder_hk));
	want_refused("nobody is linked");
	memset(tpm.holder_hk, 0, sizeof(tpm.holder_hk));
	memset(place.hk, 0, sizeof(place.hk));
	want_refused("nobody is linked");
}

static struct ly_placed
full(void)
{
	return (struct ly_placed){ .site = "a",
		.manager = "spiffe://a/manager/m",
		.vm = { { 0xab } },
		.name = "web",
		.epoch = 3,
		.seq = 9,
		.host = "spiffe://a/host/v",
		.host_class = "compute",
		.host_state = "Debian 12.8",
		.home = "spiffe://a/host/h",
		.home_class = "vault",
		.home_state = "Debian 12.9",
		.hk = { 1 },
		.vpcrs = { 2 },
		.nonce = { 3 },
		.from = 1000,
		.until = 1300 };
}

#define ZEROS_31                                                               \
	"00000000000000000000000000000000000000000000000000000000000000"

/* Frozen: others read it. */
TEST(what_is_signed_has_a_line_for_each_thing_that_was_proved)
{
	struct ly_placed p = full();
	char text[LY_PLACED_MAX];

	ly_placed_text(&p, text);
	WANT_STR(text,
	    "lanyard attestation 1\n"
	    "site a\n"
	    "manager spiffe://a/manager/m\n"
	    "host spiffe://a/host/v\n"
	    "host-class compute\n"
	    "host-state Debian 12.8\n"
	    "host-key 01" ZEROS_31 "\n"
	    "vm ab000000-0000-0000-0000-000000000000 web\n"
	    "epoch 3\n"
	    "seq 9\n"
	    "home spiffe://a/host/h\n"
	    "home-class vault\n"
	    "home-state Debian 12.9\n"
	    "vm-pcrs 02" ZEROS_31 "\n"
	    "nonce 03" ZEROS_31 "\n"
	    "from 1000\n"
	    "until 1300\n");
	p.vm = (struct ly_id){ { 0 } };
	ly_placed_text(&p, text);
	WANT(!strstr(text, "vm ") && !strstr(text, "home"));
}

TEST(the_longest_text_fits)
{
	char text[LY_PLACED_MAX], id[LY_SPIFFE_MAX], name[LY_NAME_MAX];
	char note[96];
	struct ly_placed p = full();

	memset(id, 'i', sizeof(id));
	memset(name, 'n', sizeof(name));
	memset(note, 'o', sizeof(note));
	id[sizeof(id) - 1] = name[sizeof(name) - 1] = 0;
	note[sizeof(note) - 1] = 0;
	p.site = p.name = p.host_class = p.home_class = name;
	p.manager = p.host = p.home = id;
	p.host_state = p.home_state = note;
	p.epoch = p.seq = p.from = p.until = UINT64_MAX;
	ly_placed_text(&p, text);
	WANT(strlen(text) < sizeof(text));
}

TEST_MAIN()

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lib/attest/eventlog: logs of real boots (tests/vectors/eventlog, each with
 * the PCRs that its TPM had), and logs made here to be wrong.
 */
#include "tests/unit/eventlog_gen.h"

#include "tests/test.h"

#define BOOT_PCRS 0x3ffu

struct vector {
	uint8_t log[LY_LOG_MAX];
	size_t len;
	uint8_t pcr[LY_PCRS_N][32];
};

static struct ly_bytes
read_vector(const char *name, struct vector *v)
{
	char path[96], line[96];
	unsigned pcr;
	char hex[72];
	FILE *f;

	ly_print(path, sizeof(path), "tests/vectors/eventlog/%s.log", name);
	f = fopen(path, "r");
	WANT(f);
	v->len = fread(v->log, 1, sizeof(v->log), f);
	fclose(f);
	ly_print(path, sizeof(path), "tests/vectors/eventlog/%s.pcrs", name);
	f = fopen(path, "r");
	WANT(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%u %71s", &pcr, hex) == 2 && pcr < LY_PCRS_N)
			WANT_INT(ly_unhex(hex, v->pcr[pcr], 32), LY_OK);
	fclose(f);
	return (struct ly_bytes){ v->log, v->len };
}

static void
want_text(enum ly_rc rc, enum ly_rc want, const struct ly_why *why,
    const char *text)
{
	WANT_STR(why->text, text);
	WANT_INT(rc, want);
}

static struct gen gen, ref;
static struct ly_why why;

/* ---- real ones ---- */

TEST(real_logs_replay_to_the_pcrs_their_tpms_had)
{
	static const char *const names[] = { "seabios", "ovmf", "other" };
	static const uint8_t zeros[32];
	static struct vector v;
	uint8_t pcr[LY_PCRS_N][32];

	for (size_t i = 0; i < LY_COUNT(names); i++) {
		struct ly_bytes log = read_vector(names[i], &v);

		WANT_INT(ly_eventlog_replay(log, pcr, &why), LY_OK);
		for (unsigned n = 0; n < 10; n++)
			WANT_MEM(pcr[n], v.pcr[n], 32);
		WANT(memcmp(pcr[4], zeros, 32) != 0);
		WANT_INT(ly_eventlog_explains(log, ~0u, v.pcr, &why), LY_OK);
	}
}

TEST(two_boots_of_other_kernels_differ_where_the_kernel_is_measured)
{
	static struct vector a, b;
	struct ly_bytes ovmf = read_vector("ovmf", &a);
	struct ly_bytes other = read_vector("other", &b);

	WANT_MEM(a.pcr[0], b.pcr[0], 32);
	WANT_INT(ly_eventlog_compare(other, ovmf, 0x83u, &why), LY_OK);
	WANT_INT(ly_eventlog_compare(other, ovmf, BOOT_PCRS, &why), LY_REFUSED);
	WANT(strstr(why.text, "PCR 4: event "));
	WANT(strstr(why.text,
	    "(EV_EFI_BOOT_SERVICES_APPLICATION, \\vmlinuz) is not in the"
	    " approved log"));
}

/* ---- words ---- */

static const struct {
	uint32_t type;
	const char *data;
	size_t len;
	const char *words;
} said[] = {
	{ 4, "\0\0\0", 4, "event 9 (EV_SEPARATOR)" },
	{ 5, "boot\0x", 6, "event 9 (EV_ACTION, boot)" },
	{ 5, "a\nb\x1b[1m", 7, "event 9 (EV_ACTION, a?b?[1m)" },
	{ 8, "v\0002\0\0", 6, "event 9 (EV_S_CRTM_VERSION, v2)" },
	{ 8, "v\0\x02\x26", 4, "event 9 (EV_S_CRTM_VERSION, v?)" },
	{ 6, "\1\0\0\0\4\0\0\0rd=1", 12, "event 9 (EV_EVENT_TAG, rd=1)" },
	{ 6, "\1\0\0\0\377\0\0\0rd=1", 12, "event 9 (EV_EVENT_TAG)" },
	{ 0x8000000a, "\2FV12345", 8,
	    "event 9 (EV_EFI_PLATFORM_FIRMWARE_BLOB2, FV)" },
	{ 0x8000000a, "\42FV", 3, "event 9 (EV_EFI_PLATFORM_FIRMWARE_BLOB2)" },
	{ 0x80000001, "short", 5, "event 9 (EV_EFI_VARIABLE_DRIVER_CONFIG)" },
	{ 0x80000003, "short", 5,
	    "event 9 (EV_EFI_BOOT_SERVICES_APPLICATION)" },
	{ 0x12345, "boot", 4, "event 9 (type 0x00012345)" },
};

TEST(an_event_is_told_in_printable_words_whatever_it_holds)
{
	char text[200];

	for (size_t i = 0; i < LY_COUNT(said); i++) {
		struct ly_logged ev = { .number = 9,
			.type = said[i].type,
			.data = { (const uint8_t *)said[i].data,
			    said[i].len } };

		ly_eventlog_print(&ev, text, sizeof(text));
		WANT_STR(text, said[i].words);
	}
	WANT_STR(ly_eventlog_type(13), "EV_IPL");
	WANT(!ly_eventlog_type(0x12345));
}

/* ---- replay ---- */

TEST(a_log_with_two_banks_replays_like_one_with_sha256_alone)
{
	uint8_t pcr[LY_PCRS_N][32];

	for (unsigned banks = 1; banks <= 2; banks++) {
		gen_start(&gen, banks);
		gen_boot(&gen, "\\EFI\\debian\\grubx64.efi", "1");
		WANT_INT(ly_eventlog_replay(gen_log(&gen), pcr, &why), LY_OK);
		WANT_MEM(pcr, gen.pcr, sizeof(pcr));
	}
}

TEST(the_locality_a_tpm_was_started_from_is_where_pcr_0_begins)
{
	uint8_t pcr[LY_PCRS_N][32];

	gen_start(&gen, 1);
	gen_event(&gen, 0, 3, "StartupLocality\0\3", 17);
	gen.pcr[0][31] = 3;
	gen_boot(&gen, "grub", "1");
	WANT_INT(ly_eventlog_replay(gen_log(&gen), pcr, &why), LY_OK);
	WANT_MEM(pcr, gen.pcr, sizeof(pcr));
	gen_event(&gen, 0, 3, "StartupLocality\0\3", 17);
	want_text(ly_eventlog_replay(gen_log(&gen), pcr, &why), LY_MALFORMED,
	    &why, "event log: event 9 tells the start of PCR 0 too late");
}

TEST(no_log_explains_no_pcr_but_one_nobody_extended)
{
	struct ly_bytes none = { NULL, 0 };
	uint8_t pcr[LY_PCRS_N][32] = { { 0 } };

	WANT_INT(ly_eventlog_explains(none, 0xffu, pcr, &why), LY_OK);
	pcr[7][0] = 1;
	want_text(ly_eventlog_explains(none, 0xffu, pcr, &why), LY_REFUSED,
	    &why,
	    "there is no event log, and the quoted PCR 7 is not as at start");
}

TEST(a_log_that_lacks_an_event_does_not_replay)
{
	gen_start(&gen, 2);
	gen_boot(&gen, "\\EFI\\debian\\grubx64.efi", "1");
	WANT_INT(ly_eventlog_explains(gen_log(&gen), 0xffu, gen.pcr, &why),
	    LY_OK);
	gen.pcr[7][5] ^= 1;
	want_text(ly_eventlog_explains(gen_log(&gen), 0xffu, gen.pcr, &why),
	    LY_REFUSED, &why,
	    "the event log does not replay to the quoted PCR 7");
	WANT_INT(ly_eventlog_explains(gen_log(&gen), 0x7fu, gen.pcr, &why),
	    LY_OK);
}

TEST(pcrs_that_the_running_system_extends_need_no_log)
{
	gen_start(&gen, 1);
	gen_boot(&gen, "grub", "1");
	gen.pcr[11][0] ^= 1;
	gen.pcr[10][0] ^= 1;
	WANT_INT(ly_eventlog_explains(gen_log(&gen), ~0u, gen.pcr, &why),
	    LY_OK);
	gen.pcr[14][0] ^= 1;
	want_text(ly_eventlog_explains(gen_log(&gen), ~0u, gen.pcr, &why),
	    LY_REFUSED, &why,
	    "the event log does not replay to the quoted PCR 14");
}

/* ---- comparing ---- */

static enum ly_rc
compare(uint32_t mask)
{
	return ly_eventlog_compare(gen_log(&gen), gen_log(&ref), mask, &why);
}

TEST(the_first_event_that_is_another_is_named)
{
	gen_start(&gen, 1);
	gen_boot(&gen, "\\EFI\\debian\\evil.efi", "1");
	gen_start(&ref, 2);
	gen_boot(&ref, "\\EFI\\debian\\grubx64.efi", "1");
	want_text(compare(0x95), LY_REFUSED, &why,
	    "PCR 4: event 7 (EV_EFI_BOOT_SERVICES_APPLICATION,"
	    " \\EFI\\debian\\evil.efi) is not in the approved log");
	WANT_INT(compare(0x85), LY_OK);
}

TEST(the_lowest_pcr_is_told_first)
{
	gen_start(&gen, 1);
	gen_boot(&gen, "evil", "0");
	gen_start(&ref, 1);
	gen_boot(&ref, "good", "1");
	WANT_INT(compare(0x95), LY_REFUSED);
	WANT(strstr(why.text, "PCR 4: event 7"));
	want_text(compare(0x80), LY_REFUSED, &why,
	    "PCR 7: event 2 (EV_EFI_VARIABLE_DRIVER_CONFIG, SecureBoot) is not"
	    " in the approved log");
}

TEST(an_event_that_was_left_out_or_added_is_named)
{
	gen_start(&ref, 1);
	gen_boot(&ref, "grub", "1");
	gen_event(&ref, 4, 5, "one", 3);
	gen_event(&ref, 4, 5, "two", 3);
	gen_start(&gen, 1);
	gen_boot(&gen, "grub", "1");
	want_text(compare(0x10), LY_REFUSED, &why,
	    "PCR 4: event 8 (EV_ACTION, one) of the approved log is missing");
	gen_event(&gen, 4, 5, "two", 3);
	want_text(compare(0x10), LY_REFUSED, &why,
	    "PCR 4: event 8 (EV_ACTION, one) of the approved log is missing");
	gen = ref;
	WANT_INT(compare(0x10), LY_OK);
	gen_event(&gen, 4, 5, "more", 4);
	want_text(compare(0x10), LY_REFUSED, &why,
	    "PCR 4: event 10 (EV_ACTION, more) is not in the approved log");
}

TEST(what_is_not_extended_is_not_compared)
{
	gen_start(&ref, 1);
	gen_boot(&ref, "grub", "1");
	gen_start(&gen, 1);
	gen_event(&gen, 4, 3, "a note", 6);
	gen_boot(&gen, "grub", "1");
	WANT_INT(compare(~0u), LY_OK);
}

TEST(a_bad_reference_is_not_blamed_on_the_host)
{
	gen_start(&gen, 1);
	gen_boot(&gen, "grub", "1");
	ref = gen;
	ref.len--;
	want_text(compare(0x10), LY_MALFORMED, &why,
	    "approved log: event log: event 7 is not whole");
	ref.len = 3;
	want_text(compare(0x10), LY_MALFORMED, &why,
	    "approved log: not an event log");
}

/* ---- bad ones ---- */

static enum ly_rc
replay(void)
{
	uint8_t pcr[LY_PCRS_N][32];

	return ly_eventlog_replay(gen_log(&gen), pcr, &why);
}

TEST(a_log_of_sha1_alone_is_refused_with_what_to_do)
{
	static const uint8_t zeros[20];

	memset(&gen, 0, sizeof(gen));
	gen_le(&gen, 0, 4); /* PCR 0, EV_S_CRTM_VERSION: the form of TPM 1.2 */
	gen_le(&gen, 8, 4);
	gen_bytes(&gen, zeros, sizeof(zeros));
	gen_le(&gen, 2, 4);
	gen_bytes(&gen, "1\0", 2);
	want_text(replay(), LY_REFUSED, &why,
	    "the event log is of the old form, which has SHA-1 digests alone;"
	    " boot by UEFI with a TPM 2.0 event log");
	gen_start(&gen, 1); /* the new form, with another bank */
	gen.log[gen.len - 5] = 12;
	want_text(replay(), LY_REFUSED, &why,
	    "the event log has no SHA-256 digests; switch the firmware's"
	    " SHA-256 bank on");
}

TEST(a_log_cut_anywhere_replays_to_its_whole_events_or_is_malformed)
{
	size_t whole;

	gen_start(&gen, 2);
	gen_boot(&gen, "grub", "1");
	whole = gen.len;
	for (gen.len = 1; gen.len < whole; gen.len++) {
		enum ly_rc rc = replay();

		WANT(rc == LY_OK || rc == LY_MALFORMED);
	}
	gen.len--;
	want_text(replay(), LY_MALFORMED, &why,
	    "event log: event 7 is not whole");
}

TEST(lengths_that_lie_are_malformed)
{
	static const struct {
		size_t at;
		uint8_t is;
		const char *text;
	} lies[] = {
		{ 28, 0xff, "not an event log" },
		{ 0, 99, "not an event log" },
		{ 32 + 24, 0,
		    "event log: its first event does not say which"
		    " digests it has" },
		{ 32 + 24, 9,
		    "event log: its first event does not say which"
		    " digests it has" },
		{ 32 + 30, 65,
		    "event log: its first event does not say which"
		    " digests it has" },
		{ 32 + 30, 31, "event log: its SHA-256 digests have 31 bytes" },
	};

	for (size_t i = 0; i < LY_COUNT(lies); i++) {
		gen_start(&gen, 1);
		gen.log[lies[i].at] = lies[i].is;
		want_text(replay(), LY_MALFORMED, &why, lies[i].text);
	}
}

TEST(an_event_has_each_bank_once_and_a_pcr_there_is)
{
	size_t event;

	gen_start(&gen, 2);
	event = gen.len;
	gen_event(&gen, 4, 5, "x", 1);
	WANT_INT(replay(), LY_OK);
	gen.log[event + 8] = 1; /* digests it has */
	WANT_INT(replay(), LY_MALFORMED);
	gen.log[event + 8] = 3;
	WANT_INT(replay(), LY_MALFORMED);
	gen.log[event + 8] = 2;
	gen.log[event + 12] = 13; /* a bank that the first event has not */
	WANT_INT(replay(), LY_MALFORMED);
	gen.log[event + 12] = 4;
	gen.log[event] = 24;
	want_text(replay(), LY_MALFORMED, &why,
	    "event log: event 1 is not whole");
	gen_start(&gen, 1);
	gen_event(&gen, 0xffffffff, 3, "x", 1); /* extends nothing: may be */
	WANT_INT(replay(), LY_OK);
}

TEST(an_event_with_one_bank_twice_is_malformed)
{
	size_t event;

	gen_start(&gen, 2);
	gen.log[32 + 28] = 11; /* both banks are SHA-256, with 32 bytes */
	gen.log[32 + 30] = 32;
	event = gen.len;
	gen_le(&gen, 4, 4);
	gen_le(&gen, 5, 4);
	gen_le(&gen, 2, 4);
	for (int i = 0; i < 2; i++) {
		gen_le(&gen, 11, 2);
		gen_bytes(&gen, gen.pcr[0], 32);
	}
	gen_le(&gen, 0, 4);
	WANT(gen.len > event);
	WANT_INT(replay(), LY_MALFORMED);
}

TEST(a_log_over_its_limits_is_malformed)
{
	static const uint8_t page[4096];

	gen_start(&gen, 1);
	while (gen.len <= LY_LOG_MAX - 54 - sizeof(page))
		gen_event(&gen, 4, 5, page, sizeof(page));
	WANT_INT(replay(), LY_OK);
	gen.len = LY_LOG_MAX + 1;
	want_text(replay(), LY_MALFORMED, &why,
	    "event log: 163841 bytes, more than 163840");
}

TEST_MAIN()

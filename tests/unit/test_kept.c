/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of a VM outlives its agent: it comes back the same, and what cannot be
 * is refused. The layout's number is in here, so that who changes a table is
 * told to count LY_KEPT_VERSION up.
 */
#include "agent/away/kept.h"
#include "tests/test.h"

static struct ly_away away;
static struct ly_swtpm guest;
static struct ly_vm_kept vm;
static uint8_t buf[LY_KEPT_MAX];
static size_t len;
static struct ly_why why;

static void
fill(void *out, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((uint8_t *)out)[i] = (uint8_t)(i + 1);
}

/* A VM whose command is under way. */
static void
make(void)
{
	away = (struct ly_away){ .state = LY_AWAY_HELD,
		.linked = true,
		.up = true,
		.epoch = 3,
		.seq = 7,
		.sent = LY_SENT_COMMAND,
		.waiting_since = 1000 };
	fill(away.secret, sizeof(away.secret));
	ly_swtpm_init(&guest, LY_GUEST_ATTACHED);
	guest.session = guest.inited = guest.busy = true;
	guest.locality = 2;
	fill(guest.buf, sizeof(guest.buf));
	vm = (struct ly_vm_kept){ .id = { { 1 } },
		.name = { (const uint8_t *)"web1", 4 },
		.state = LY_VM_RUNNING,
		.guest_owed = true,
		.served = true,
		.asked_by = LY_ASKER_QEMU,
		.sent_len = 12,
		.sent_seq = 7,
		.token_len = 88 };
	len = ly_kept_pack(&vm, &away, &guest, buf);
}

static enum ly_rc
back(void)
{
	return ly_kept_unpack(buf, len, &vm, &away, &guest, &why);
}

static enum ly_rc
again(void)
{
	len = ly_kept_pack(&vm, &away, &guest, buf);
	return back();
}

TEST(all_of_a_vm_comes_back_as_it_was)
{
	struct ly_away a;
	struct ly_swtpm g;

	make();
	a = away;
	g = guest;
	memset(&away, 0xaa, sizeof(away));
	memset(&guest, 0xaa, sizeof(guest));
	WANT_INT(back(), LY_OK);
	WANT_INT(away.state, a.state);
	WANT_INT(away.sent, a.sent);
	WANT_INT(away.seq, a.seq);
	WANT_INT(away.waiting_since, a.waiting_since);
	WANT_MEM(away.secret, a.secret, sizeof(a.secret));
	WANT(away.up && away.linked && !away.reset);
	WANT_INT(guest.mode, g.mode);
	WANT_INT(guest.locality, g.locality);
	WANT_INT(guest.need, g.need);
	WANT_MEM(guest.buf, g.buf, sizeof(g.buf));
	WANT(guest.session && guest.busy && !guest.orphan);
	WANT_INT(vm.name.len, 4);
	WANT_MEM(vm.name.at, "web1", 4);
	WANT_INT(vm.sent_seq, 7);
	WANT_INT(vm.token_len, 88);
	WANT_INT(vm.asked_by, LY_ASKER_QEMU);
}

/* A row's member follows the one before it, but for what its alignment asks:
 * a member that no row keeps would show as a hole. */
static void
no_hole(const struct ly_message *m)
{
	size_t end = 0;

	for (size_t i = 0; i < m->fields_n; i++) {
		const struct ly_field *f = &m->fields[i];
		size_t align = f->kind == LY_KIND_UINT ? f->size : 1;

		WANT_INT(f->offset, (end + align - 1) / align * align);
		end = f->offset + f->size;
	}
	WANT(m->size - end < 8);
}

TEST(every_member_of_the_two_machines_is_kept)
{
	no_hole(&ly_away_kept);
	no_hole(&ly_swtpm_kept);
}

TEST(the_longest_fits)
{
	static const uint8_t text[LY_WHY_MAX] = { 'x' };

	make();
	vm.name = (struct ly_bytes){ text, LY_NAME_MAX - 1 };
	vm.why = (struct ly_bytes){ text, LY_KEPT_WHY };
	WANT_INT(again(), LY_OK);
	WANT_INT(len,
	    2 + ly_message_max(&ly_away_kept) + ly_message_max(&ly_swtpm_kept) +
		ly_message_max(&ly_vm_kept));
	WANT(len <= LY_KEPT_MAX);
}

/* LY_VECTORS=write: a seed for the fuzzer of these bytes. */
TEST(the_fuzzer_has_a_seed_of_this_layout)
{
	static const char path[] = "tests/fuzz/corpus/kept/command";
	const char *say = getenv("LY_VECTORS");
	bool writes = say && strcmp(say, "write") == 0;
	uint8_t seed[2 + LY_KEPT_MAX + 12] = { 0 };
	uint8_t there[sizeof(seed)];
	FILE *f = fopen(path, writes ? "wb" : "rb");

	if (!f)
		SKIP("not run at the root of the tree");
	make();
	seed[0] = (uint8_t)(len >> 8);
	seed[1] = (uint8_t)len;
	memcpy(seed + 2, buf, len);
	for (size_t i = 0; i < 12; i++)
		seed[2 + len + i] = (uint8_t)(5 * i);
	if (writes)
		WANT_INT(fwrite(seed, 1, len + 14, f), len + 14);
	else
		WANT_INT(fread(there, 1, sizeof(there), f), len + 14);
	fclose(f);
	if (!writes)
		WANT_MEM(there, seed, len + 14);
}

TEST(another_version_is_refused)
{
	make();
	buf[1]++;
	WANT_INT(back(), LY_MALFORMED);
	WANT(strstr(why.text, "version"));
}

TEST(who_changes_a_table_counts_the_version_up)
{
	uint32_t sum = ly_message_layout(&ly_away_kept) ^
	    ly_message_layout(&ly_swtpm_kept) * 3 ^
	    ly_message_layout(&ly_vm_kept) * 5;

	WANT_INT(LY_KEPT_VERSION, 2);
	WANT_INT(sum, 0xfd485a4a);
}

TEST(no_part_of_it_is_taken_for_all)
{
	make();
	for (size_t n = len; n-- > 0;) {
		len = n;
		WANT_INT(back(), LY_MALFORMED);
	}
}

TEST(a_byte_too_many_is_refused)
{
	make();
	buf[len++] = 0;
	WANT_INT(back(), LY_MALFORMED);
}

TEST(values_out_of_their_range_are_refused)
{
	make();
	buf[2 + 3] = LY_AWAY_STATES;
	WANT_INT(back(), LY_MALFORMED);
	WANT(strstr(why.text, "state"));
	make();
	buf[2 + 4] = 2; /* a bool */
	WANT_INT(back(), LY_MALFORMED);
	WANT(strstr(why.text, "linked"));
}

TEST(what_contradicts_itself_is_refused)
{
	make();
	away.linked = false;
	WANT_INT(again(), LY_MALFORMED);
	make();
	away.epoch = 0;
	WANT_INT(again(), LY_MALFORMED);
	make();
	vm.guest_owed = false;
	WANT_INT(again(), LY_MALFORMED);
	make();
	guest.busy = false;
	WANT_INT(again(), LY_MALFORMED);
	make();
	vm.sent_seq = 6;
	WANT_INT(again(), LY_MALFORMED);
	make();
	vm.asked_by = LY_ASKER_NONE;
	WANT_INT(again(), LY_MALFORMED);
	make();
	vm.moving = LY_MOVING_OUT;
	WANT_INT(again(), LY_MALFORMED);
	make();
	guest.phase = 1;
	guest.code = 0x99;
	WANT_INT(again(), LY_MALFORMED);
	make();
	guest.have = guest.need + 1;
	WANT_INT(again(), LY_MALFORMED);
	make();
	guest.waiting = LY_SWTPM_RESTORE;
	WANT_INT(again(), LY_MALFORMED);
}

static uint32_t
chance(uint32_t below)
{
	static uint32_t x = 42;

	x = x * 1664525 + 1013904223;
	return (x >> 8) % below;
}

/* Whatever is taken can be packed again, and gives the same bytes. */
TEST(random_damage_is_refused_or_harmless)
{
	uint8_t copy[LY_KEPT_MAX];
	unsigned taken = 0;

	for (int i = 0; i < 20000; i++) {
		make();
		for (unsigned n = 1 + chance(4); n > 0; n--)
			buf[chance((uint32_t)len)] = (uint8_t)chance(256);
		if (back() != LY_OK)
			continue;
		taken++;
		memcpy(copy, buf, len);
		WANT_INT(ly_kept_pack(&vm, &away, &guest, buf), len);
		WANT_MEM(buf, copy, len);
	}
	WANT(taken > 0);
}

TEST(a_machine_that_wakes_knows_its_command_but_no_door)
{
	struct ly_away_todos todo = { .n = 0 };
	struct ly_away_event up = { .kind = LY_AWAY_UP, .now_ms = 2000 };

	make();
	away.retry_at = 1100;
	ly_away_wake(&away, 1500);
	WANT(!away.linked && !away.up);
	WANT_INT(away.retry_at, 0);
	WANT_INT(away.waiting_since, 1000);
	WANT_INT(away.seq, 7);
	ly_away_step(&away, &up, &todo);
	WANT_INT(todo.n, 1);
	WANT_INT(todo.act[0].act, LY_SAY_RESUME);
	WANT(todo.act[0].waiting);
}

TEST(a_machine_that_wakes_numbers_nothing_before_the_home_has_heard_of_it)
{
	struct ly_away_todos todo = { .n = 0 };
	struct ly_away_event ev = { .kind = LY_AWAY_COMMAND, .now_ms = 2000 };

	make();
	away.sent = LY_SENT_NONE;
	ly_away_wake(&away, 1500);
	ly_away_step(&away, &ev, &todo);
	WANT_INT(todo.n, 0);
	WANT_INT(away.seq, 7);
}

/* The clock may have begun anew; then the grace does, too. */
TEST(a_wait_that_began_in_the_future_began_now)
{
	make();
	away.waiting_since = 5000;
	ly_away_wake(&away, 1500);
	WANT_INT(away.waiting_since, 1500);
}

TEST_MAIN()

/* SPDX-License-Identifier: Apache-2.0 */
/* lib/io/approvals: the newest list of each site, over restarts too. */
#include "lib/io/approvals.h"
#include "lib/io/file.h"
#include "tests/unit/policy_pem.h"

#include "tests/test.h"

#include <sys/stat.h>
#include <unistd.h>

static char dir[64], lists[96], trust[96];
static struct authority pol, other;
static struct list made;
static struct ly_approvals *a;
static struct ly_why why;

static void
pin(const char *site, const struct authority *of)
{
	char path[160];

	ly_print(path, sizeof(path), "%s/%s.policy.pem", trust, site);
	write_key(path, of);
}

static void
open_again(void)
{
	ly_approvals_free(a);
	WANT_INT(ly_approvals_open(lists, trust, &a, &why), LY_OK);
}

static void
begin(void)
{
	static unsigned turn;

	ly_print(dir, sizeof(dir), "/tmp/lyappr-%d-%u", (int)getpid(), turn++);
	ly_print(lists, sizeof(lists), "%s/approved", dir);
	ly_print(trust, sizeof(trust), "%s/trust", dir);
	WANT_INT(ly_file_mkdir(trust, 0700, &why), LY_OK);
	authority_make(&pol, 1);
	authority_make(&other, 2);
	pin("south", &pol);
	open_again();
}

static void
end(void)
{
	char cmd[96];

	ly_approvals_free(a);
	a = NULL;
	ly_print(cmd, sizeof(cmd), "rm -rf %s", dir);
	WANT_INT(system(cmd), 0);
}

static struct ly_bytes
list(uint64_t serial, const char *note, const struct authority *by)
{
	list_start(&made, "south", serial, 1);
	list_add(&made, "compute", note, 1);
	return sign_list(&made, by);
}

static enum ly_rc
take(struct ly_bytes b, enum ly_approvals_news *news)
{
	return ly_approvals_take(a, "south", b, news, &why);
}

TEST(the_newest_list_stays_and_an_older_one_is_known_as_such)
{
	enum ly_approvals_news news;

	begin();
	WANT(!ly_approvals_of(a, "south"));
	WANT_INT(take(list(2, "two", &pol), &news), LY_OK);
	WANT_INT(news, LY_APPROVALS_NEWER);
	WANT_INT(take((struct ly_bytes){ made.bytes, made.len }, &news), LY_OK);
	WANT_INT(news, LY_APPROVALS_SAME);
	WANT_INT(take(list(1, "one", &pol), &news), LY_OK);
	WANT_INT(news, LY_APPROVALS_OLDER);
	WANT_INT(ly_approvals_of(a, "south")->serial, 2);
	WANT_INT(take(list(9, "nine", &pol), &news), LY_OK);
	WANT_STR(ly_approvals_of(a, "south")->of[0].note, "nine");
	WANT_STR(ly_approvals_site(a, 0), "south");
	WANT(!ly_approvals_site(a, 1));
	end();
}

TEST(a_list_outlives_us_and_its_serial_with_it)
{
	enum ly_approvals_news news;

	begin();
	WANT_INT(take(list(5, "five", &pol), &news), LY_OK);
	open_again();
	WANT_INT(ly_approvals_of(a, "south")->serial, 5);
	WANT_MEM(ly_approvals_bytes(a, "south").at, made.bytes, made.len);
	WANT_INT(take(list(4, "four", &pol), &news), LY_OK);
	WANT_INT(news, LY_APPROVALS_OLDER);
	end();
}

TEST(another_list_of_one_serial_is_refused)
{
	enum ly_approvals_news news;

	begin();
	WANT_INT(take(list(5, "five", &pol), &news), LY_OK);
	WANT_INT(take(list(5, "FIVE", &pol), &news), LY_REFUSED);
	WANT_STR(why.text,
	    "approved states of south: another list 5 than we have");
	WANT_STR(ly_approvals_of(a, "south")->of[0].note, "five");
	end();
}

TEST(a_list_of_a_key_that_is_not_pinned_is_refused)
{
	enum ly_approvals_news news;

	begin();
	WANT_INT(take(list(2, "two", &other), &news), LY_REFUSED);
	WANT(!ly_approvals_of(a, "south"));
	WANT_INT(ly_approvals_take(a, "west", list(2, "two", &pol), &news,
		     &why),
	    LY_UNKNOWN);
	WANT_INT(ly_approvals_take(a, "../south", list(2, "two", &pol), &news,
		     &why),
	    LY_UNKNOWN);
	end();
}

TEST(what_an_old_key_signed_is_gone_when_another_is_pinned)
{
	enum ly_approvals_news news;
	struct ly_point key;

	begin();
	WANT_INT(take(list(7, "seven", &pol), &news), LY_OK);
	pin("south", &other);
	WANT(!ly_approvals_of(a, "south"));
	WANT_INT(ly_approvals_bytes(a, "south").len, 0);
	WANT_INT(ly_approvals_key(a, "south", &key, &why), LY_OK);
	WANT_MEM(&key, &other.key, sizeof(key));
	WANT_INT(take(list(1, "one", &other), &news), LY_OK);
	WANT_INT(ly_approvals_of(a, "south")->serial, 1);
	end();
}

TEST(a_file_that_was_changed_is_left_alone)
{
	enum ly_approvals_news news;
	char path[160];

	begin();
	WANT_INT(take(list(3, "three", &pol), &news), LY_OK);
	made.bytes[40] ^= 1;
	ly_print(path, sizeof(path), "%s/south.list", lists);
	WANT_INT(ly_file_write(path, made.bytes, made.len, 0644, &why), LY_OK);
	open_again();
	WANT(!ly_approvals_of(a, "south"));
	end();
}

TEST(a_list_that_cannot_be_kept_is_not_taken)
{
	enum ly_approvals_news news;
	char path[160];

	begin();
	ly_print(path, sizeof(path), "%s/south.list", lists);
	WANT_INT(mkdir(path, 0700), 0); /* in the file's place */
	WANT_INT(take(list(3, "three", &pol), &news), LY_OUTSIDE);
	WANT(!ly_approvals_of(a, "south"));
	end();
}

TEST_MAIN()

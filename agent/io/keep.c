/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kept memory (a memfd that can neither shrink nor grow) and the named
 * descriptors; who inherits them, and who gets them next. Slots are in slot.c.
 */
#include "agent/io/keep_in.h"
#include "lib/base/text.h"
#include "lib/io/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* The first bytes of the memory. Any difference is another layout. */
struct head {
	char magic[8];
	uint32_t version, slots;
	struct ly_shape shapes[LY_KEEP_KINDS];
};

static void
our_head(struct head *h)
{
	*h = (struct head){ .magic = "LYKEPT\n",
		.version = 1,
		.slots = LY_KEEP_SLOTS };
	memcpy(h->shapes, ly_slot_shapes, sizeof(h->shapes));
}

struct ly_slot *
ly_keep_next(struct ly_keep *k, enum ly_keep_kind kind,
    const struct ly_slot *after)
{
	for (uint32_t i = after ? after->index + 1 : 0; i < LY_KEEP_SLOTS; i++)
		if (k->slots[kind][i])
			return k->slots[kind][i];
	return NULL;
}

/* ---- named ones ---- */

static struct named *
named(struct ly_keep *k, const char *name)
{
	for (size_t i = 0; i < LY_KEEP_NAMED; i++)
		if (strcmp(k->named[i].name, name) == 0)
			return &k->named[i];
	return NULL;
}

int
ly_keep_named(struct ly_keep *k, const char *name)
{
	struct named *n = *name ? named(k, name) : NULL;

	if (!n || !n->given)
		return -1;
	n->given = false;
	return n->fd;
}

void
ly_keep_put_named(struct ly_keep *k, const char *name, int fd)
{
	struct named *n = named(k, name);
	struct key key = { .kind = LY_KEEPER_NAMES };

	if (!n && fd < 0)
		return;
	if (!n)
		n = named(k, "");
	assert(n && *name);
	key.index = (uint32_t)(n - k->named) + 1;
	if (n->given)
		close(n->fd);
	n->given = false;
	n->fd = fd;
	ly_copy(n->name, sizeof(n->name), fd < 0 ? "" : name);
	if (fd >= 0)
		ly_keeper_put(k, key, name, fd);
	else
		ly_keeper_drop(k, key);
}

/* ---- inheriting ---- */

static void
given_named(struct ly_keep *k, const struct ly_keeper_msg *m, int fd)
{
	struct named *n;

	if (m->index == 0 && k->memory < 0) {
		k->memory = fd;
		return;
	}
	if (m->index == 0 || m->index > LY_KEEP_NAMED) {
		close(fd);
		return;
	}
	n = &k->named[m->index - 1];
	ly_copy(n->name, sizeof(n->name), m->name);
	n->fd = fd;
	n->given = true;
}

void
ly_keep_given(struct ly_keep *k, const struct ly_keeper_msg *m, int fd)
{
	struct ly_slot *s;

	if (m->kind == LY_KEEPER_NAMES) {
		given_named(k, m, fd);
		return;
	}
	if (m->index >= LY_KEEP_SLOTS || m->which >= 2 * LY_SLOT_FDS) {
		close(fd);
		return;
	}
	s = k->slots[m->kind][m->index];
	if (!s)
		s = ly_slot_make(k, (enum ly_keep_kind)m->kind, m->index);
	if (m->which < LY_SLOT_FDS)
		s->fd[m->which] = fd;
	else
		s->out[m->which - LY_SLOT_FDS] = fd;
}

static enum ly_rc
map_memory(struct ly_keep *k, struct ly_why *why)
{
	void *at = mmap(NULL, ly_slots_size(), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_NORESERVE, k->memory, 0);

	if (at == MAP_FAILED)
		return ly_fail(why, LY_OUTSIDE, "kept memory: %s",
		    strerror(errno));
	(void)madvise(at, ly_slots_size(), MADV_DONTDUMP); /* it has secrets */
	k->mem = at;
	return LY_OK;
}

static enum ly_rc
make_memory(struct ly_keep *k, struct ly_why *why)
{
	struct head h;

	our_head(&h);
	k->memory = memfd_create("lanyard", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (k->memory < 0 ||
	    ftruncate(k->memory, (off_t)ly_slots_size()) != 0 ||
	    pwrite(k->memory, &h, sizeof(h), 0) != (ssize_t)sizeof(h) ||
	    fcntl(k->memory, F_ADD_SEALS,
		F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
		return ly_fail(why, LY_OUTSIDE, "kept memory: %s",
		    strerror(errno));
	return map_memory(k, why);
}

static enum ly_rc
check_memory(struct ly_keep *k, struct ly_why *why)
{
	struct head ours, theirs;
	struct stat st;

	our_head(&ours);
	if (k->memory < 0)
		return ly_fail(why, LY_REFUSED,
		    "no memory was kept: the agent"
		    " before this one was killed while it handed over");
	if (pread(k->memory, &theirs, sizeof(theirs), 0) !=
		(ssize_t)sizeof(theirs) ||
	    memcmp(theirs.magic, ours.magic, sizeof(ours.magic)) != 0)
		return ly_fail(why, LY_REFUSED, "what was kept is not ours");
	if (memcmp(&theirs, &ours, sizeof(ours)) != 0 ||
	    fstat(k->memory, &st) != 0 ||
	    (uint64_t)st.st_size != ly_slots_size())
		return ly_fail(why, LY_REFUSED,
		    "what was kept has another layout (version %u, ours %u):"
		    " written by another version of lanyard-agent",
		    theirs.version, ours.version);
	return LY_OK;
}

/* All that was given is closed; the slots and names are forgotten. */
static void
forget(struct ly_keep *k)
{
	for (unsigned kind = 0; kind < LY_KEEP_KINDS; kind++)
		for (uint32_t i = 0; i < LY_KEEP_SLOTS; i++)
			if (k->slots[kind][i])
				ly_slot_forget(k->slots[kind][i]);
	for (size_t i = 0; i < LY_KEEP_NAMED; i++) {
		if (k->named[i].given)
			close(k->named[i].fd);
		k->named[i] = (struct named){ .fd = -1 };
	}
	if (k->memory >= 0)
		close(k->memory);
	k->memory = -1;
	if (k->mem)
		munmap(ly_take(k->mem), ly_slots_size());
}

static enum ly_rc
inherit(struct ly_keep *k, struct ly_why *why)
{
	enum ly_rc rc = ly_keeper_join(k, why);

	if (rc == LY_OK)
		rc = check_memory(k, why);
	if (rc == LY_OK)
		rc = map_memory(k, why);
	if (rc != LY_OK)
		return rc;
	ly_keeper_watch(k);
	ly_slots_wake(k, LY_KEEP_AWAY);
	ly_slots_wake(k, LY_KEEP_HOME);
	return LY_OK;
}

static enum ly_rc
begin(struct ly_keep *k, struct ly_why *why)
{
	enum ly_rc rc = make_memory(k, why);

	if (rc == LY_OK)
		rc = ly_keeper_start(k, why);
	if (rc == LY_OK)
		ly_keep_hand_over(k);
	return rc;
}

/* ---- the whole ---- */

void
ly_keep_hand_over(struct ly_keep *k)
{
	for (unsigned kind = 0; kind < LY_KEEP_KINDS; kind++)
		for (uint32_t i = 0; i < LY_KEEP_SLOTS; i++)
			if (k->slots[kind][i])
				ly_slot_hand_over(k->slots[kind][i]);
	for (uint32_t i = 0; i < LY_KEEP_NAMED; i++)
		if (k->named[i].fd >= 0)
			ly_keeper_put(k,
			    (struct key){ LY_KEEPER_NAMES, i + 1, 0 },
			    k->named[i].name, k->named[i].fd);
	ly_keeper_put(k, (struct key){ .kind = LY_KEEPER_NAMES }, "memory",
	    k->memory);
}

static void
on_closed(uv_handle_t *handle)
{
	struct ly_keep *k = handle->data;

	for (unsigned kind = 0; kind < LY_KEEP_KINDS; kind++)
		free(k->slots[kind]);
	free(k);
}

void
ly_keep_close(struct ly_keep *k, bool end)
{
	ly_keeper_leave(k, end);
	forget(k);
	uv_close((uv_handle_t *)&k->again, on_closed);
}

static struct ly_keep *
keep_make(uv_loop_t *loop)
{
	struct ly_keep *k = calloc(1, sizeof(*k));

	if (!k)
		abort();
	k->loop = loop;
	k->conn = k->memory = -1;
	uv_timer_init(loop, &k->again);
	k->again.data = k;
	for (unsigned kind = 0; kind < LY_KEEP_KINDS; kind++) {
		k->slots[kind] = calloc(LY_KEEP_SLOTS,
		    sizeof(struct ly_slot *));
		if (!k->slots[kind])
			abort();
	}
	for (size_t i = 0; i < LY_KEEP_NAMED; i++)
		k->named[i].fd = -1;
	return k;
}

enum ly_rc
ly_keep_open(uv_loop_t *loop, const char *run, struct ly_keep **out,
    struct ly_why *why)
{
	struct ly_keep *k = keep_make(loop);
	enum ly_rc rc;

	if (ly_print(k->path, sizeof(k->path), "%s/keeper.sock", run))
		rc = inherit(k, why);
	else
		rc = ly_fail(why, LY_FULL, "%s: too long for a socket", run);
	if (rc == LY_OUTSIDE || rc == LY_REFUSED)
		ly_log_alarm("keeper",
		    "nothing is inherited, and guests that were running here"
		    " have no TPM until they are started anew: %s",
		    why->text);
	if (rc == LY_OUTSIDE || rc == LY_REFUSED || rc == LY_UNKNOWN) {
		ly_keeper_leave(k, true);
		forget(k);
		rc = begin(k, why);
	}
	if (rc == LY_OK)
		*out = k;
	else
		ly_keep_close(k, true);
	return rc;
}

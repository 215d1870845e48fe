/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TPM that is a device of Linux: /dev/tpmrm0, or /dev/tpm0. One write is one
 * command, one read its answer.
 *
 * What Linux does (drivers/char/tpm/tpm-dev-common.c), and what follows:
 *
 * - A write to a descriptor with O_NONBLOCK copies the command and returns; a
 *   worker of the kernel runs it, whether its writer lives or not. The open
 *   file is kept, so the answer waits for the next agent.
 * - The worker holds the file's lock while the TPM works, and every poll, read
 *   and write of that file waits for it. So nothing here touches the file while
 *   a command runs: an epoll set of its own watches it, edge-triggered, which
 *   looks at the file only when the worker has woken it.
 * - A write while there is a command or an answer that was not read is EBUSY.
 *   So after a death of the agent between commit and write, or write and read,
 *   the command is simply written again: EBUSY says that it was written before.
 *   That write may wait for the TPM: it is done in a thread.
 * - A read takes the answer out of the kernel. It goes straight into the slot's
 *   memory, whose first bytes were zeroed before the command was committed: if
 *   they are no longer zero, it was read.
 * - An answer that nobody reads for 120 s is dropped by the kernel. So a
 *   command that was asked longer than DOUBT_MS ago is not written again: if
 *   there is no answer to it, it is in doubt, and the TPM is given up.
 */
#include "agent/io/tpmdev.h"

#include "agent/io/tpm_kind.h"
#include "lib/io/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

/* The values are kept. */
enum phase { IDLE = 0, COMMAND = 1, SOON = 2 };

#define RESULT_OK 0u
#define RESULT_BAD_ORDINAL 10u
#define DOUBT_MS 100000
#define LY_AREA_READ LY_AREA_OUT_CTRL /* there is no control channel */

struct dev {
	struct ly_tpm base;
	int watch; /* an epoll set of the device */
	uv_poll_t poll;
	uv_timer_t soon;
	uint32_t len; /* of the command that is to be written */
	uint8_t open; /* handles, and the thread below */
};

/* In a thread, what may have been written is written again or, too late for
 * that, its answer is looked for. It has copies of all that the owner may have
 * closed when it comes back from a TPM that hangs. */
struct again {
	uv_work_t work;
	struct dev *dev;
	int fd, device, watch; /* `fd` is its own */
	bool late;
	size_t len;
	ssize_t got;
	int error;
	uint8_t bytes[LY_TPM_MAX]; /* the command, or its answer */
};

static int
device(const struct dev *d)
{
	return d->base.slot->fd[LY_SLOT_DATA];
}

/* Its first bytes tell whether the answer was read. */
static uint8_t *
read_area(const struct dev *d)
{
	return ly_slot_area(d->base.slot, LY_AREA_READ, LY_TPM_MAX);
}

static uint8_t *
command_area(const struct dev *d, size_t len)
{
	return ly_slot_area(d->base.slot, LY_AREA_OUT_DATA, len);
}

static void
stop(struct dev *d)
{
	if (d->base.closing)
		return;
	uv_poll_stop(&d->poll);
	uv_timer_stop(&d->soon);
}

#define die(d, ...)                                                            \
	do {                                                                   \
		stop(d);                                                       \
		ly_tpm_die(&(d)->base, __VA_ARGS__);                           \
	} while (0)

/* ---- asking ---- */

static void
on_soon(uv_timer_t *timer)
{
	struct dev *d = timer->data;

	ly_tpm_result(&d->base, d->base.k.result);
}

static void
soon(struct dev *d, uint32_t result)
{
	d->base.k.phase = SOON;
	d->base.k.result = result;
	uv_timer_start(&d->soon, on_soon, 0, 0);
}

static void
submit(struct ly_tpm *t, const uint8_t *body, size_t len)
{
	struct dev *d = LY_HOLDER(t, struct dev, base);

	if (t->k.op != LY_OP_TPM) {
		soon(d, t->k.op == LY_OP_INIT ? RESULT_OK : RESULT_BAD_ORDINAL);
	} else if (t->k.wanted != 0) {
		soon(d, LY_TPM_RC_LOCALITY);
	} else {
		memcpy(command_area(d, len), body, len);
		memset(read_area(d), 0, LY_TPM_HEAD);
		t->k.later = d->len = (uint32_t)len;
		t->k.phase = COMMAND;
	}
}

static void
settle(struct ly_tpm *t)
{
	struct dev *d = LY_HOLDER(t, struct dev, base);
	size_t len = d->len;

	if (!len)
		return;
	d->len = 0;
	if (write(device(d), command_area(d, len), len) != (ssize_t)len)
		die(d, "it takes no commands: %s", strerror(errno));
}

/* ---- being answered ---- */

static void
on_answer(struct dev *d, const uint8_t *answer, size_t len)
{
	size_t size = 0;

	if (ly_tpm_size(answer, len, LY_TPM_MAX, &size) != LY_OK ||
	    size > len) {
		die(d, "%zu bytes that are no TPM answer", len);
		return;
	}
	d->base.k.later = 0;
	ly_tpm_answered(&d->base, answer, size);
	if (d->base.dead)
		stop(d);
}

static void
on_ready(uv_poll_t *poll, int status, int events)
{
	struct dev *d = poll->data;
	struct epoll_event ev;
	uint8_t *answer = read_area(d);
	ssize_t n;

	(void)status;
	(void)events;
	if (epoll_wait(d->watch, &ev, 1, 0) <= 0)
		return;
	n = read(device(d), answer, LY_TPM_MAX);
	if (n == 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return; /* not yet */
	if (n < 0)
		die(d, "it does not answer: %s", strerror(errno));
	else if (d->base.k.phase != COMMAND)
		die(d, "it speaks unasked");
	else
		on_answer(d, answer, (size_t)n);
}

/* May wait for the TPM when a command is under way. */
static bool
watch(int set, int device)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };

	return epoll_ctl(set, EPOLL_CTL_ADD, device, &ev) == 0;
}

/* ---- after a death of the agent ---- */

static void
again_work(uv_work_t *work)
{
	struct again *a = LY_HOLDER(work, struct again, work);

	if (a->late)
		a->got = read(a->fd, a->bytes, sizeof(a->bytes));
	else if (write(a->fd, a->bytes, a->len) < 0 && errno != EBUSY)
		a->error = errno;
	if (a->got < 0 || (!a->error && !watch(a->watch, a->device)))
		a->error = errno;
}

static void
gone(struct dev *d)
{
	if (--d->open > 0)
		return;
	close(d->watch);
	ly_tpm_gone(&d->base);
}

static void
again_over(uv_work_t *work, int status)
{
	struct again *a = LY_HOLDER(work, struct again, work);
	struct dev *d = a->dev;

	if (status != 0 || a->error)
		die(d, "it takes no commands: %s",
		    strerror(a->error ? a->error : ECANCELED));
	else if (a->late && a->got == 0)
		die(d, "asked %u s ago: the kernel may have dropped its answer",
		    (unsigned)((ly_boot_ms() - d->base.k.asked_ms) / 1000));
	else if (a->late && !d->base.closing)
		on_answer(d, a->bytes, (size_t)a->got);
	close(a->fd);
	ly_wipe(a->bytes, sizeof(a->bytes));
	free(a);
	gone(d);
}

static void
ask_again(struct dev *d)
{
	struct again *a = calloc(1, sizeof(*a));

	if (!a)
		abort();
	a->dev = d;
	a->device = device(d);
	a->fd = fcntl(a->device, F_DUPFD_CLOEXEC, 0);
	a->watch = d->watch;
	a->late = ly_boot_ms() - d->base.k.asked_ms > DOUBT_MS;
	a->len = d->base.k.later;
	memcpy(a->bytes, command_area(d, a->len), a->len);
	d->open++;
	if (a->fd < 0 ||
	    uv_queue_work(d->poll.loop, &a->work, again_work, again_over) != 0)
		abort(); /* out of descriptors: the next agent may have more */
}

/* It was read before the agent died. */
static void
on_was_read(uv_timer_t *timer)
{
	struct dev *d = timer->data;

	on_answer(d, read_area(d), LY_TPM_MAX);
}

/* False: the device cannot be watched. */
static bool
go_on(struct dev *d)
{
	static const uint8_t none[LY_TPM_HEAD];

	if (d->base.k.phase == SOON) {
		uv_timer_start(&d->soon, on_soon, 0, 0);
	} else if (d->base.k.phase == COMMAND &&
	    memcmp(read_area(d), none, sizeof(none)) != 0) {
		uv_timer_start(&d->soon, on_was_read, 0, 0);
	} else if (d->base.k.phase == COMMAND) {
		ask_again(d);
		return true;
	}
	return watch(d->watch, device(d));
}

/* ---- opening and closing ---- */

static void
on_closed(uv_handle_t *handle)
{
	gone(handle->data);
}

/* A thread that waits for the TPM goes on waiting; the last one out frees. */
static void
close_dev(struct ly_tpm *t)
{
	struct dev *d = LY_HOLDER(t, struct dev, base);

	uv_close((uv_handle_t *)&d->poll, on_closed);
	uv_close((uv_handle_t *)&d->soon, on_closed);
}

static const struct ly_tpm_kind kind = { LY_TPM_DEVICE, submit, NULL, settle,
	close_dev };

/* The slot has the device. */
static enum ly_rc
dev_new(uv_loop_t *loop, struct ly_slot *slot, const struct ly_tpm_kept *kept,
    struct ly_tpm **out, struct ly_why *why)
{
	struct dev *d = calloc(1, sizeof(*d));

	if (!d)
		abort();
	d->base.kind = &kind;
	d->base.slot = slot;
	if (kept)
		d->base.k = *kept;
	d->watch = epoll_create1(EPOLL_CLOEXEC);
	if (d->watch < 0 || uv_poll_init(loop, &d->poll, d->watch) != 0)
		abort(); /* out of descriptors: the next agent may have more */
	uv_timer_init(loop, &d->soon);
	d->poll.data = d->soon.data = d;
	d->open = 2;
	if (!go_on(d)) {
		(void)ly_fail(why, LY_OUTSIDE, "epoll: %s", strerror(errno));
		d->base.closing = true;
		close_dev(&d->base);
		return LY_OUTSIDE;
	}
	uv_poll_start(&d->poll, UV_READABLE, on_ready);
	*out = &d->base;
	return LY_OK;
}

enum ly_rc
ly_tpmdev_open(uv_loop_t *loop, const char *path, struct ly_slot *slot,
    struct ly_tpm **out, struct ly_why *why)
{
	int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	enum ly_rc rc;

	if (fd < 0)
		return ly_fail(why, LY_OUTSIDE, "%s: %s", path,
		    strerror(errno));
	ly_slot_put(slot, LY_SLOT_DATA, fd);
	rc = dev_new(loop, slot, NULL, out, why);
	if (rc == LY_OK)
		return rc;
	ly_slot_drop(slot, LY_SLOT_DATA);
	return ly_fail_in(why, rc, "%s", path);
}

enum ly_rc
ly_tpmdev_wake(uv_loop_t *loop, struct ly_slot *slot,
    const struct ly_tpm_kept *kept, struct ly_tpm **out, struct ly_why *why)
{
	if (slot->fd[LY_SLOT_DATA] < 0)
		return ly_fail(why, LY_OUTSIDE, "its open file is lost");
	if (kept->phase == COMMAND && !kept->later)
		return ly_fail(why, LY_OUTSIDE, "a command of no bytes");
	return dev_new(loop, slot, kept, out, why);
}

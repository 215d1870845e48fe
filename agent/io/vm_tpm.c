/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's TPM traffic: between the guest's endpoint and its away machine, and
 * between that and the link to its home.
 */
#include "agent/io/vm_in.h"

#include <stdlib.h>

uint64_t
ly_vm_now_ms(const struct vm *vm)
{
	return uv_now(vm->vms->agent->loop);
}

/* ---- doing as told, after the commit ---- */

static void
say_attach(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_attach m = { .chan = vm->user.chan,
		.vm = vm->id,
		.ticket = { vm->ticket, vm->ticket_len } };

	(void)t;
	ly_link_say(&vm->user, LY_ATTACH, &m);
}

/* A ticket is used up once the lease it asks for is held. */
static void
drop_ticket(struct vm *vm)
{
	free(ly_take(vm->ticket));
	vm->ticket_len = 0;
}

static void
say_resume(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_resume m = { .chan = vm->user.chan,
		.vm = vm->id,
		.epoch = t->epoch,
		.seq = t->seq,
		.waiting = t->waiting };

	memcpy(m.secret, vm->core.secret, sizeof(m.secret));
	ly_link_say(&vm->user, LY_RESUME, &m);
	ly_wipe(&m, sizeof(m));
}

static void
say_command(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_command m = { .chan = vm->user.chan,
		.op = (uint8_t)t->op,
		.epoch = t->epoch,
		.seq = t->seq };

	m.locality = vm->sent.locality;
	m.body = (struct ly_bytes){
		ly_vm_area(vm, LY_AREA_NUMBERED, vm->sent.len), vm->sent.len
	};
	ly_link_say(&vm->user, LY_COMMAND, &m);
}

static void
say_init(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_command m = { .chan = vm->user.chan,
		.op = LY_OP_INIT,
		.epoch = t->epoch,
		.seq = t->seq };

	ly_link_say(&vm->user, LY_COMMAND, &m);
}

static void
say_cancel(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_cancel m = { .chan = vm->user.chan,
		.epoch = t->epoch,
		.seq = t->seq };

	ly_link_say(&vm->user, LY_CANCEL, &m);
}

static void
say_detach(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_detach m = { .chan = vm->user.chan, .epoch = t->epoch };

	ly_link_say(&vm->user, LY_DETACH, &m);
}

static void
say_prestage(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_prestage m = { .chan = vm->user.chan,
		.vm = vm->id,
		.mig = t->mig,
		.ticket = { vm->ticket, vm->ticket_len } };

	ly_link_say(&vm->user, LY_PRESTAGE, &m);
}

static void
say_release(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_release m = { .chan = vm->user.chan,
		.mig = t->mig,
		.epoch = t->epoch,
		.seq = t->seq };

	ly_link_say(&vm->user, LY_RELEASE, &m);
}

static void
say_claim(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_claim m = { .chan = vm->user.chan,
		.mig = t->mig,
		.token = { ly_vm_area(vm, LY_AREA_REQUEST, LY_TOKEN_MAX),
		    vm->token_len } };

	ly_link_say(&vm->user, LY_CLAIM, &m);
}

static void
say_abort(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_query m = { .vm = vm->id, .mig = t->mig };

	ly_link_say(&vm->user, LY_ABORT, &m);
}

static void
say_query(struct vm *vm, const struct ly_away_todo *t)
{
	struct ly_query m = { .vm = vm->id, .mig = t->mig };

	ly_link_say(&vm->user, LY_QUERY, &m);
}

/* An operation's answer is four bytes; a TPM command's is what it is. The
 * guard hears of it first: the guest's next command may come from within. */
static void
give(struct vm *vm, enum ly_op op, const uint8_t *at, size_t len)
{
	struct ly_rd r = ly_rd_over(at, len);

	if (!vm->guest_owed || !vm->guest)
		return;
	vm->guest_owed = false;
	ly_vm_guard_tell(vm, LY_GUARD_ANSWERED);
	if (op == LY_OP_TPM)
		ly_guest_answer(vm->guest, at, len);
	else
		ly_guest_result(vm->guest,
		    len == 4 ? ly_rd_u32(&r) : LY_SWTPM_FAIL);
}

static void
give_failure(struct vm *vm)
{
	uint8_t answer[LY_TPM_HEAD];
	uint8_t result[4] = { 0, 0, 0, LY_SWTPM_FAIL };

	ly_tpm_answer(LY_TPM_RC_FAILURE, answer);
	if (vm->core.op == LY_OP_TPM)
		give(vm, LY_OP_TPM, answer, sizeof(answer));
	else
		give(vm, vm->core.op, result, sizeof(result));
}

static void
do_tell(struct vm *vm, const struct ly_away_todo *t)
{
	if (vm->core.state == LY_AWAY_HELD)
		drop_ticket(vm);
	ly_vm_told(vm, t);
}

static void
do_alarm(struct vm *vm, const struct ly_away_todo *t)
{
	ly_vm_alarm(vm, t->text);
}

static void (*const deeds[])(struct vm *vm, const struct ly_away_todo *t) = {
	[LY_SAY_ATTACH] = say_attach,
	[LY_SAY_RESUME] = say_resume,
	[LY_SAY_COMMAND] = say_command,
	[LY_SAY_INIT] = say_init,
	[LY_SAY_CANCEL] = say_cancel,
	[LY_SAY_DETACH] = say_detach,
	[LY_SAY_PRESTAGE] = say_prestage,
	[LY_SAY_RELEASE] = say_release,
	[LY_SAY_CLAIM] = say_claim,
	[LY_SAY_ABORT] = say_abort,
	[LY_SAY_QUERY] = say_query,
	[LY_TELL] = do_tell,
	[LY_TELL_ALARM] = do_alarm,
};

static void
do_later(struct vm *vm, const struct ly_away_todo *t)
{
	struct deed *d = calloc(1, sizeof(*d)), **end = &vm->deeds;

	if (!d)
		abort();
	d->todo = *t;
	while (*end)
		end = &(*end)->next;
	*end = d;
}

/* Those of one commit. What they make the machine want is for the next. */
void
ly_vm_do_deeds(struct vm *vm)
{
	struct deed *d, *next = ly_take(vm->deeds);

	while ((d = next)) {
		next = d->next;
		deeds[d->todo.act](vm, &d->todo);
		free(d);
	}
}

void
ly_vm_drop_deeds(struct vm *vm)
{
	struct deed *d;

	while ((d = vm->deeds)) {
		vm->deeds = d->next;
		free(d);
	}
}

/* The one that waits has been given a seq. It is kept as it is, for it may have
 * to be said again when the guest, told that it failed, has sent others. */
static void
number_command(struct vm *vm, uint64_t seq)
{
	size_t len = vm->cmd.len;

	if (seq == vm->sent_seq)
		return; /* said again */
	vm->sent = vm->cmd;
	vm->sent_seq = seq;
	if (len)
		memcpy(ly_vm_area(vm, LY_AREA_NUMBERED, len),
		    ly_vm_area(vm, LY_AREA_WAITING, len), len);
}

/* What is for the guest is laid ready for its endpoint now; all else waits for
 * the commit. */
static void
step(struct vm *vm, const struct ly_away_event *ev, struct ly_bytes body)
{
	struct ly_away_todos todo = { .n = 0 };

	ly_away_step(&vm->core, ev, &todo);
	for (unsigned i = 0; i < todo.n; i++) {
		const struct ly_away_todo *t = &todo.act[i];

		if (t->act == LY_GIVE_ANSWER)
			give(vm, t->op, body.at, body.len);
		else if (t->act == LY_GIVE_FAILURE)
			give_failure(vm);
		else
			do_later(vm, t);
		if (t->act == LY_SAY_COMMAND)
			number_command(vm, t->seq);
	}
}

void
ly_vm_feed(struct vm *vm, const struct ly_away_event *ev, const void *body,
    size_t len)
{
	struct ly_away_event now = *ev;

	now.now_ms = ly_vm_now_ms(vm);
	now.lapsed = !ly_link_leased(&vm->user);
	ly_turn_enter(&vm->turn);
	step(vm, &now, (struct ly_bytes){ body, len });
	ly_turn_touch(&vm->turn);
	ly_turn_leave(&vm->turn);
}

/* ---- from the home ---- */

static struct vm *
vm_of_user(struct ly_link_user *u)
{
	return LY_HOLDER(u, struct vm, user);
}

static void
on_link_state(struct ly_link_user *u, bool up)
{
	ly_vm_feed(vm_of_user(u),
	    &(struct ly_away_event){ .kind = up ? LY_AWAY_UP : LY_AWAY_DOWN },
	    NULL, 0);
}

static void
on_link_lease(struct ly_link_user *u)
{
	ly_vm_feed(vm_of_user(u),
	    &(struct ly_away_event){ .kind = LY_AWAY_LEASE }, NULL, 0);
}

static void
on_link_hear(struct ly_link_user *u, unsigned type, const union ly_any *m)
{
	struct vm *vm = vm_of_user(u);
	struct ly_away_event ev = { .rc = LY_OK };
	struct ly_bytes body = { NULL, 0 };

	switch (type) {
	case LY_GRANTED:
		ev.kind = LY_AWAY_HEAR_GRANTED;
		ev.rc = (enum ly_rc)m->granted.rc;
		ev.epoch = m->granted.epoch;
		ev.seq = m->granted.seq;
		ev.secret = m->granted.secret;
		break;
	case LY_ANSWER:
		ev.kind = LY_AWAY_HEAR_ANSWER;
		ev.epoch = m->answer.epoch;
		ev.seq = m->answer.seq;
		body = m->answer.body;
		ev.good = body.len == 4 && !memcmp(body.at, "\0\0\0", 4);
		break;
	case LY_REFUSE:
		ev.kind = LY_AWAY_HEAR_REFUSED;
		ev.rc = (enum ly_rc)m->refuse.rc;
		ev.epoch = m->refuse.epoch;
		ev.seq = m->refuse.seq;
		break;
	case LY_STAGED:
		ev.kind = LY_AWAY_HEAR_STAGED;
		ev.rc = (enum ly_rc)m->staged.rc;
		break;
	case LY_RELEASED:
		ev.kind = LY_AWAY_HEAR_RELEASED;
		ev.rc = (enum ly_rc)m->released.rc;
		ev.mig = m->released.mig;
		break;
	case LY_DETACHED:
		ev.kind = LY_AWAY_HEAR_DETACHED;
		ev.rc = (enum ly_rc)m->detached.rc;
		break;
	case LY_OUTCOME:
		ev.kind = LY_AWAY_HEAR_OUTCOME;
		ev.rc = (enum ly_rc)m->outcome.rc;
		ev.mig = m->outcome.mig;
		ev.fate = (enum ly_fate)m->outcome.fate;
		ev.epoch = m->outcome.epoch;
		break;
	case LY_FENCE:
		ev.kind = LY_AWAY_HEAR_FENCE;
		ev.epoch = m->fence.epoch;
		break;
	default:
		return;
	}
	ly_vm_feed(vm, &ev, body.at, body.len);
}

enum ly_rc
ly_vm_join(struct vm *vm, const char *address, struct ly_why *why)
{
	vm->user.vm = vm->id;
	vm->user.on_state = on_link_state;
	vm->user.on_hear = on_link_hear;
	vm->user.on_lease = on_link_lease;
	return ly_link_join(vm->vms->agent->links, vm->home, address, &vm->user,
	    why);
}

/* ---- from the guest ---- */

static void
keep_command(struct vm *vm, enum ly_op op, uint8_t locality, const uint8_t *at,
    size_t len)
{
	if (len)
		memcpy(ly_vm_area(vm, LY_AREA_WAITING, len), at, len);
	vm->cmd = (struct vm_cmd){ (uint32_t)len, locality };
	vm->guest_owed = true;
	ly_vm_guard_command(vm, at, op == LY_OP_TPM ? len : 0);
	ly_vm_feed(vm,
	    &(struct ly_away_event){ .kind = LY_AWAY_COMMAND, .op = op }, NULL,
	    0);
}

static void
on_command(void *arg, uint8_t locality, const uint8_t *cmd, size_t len)
{
	keep_command(arg, LY_OP_TPM, locality, cmd, len);
}

/* INIT is answered at once: QEMU's main loop waits (law 7). */
static void
on_op(void *arg, enum ly_op op, uint8_t locality, const uint8_t *body,
    size_t len)
{
	struct vm *vm = arg;

	if (op != LY_OP_INIT) {
		keep_command(vm, op, locality, body, len);
		return;
	}
	ly_vm_feed(vm, &(struct ly_away_event){ .kind = LY_AWAY_RESET }, NULL,
	    0);
	ly_guest_result(vm->guest, LY_SWTPM_OK);
}

static void
on_cancel(void *arg)
{
	ly_vm_feed(arg, &(struct ly_away_event){ .kind = LY_AWAY_CANCEL }, NULL,
	    0);
}

/* Of `t`, under the secret of this epoch. */
static size_t
token_put(const struct vm *vm, const struct ly_token *t,
    uint8_t out[LY_TOKEN_MAX])
{
	struct ly_wr w = ly_wr_over(out, LY_TOKEN_MAX);
	size_t signed_len;

	ly_message_put(&ly_token_message, t, &w);
	assert(!w.bad);
	signed_len = ly_wr_len(&w) - sizeof(t->mac);
	ly_hmac(vm->core.secret, LY_SECRET_LEN, out, signed_len,
	    out + signed_len);
	return ly_wr_len(&w);
}

/* The moment of the VM that its memory belongs to, under a MAC that only the
 * home and this holder can make. No TPM state: that stays where it is. */
static struct ly_token
token_now(const struct vm *vm)
{
	return (struct ly_token){ .magic = LY_TOKEN_MAGIC,
		.vm = vm->id,
		.mig = vm->mig,
		.epoch = vm->core.epoch,
		.seq = vm->core.seq,
		.failed = vm->core.broken };
}

/* Outside a migration it is a snapshot, or a memory image that somebody keeps:
 * its token names no migration, and the TPM stays in use. */
static void
on_save(void *arg)
{
	struct vm *vm = arg;
	struct ly_token t = token_now(vm);
	uint8_t token[LY_TOKEN_MAX];
	size_t len;
	bool snapshot = !vm->source && vm->core.state == LY_AWAY_HELD;

	if ((!vm->source && !snapshot) || !ly_away_idle(&vm->core) ||
	    vm->core.state == LY_AWAY_DEAD) {
		ly_log(LY_WARNING, vm->name,
		    "QEMU asked for TPM state that is not here: refused");
		ly_guest_saved(vm->guest, NULL, 0);
		return;
	}
	len = token_put(vm, &t, token);
	if (!snapshot) {
		vm->token_len = (uint32_t)len;
		ly_sha256(token, len, vm->token_hash);
	}
	ly_guest_saved(vm->guest, token, len);
	if (!snapshot)
		return;
	ly_guest_attach_mode(vm->guest, LY_GUEST_ATTACHED);
	ly_log(LY_NOTICE, vm->name,
	    "QEMU saves the guest, in epoch %llu after command %llu",
	    (unsigned long long)t.epoch, (unsigned long long)t.seq);
}

/* Only what was saved in this epoch, after the guest's last command, and by
 * us, is the guest that its TPM knows. */
static bool
restore_snapshot(struct vm *vm, const uint8_t *token, size_t len)
{
	struct ly_token now = token_now(vm);
	uint8_t good[LY_TOKEN_MAX];

	if (vm->core.state == LY_AWAY_HELD && ly_id_none(&vm->mig) &&
	    ly_away_idle(&vm->core) && !vm->core.broken &&
	    len == token_put(vm, &now, good) && ly_same(token, good, len)) {
		ly_log(LY_NOTICE, vm->name, "QEMU goes on from what it saved");
		return true;
	}
	ly_vm_alarm(vm,
	    "a snapshot, or a stale copy, whose TPM has gone on since: refused;"
	    " the guest's TPM fails until it resets");
	ly_vm_feed(vm, &(struct ly_away_event){ .kind = LY_AWAY_STALE }, NULL,
	    0);
	return false;
}

static bool
on_restore(void *arg, const uint8_t *token, size_t len)
{
	struct vm *vm = arg;
	struct ly_token t;
	struct ly_why why;

	if (!vm->dest)
		return restore_snapshot(vm, token, len);
	if (ly_message_get(&ly_token_message, token, len, &t, &why) != LY_OK ||
	    memcmp(t.magic, LY_TOKEN_MAGIC, sizeof(t.magic)) != 0 ||
	    !ly_id_same(&t.vm, &vm->id) || !ly_id_same(&t.mig, &vm->mig)) {
		ly_vm_alarm(vm, "a token that is not of this migration");
		return false;
	}
	memcpy(ly_vm_area(vm, LY_AREA_REQUEST, LY_TOKEN_MAX), token, len);
	vm->token_len = (uint32_t)len;
	return true;
}

static void
on_take_back(void *arg)
{
	struct vm *vm = arg;

	if (vm->core.state != LY_AWAY_HELD)
		ly_vm_alarm(vm, "QEMU runs the guest again without our leave");
	else
		ly_guest_attach_mode(vm->guest, LY_GUEST_ATTACHED);
}

static void
on_session(void *arg, bool up)
{
	struct vm *vm = arg;

	ly_log(LY_INFO, vm->name, "QEMU's TPM session %s",
	    up ? "begins" : "ends");
}

static const struct ly_guest_ops guest_ops = {
	.on_command = on_command,
	.on_op = on_op,
	.on_cancel = on_cancel,
	.on_save = on_save,
	.on_restore = on_restore,
	.on_take_back = on_take_back,
	.on_session = on_session,
};

static struct ly_guest_params
params_of(struct vm *vm, char path[220])
{
	ly_print(path, 220, "%s/tpm", vm->dir);
	return (struct ly_guest_params){ .loop = vm->vms->agent->loop,
		.path = path,
		.turn = &vm->turn,
		.slot = vm->slot,
		.ops = &guest_ops,
		.arg = vm };
}

enum ly_rc
ly_vm_endpoint(struct vm *vm, enum ly_guest_mode mode, struct ly_why *why)
{
	char path[220];
	struct ly_guest_params params = params_of(vm, path);
	enum ly_rc rc = ly_guest_open(&params, &vm->guest, why);

	if (rc == LY_OK)
		ly_guest_attach_mode(vm->guest, mode);
	return rc;
}

enum ly_rc
ly_vm_endpoint_woken(struct vm *vm, const struct ly_guest_kept *kept,
    struct ly_why *why)
{
	char path[220];
	struct ly_guest_params params = params_of(vm, path);

	return ly_guest_wake(&params, kept, &vm->guest, why);
}

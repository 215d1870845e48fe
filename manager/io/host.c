/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The listener, and the agents of our own site. A host that was added dials
 * us (CONTROL), says ANNOUNCE, then a VMSTATE for every VM it has; from the
 * ANNOUNCE on it can be asked. Other sites' managers dial the same port.
 *
 * Reports (PROGRESS, VMSTATE, ALARM) about a VM of another site go on to the
 * manager of that site.
 */
#include "manager/io/enrol.h"
#include "manager/io/policy.h"

static const struct ly_conn_ops control_ops;

struct ly_conn *
ly_host_conn(struct ly_manager *m, const struct ly_place *at)
{
	struct ly_host *h = ly_roster_host(&m->roster, at->site, at->name);
	struct ly_fed *f;

	if (!h || !h->up)
		return NULL;
	if (strcmp(at->site, m->conf.site) == 0)
		return h->conn;
	f = ly_fed_of(m, at->site);
	return f ? f->conn : NULL;
}

/* The host this connection belongs to; NULL if another has taken over. */
static struct ly_host *
host_of(struct ly_manager *m, struct ly_conn *c)
{
	const struct ly_peer *p = ly_conn_peer(c);
	struct ly_host *h = p ? ly_roster_host(&m->roster, p->site, p->name) :
				NULL;

	return h && h->conn == c ? h : NULL;
}

void
ly_host_forget(struct ly_manager *m, const struct ly_host *h)
{
	struct ly_vm *vm;

	for (uint32_t i = 0; (vm = ly_roster_next_vm(&m->roster, &i));) {
		if (!ly_place_same(&vm->at, &h->at))
			continue;
		vm->known = false;
		if (vm->guest)
			ly_roster_drop_vm(&m->roster, vm);
	}
}

void
ly_host_gone(struct ly_manager *m, struct ly_host *h)
{
	h->conn = NULL;
	if (h->up) {
		h->up = false;
		h->since = ly_now_s();
		ly_asks_down(m, &h->at);
		ly_enrol_down(m, h);
		ly_host_forget(m, h);
		ly_fed_tell(m, h);
	}
}

static enum ly_rc
on_control(struct ly_manager *m, struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, struct ly_why *why)
{
	struct ly_host *h = ly_roster_host(&m->roster, peer->site, peer->name);
	struct ly_conn *old;

	if (peer->role != LY_ROLE_HOST || strcmp(peer->site, m->conf.site) != 0)
		return ly_fail(why, LY_REFUSED,
		    "%s: CONTROL is for hosts of site %s", peer->id,
		    m->conf.site);
	if (!h)
		return ly_fail(why, LY_REFUSED,
		    "%s: not a host of ours (lanyard host add %s)", peer->id,
		    peer->name);
	old = h->conn;
	ly_host_gone(m, h);
	h->conn = c;
	ly_copy(h->software, sizeof(h->software), hello->software);
	if (old)
		ly_conn_close(old, LY_FENCED, "its host has dialled again");
	ly_conn_adopt(c, &control_ops, m);
	return LY_OK;
}

static enum ly_rc
on_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	struct ly_manager *m = arg;

	if (m->closing)
		return ly_fail(why, LY_BUSY, "closing");
	if (hello->purpose == LY_FOR_CONTROL)
		return on_control(m, c, peer, hello, why);
	if (hello->purpose == LY_FOR_FEDERATION)
		return ly_fed_open(m, c, peer, why);
	return ly_fail(why, LY_REFUSED, "%s: a manager has no such purpose",
	    peer->id);
}

static enum ly_rc
no_frame(struct ly_conn *c, unsigned type, const union ly_any *msg, void *arg,
    struct ly_why *why)
{
	(void)c;
	(void)msg;
	(void)arg;
	return ly_fail(why, LY_MALFORMED, "type %02x before HELLO", type);
}

static void
on_stranger_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	(void)c;
	(void)rc;
	(void)arg;
	ly_log(LY_INFO, "listen", "%s", why ? why : "closed");
}

const struct ly_conn_ops ly_listen_ops = {
	.on_open = on_open,
	.on_frame = no_frame,
	.on_close = on_stranger_close,
};

/* ---- what hosts say ---- */

static void
on_announce(struct ly_manager *m, struct ly_host *h,
    const struct ly_announce *a)
{
	bool was = h->up;

	if (!was) {
		ly_host_forget(m, h);
		ly_moves_host_back(m, &h->at);
	}
	if (a->address[0])
		ly_copy(h->address, sizeof(h->address), a->address);
	ly_copy(h->tpms, sizeof(h->tpms), a->tpms);
	h->up = true;
	if (!was) {
		h->since = ly_now_s();
		ly_log(LY_NOTICE, "host", "%s is connected (%s, TPMs: %s)",
		    h->at.name, h->software, h->tpms);
	}
	ly_fed_tell(m, h);
	if (was)
		return;
	ly_crl_tell_agent(m, h->conn); /* before it is asked anything */
	ly_policy_tell_agent(m, h->conn);
	ly_asks_up(m, &h->at);
	ly_enrol_up(m, h);
}

/* A VM of ours. Where it is, the store knows; a host that says "running here"
 * of a VM that should be elsewhere is an alarm, unless it is being moved. */
static void
on_our_vm(struct ly_manager *m, struct ly_vm *vm, const struct ly_vmstate *s,
    const struct ly_place *from)
{
	char at[LY_PLACE_TEXT], here[LY_PLACE_TEXT], text[LY_WHY_MAX];

	if (vm->saga)
		ly_move_heard(vm->saga, from, s);
	if (ly_place_same(&vm->at, from)) {
		vm->known = true;
		vm->state = s->state;
		if (s->epoch >= vm->epoch)
			vm->epoch = s->epoch;
		vm->seq = s->seq;
		ly_copy(vm->why, sizeof(vm->why), s->why);
		if (s->state == LY_VM_FAILED)
			ly_manager_alarm(m, from, vm->name,
			    s->why[0] ? s->why : "failed");
		return;
	}
	if (s->state == LY_VM_RUNNING && !vm->saga && !vm->busy) {
		ly_print(text, sizeof(text), "runs at %s but should be at %s",
		    ly_place_text(from, here), ly_place_text(&vm->at, at));
		ly_manager_alarm(m, from, vm->name, text);
	}
}

static void
on_guest(struct ly_manager *m, const struct ly_vmstate *s,
    const struct ly_place *from)
{
	struct ly_vm *vm;

	if (!ly_name_good(s->home_site) ||
	    ly_roster_add_guest(&m->roster, &s->vm, s->home_site, &vm, NULL) !=
		LY_OK)
		return;
	/* During a migration between two of our hosts both report it. */
	if (s->state == LY_VM_NONE) {
		if (ly_place_same(&vm->at, from))
			ly_roster_drop_vm(&m->roster, vm);
		return;
	}
	vm->at = *from;
	vm->known = true;
	vm->state = s->state;
	vm->epoch = s->epoch;
	vm->seq = s->seq;
}

static void
on_vmstate(struct ly_manager *m, const char *site, const struct ly_vmstate *s)
{
	struct ly_vm *vm = ly_roster_vm(&m->roster, &s->vm);
	struct ly_place from;

	ly_place_set(&from, site, s->host);
	if (vm && !vm->guest)
		on_our_vm(m, vm, s, &from);
	else if (strcmp(s->home_site, m->conf.site) == 0)
		ly_manager_alarm(m, &from, "",
		    "reports a VM of ours that we do not know");
	else if (strcmp(site, m->conf.site) == 0)
		on_guest(m, s, &from);
}

static void
on_alarm(struct ly_manager *m, const char *site, const struct ly_alarm *a)
{
	struct ly_vm *vm = ly_roster_vm(&m->roster, &a->vm);
	struct ly_place from;

	ly_place_set(&from, site, a->host);
	ly_manager_alarm(m, &from, vm ? vm->name : "", a->text);
}

static const char *
home_site_of(unsigned type, const union ly_any *msg)
{
	return type == LY_PROGRESS ? msg->progress.home_site :
	    type == LY_VMSTATE	   ? msg->vmstate.home_site :
				     msg->alarm.home_site;
}

/* From an agent of ours, or, about a VM of ours, from another site. */
void
ly_on_report(struct ly_manager *m, const char *site, unsigned type,
    const union ly_any *msg)
{
	const char *home = home_site_of(type, msg);
	bool from_us = strcmp(site, m->conf.site) == 0;
	struct ly_fed *f = ly_fed_of(m, home);

	if (from_us && f && f->conn)
		ly_conn_send(f->conn, type, msg);
	if (!from_us && strcmp(home, m->conf.site) != 0)
		return; /* not for us; and nothing is passed on twice */
	if (type == LY_PROGRESS)
		ly_moves_progress(m, &msg->progress);
	else if (type == LY_VMSTATE)
		on_vmstate(m, site, &msg->vmstate);
	else
		on_alarm(m, site, &msg->alarm);
}

/* A host speaks for itself, whatever it writes. */
static void
on_host_report(struct ly_manager *m, const struct ly_host *h, unsigned type,
    const union ly_any *msg)
{
	union ly_any mine = *msg;

	if (type == LY_VMSTATE)
		ly_copy(mine.vmstate.host, LY_NAME_MAX, h->at.name);
	if (type == LY_ALARM)
		ly_copy(mine.alarm.host, LY_NAME_MAX, h->at.name);
	ly_on_report(m, m->conf.site, type, &mine);
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *msg, void *arg,
    struct ly_why *why)
{
	struct ly_manager *m = arg;
	struct ly_host *h = host_of(m, c);

	if (!h)
		return ly_fail(why, LY_FENCED, "its host was removed");
	if (type == LY_ANNOUNCE) {
		on_announce(m, h, &msg->announce);
		return LY_OK;
	}
	if (!h->up)
		return ly_fail(why, LY_MALFORMED, "%s before ANNOUNCE",
		    ly_message_of(type)->name);
	switch (type) {
	case LY_DONE:
		ly_asks_done(m, c, &msg->done);
		return LY_OK;
	case LY_PROGRESS:
	case LY_VMSTATE:
	case LY_ALARM:
		on_host_report(m, h, type, msg);
		return LY_OK;
	case LY_APPROVED:
		ly_policy_hear(m, c, &h->at, &msg->approved);
		return LY_OK;
	default:
		return ly_fail(why, LY_MALFORMED, "an agent does not say %s",
		    ly_message_of(type)->name);
	}
}

static void
on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct ly_manager *m = arg;
	struct ly_host *h = m->closing ? NULL : host_of(m, c);

	(void)rc;
	if (!h)
		return;
	ly_log(LY_NOTICE, "host", "%s is gone: %s", h->at.name,
	    why ? why : "closed");
	ly_host_gone(m, h);
}

static const struct ly_conn_ops control_ops = {
	.on_frame = on_frame,
	.on_close = on_close,
};

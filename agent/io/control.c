/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/control.h"

#include "agent/io/approved.h"
#include "agent/io/distrust.h"
#include "agent/io/enrol.h"
#include "agent/io/evidence.h"
#include "agent/io/homes.h"
#include "agent/io/vm_keys.h"
#include "agent/io/vms.h"
#include "lib/io/dial.h"

#include <stdlib.h>

struct ly_control {
	struct ly_agent *agent;
	struct ly_dial *dial;
	struct ly_conn *conn; /* NULL while down */
	bool again;	      /* what is being dialled shows another certificate
			       * than ours is by now */
};

/* A request that waits for a home. */
struct waiter {
	struct ly_control *control;
	uint32_t req;
	struct ly_id vm, mig; /* none, or whose fate is to be signed */
};

void
ly_control_done(struct ly_control *control, uint32_t req, enum ly_rc rc,
    enum ly_fate fate, uint64_t epoch, const char *why, const char *value)
{
	struct ly_done m = { .req = req,
		.rc = (uint8_t)rc,
		.fate = (uint8_t)fate,
		.epoch = epoch };

	ly_copy(m.why, sizeof(m.why), why);
	ly_copy(m.value, sizeof(m.value), value);
	ly_control_answer(control, &m);
}

void
ly_control_answer(struct ly_control *control, const struct ly_done *m)
{
	if (m->req && control && control->conn)
		ly_conn_send(control->conn, LY_DONE, m);
}

bool
ly_control_report(struct ly_control *control, unsigned type, const void *m)
{
	if (!control || !control->conn)
		return false;
	ly_conn_send(control->conn, type, m);
	return true;
}

static struct waiter *
waiter_new(struct ly_control *control, uint32_t req)
{
	struct waiter *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	*w = (struct waiter){ .control = control, .req = req };
	return w;
}

/* With what the home's record says of the migration that was asked about: who
 * hears of it through others need not believe them. */
static void
home_done(void *arg, enum ly_rc rc, enum ly_fate fate, uint64_t epoch,
    const char *why, const char *value)
{
	struct waiter *w = arg;
	struct ly_done m = { .req = w->req,
		.rc = (uint8_t)rc,
		.fate = (uint8_t)fate,
		.epoch = epoch };
	uint8_t decided[LY_STATEMENT_MAX];

	ly_copy(m.why, sizeof(m.why), why);
	ly_copy(m.value, sizeof(m.value), value);
	if (rc == LY_OK && !ly_id_none(&w->mig) &&
	    ly_homes_decided(w->control->agent->homes, &w->vm, &w->mig, decided,
		&m.data.len, NULL) == LY_OK)
		m.data.at = decided;
	ly_control_answer(w->control, &m);
	free(w);
}

/* ---- requests ---- */

static void
hear_bind(struct ly_control *c, const union ly_any *m)
{
	ly_homes_bind(c->agent->homes, &m->bind, home_done,
	    waiter_new(c, m->bind.req));
}

static void
hear_unbind(struct ly_control *c, const union ly_any *m)
{
	ly_homes_unbind(c->agent->homes, &m->request.vm, home_done,
	    waiter_new(c, m->request.req));
}

static void
hear_ask(struct ly_control *c, const union ly_any *m)
{
	struct waiter *w = waiter_new(c, m->request.req);

	w->vm = m->request.vm;
	w->mig = m->request.mig;
	ly_homes_ask(c->agent->homes, &m->request.vm, &m->request.mig,
	    m->request.flag == 1, home_done, w);
}

static void
hear_show(struct ly_control *c, const union ly_any *m)
{
	struct waiter *w = waiter_new(c, m->request.req);

	w->vm = m->request.vm;
	w->mig = m->request.mig;
	ly_homes_show(c->agent->homes, &m->request.vm, home_done, w);
}

static void
hear_start(struct ly_control *c, const union ly_any *m)
{
	ly_vms_start(c->agent->vms, &m->start);
}

static void
hear_prepare(struct ly_control *c, const union ly_any *m)
{
	ly_vms_prepare(c->agent->vms, &m->start);
}

static void
hear_copy(struct ly_control *c, const union ly_any *m)
{
	ly_vms_copy(c->agent->vms, &m->copy);
}

static void
hear_stop(struct ly_control *c, const union ly_any *m)
{
	ly_vms_stop(c->agent->vms, &m->request);
}

static void
hear_calloff(struct ly_control *c, const union ly_any *m)
{
	ly_vms_calloff(c->agent->vms, &m->request);
}

static void
hear_drop(struct ly_control *c, const union ly_any *m)
{
	ly_vms_drop(c->agent->vms, &m->request);
}

static void
hear_settle(struct ly_control *c, const union ly_any *m)
{
	ly_vms_settle(c->agent->vms, &m->request);
}

static void
hear_crl(struct ly_control *c, const union ly_any *m)
{
	ly_distrust_hear(c->agent, &m->crl);
}

static void
hear_approved(struct ly_control *c, const union ly_any *m)
{
	ly_approved_hear(c->agent, &m->approved);
}

static void
hear_key(struct ly_control *c, const union ly_any *m)
{
	ly_vm_key(c->agent, &m->keying);
}

static void
hear_import(struct ly_control *c, const union ly_any *m)
{
	ly_vm_import(c->agent, &m->keying);
}

static void
hear_unlock(struct ly_control *c, const union ly_any *m)
{
	ly_vm_unlock(c->agent, &m->keying);
}

static void
hear_enrol(struct ly_control *c, const union ly_any *m)
{
	ly_papers_hear(c->agent, &m->enrol);
}

static void
hear_quote(struct ly_control *c, const union ly_any *m)
{
	ly_quotes_hear(c->agent, &m->quote);
}

static void (*const hearers[])(struct ly_control *c, const union ly_any *m) = {
	[LY_BIND] = hear_bind,
	[LY_UNBIND] = hear_unbind,
	[LY_START] = hear_start,
	[LY_STOP] = hear_stop,
	[LY_PREPARE] = hear_prepare,
	[LY_COPY] = hear_copy,
	[LY_CALLOFF] = hear_calloff,
	[LY_DROP] = hear_drop,
	[LY_ASK] = hear_ask,
	[LY_SETTLE] = hear_settle,
	[LY_SHOW] = hear_show,
	[LY_KEY] = hear_key,
	[LY_IMPORT] = hear_import,
	[LY_UNLOCK] = hear_unlock,
	[LY_CRL] = hear_crl,
	[LY_ENROL] = hear_enrol,
	[LY_QUOTE] = hear_quote,
	[LY_APPROVED] = hear_approved,
};

/* ---- the connection ---- */

static enum ly_rc
on_open(struct ly_conn *conn, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	struct ly_control *c = arg;
	struct ly_announce m = { .address = "" };

	(void)hello;
	if (peer->role != LY_ROLE_MANAGER ||
	    strcmp(peer->site, c->agent->self->site) != 0)
		return ly_fail(why, LY_REFUSED, "%s is not our manager",
		    peer->id);
	if (c->again) {
		c->again = false;
		return ly_fail(why, LY_BUSY,
		    "dialled with a certificate that"
		    " is not ours any more");
	}
	ly_log(LY_NOTICE, "control", "manager %s at %s", peer->id,
	    peer->address);
	c->conn = conn;
	ly_copy(m.address, sizeof(m.address), c->agent->conf.address);
	ly_homes_tpms(c->agent->homes, m.tpms, sizeof(m.tpms));
	ly_conn_send(conn, LY_ANNOUNCE, &m);
	ly_vms_report(c->agent->vms);
	return LY_OK;
}

static enum ly_rc
on_frame(struct ly_conn *conn, unsigned type, const union ly_any *m, void *arg,
    struct ly_why *why)
{
	(void)conn;
	if (type >= LY_COUNT(hearers) || !hearers[type])
		return ly_fail(why, LY_MALFORMED, "%s is not for an agent",
		    ly_message_of(type)->name);
	hearers[type](arg, m);
	return LY_OK;
}

static void
on_close(struct ly_conn *conn, enum ly_rc rc, const char *why, void *arg)
{
	struct ly_control *c = arg;

	(void)conn;
	ly_log(c->conn ? LY_WARNING : LY_INFO, "control",
	    "manager at %s: %s (%s)", c->agent->conf.manager, why,
	    ly_rc_name(rc));
	c->conn = NULL;
}

static const struct ly_conn_ops ops = {
	.on_open = on_open,
	.on_frame = on_frame,
	.on_close = on_close,
};

enum ly_rc
ly_control_open(struct ly_agent *agent, struct ly_control **out,
    struct ly_why *why)
{
	struct ly_control *c = calloc(1, sizeof(*c));
	struct ly_hello hello = { .proto = LY_PROTO,
		.purpose = LY_FOR_CONTROL };

	if (!c)
		return ly_fail(why, LY_OUTSIDE, "no memory");
	c->agent = agent;
	c->dial = ly_dial_start(agent->net, agent->conf.manager, NULL, &hello,
	    &ops, c);
	*out = c;
	return LY_OK;
}

void
ly_control_again(struct ly_control *c)
{
	if (c && c->conn)
		ly_conn_close(c->conn, LY_OK, "another certificate of ours");
	else if (c)
		c->again = true;
}

void
ly_control_close(struct ly_control *c)
{
	ly_dial_stop(c->dial);
	free(c);
}

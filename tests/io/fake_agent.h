/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of the manager: agents that only speak CONTROL, and the home's
 * register they share. What an agent does with a request can be spoilt: held
 * (no answer until let go), lost (done, but no answer), refused.
 */
#ifndef LY_TESTS_FAKE_AGENT_H
#define LY_TESTS_FAKE_AGENT_H

#include "lib/io/approvals.h"
#include "lib/io/conn.h"
#include "lib/wire/signed.h"
#include "tests/unit/site.h"

#define FAKES_MAX 6
#define FAKE_VMS_MAX 8

/* The home's record of one VM, as all fakes know it. */
struct fake_vm {
	struct ly_id id, mig;
	char name[LY_NAME_MAX], home[LY_SPIFFE_MAX];
	char holder[LY_SPIFFE_MAX]; /* empty: detached */
	uint64_t epoch, seq;
	enum ly_fate fate;    /* of `mig` */
	struct ly_id settled; /* the last one with a fate */
	unsigned rights;      /* of the last ticket that was shown */
};

struct fake_world {
	uv_loop_t *loop;
	struct fake_vm vm[FAKE_VMS_MAX];
	unsigned vms_n;
};

enum fake_mood {
	FAKE_GOOD,
	FAKE_HOLDS,
	FAKE_LOSES,
	FAKE_REFUSES,
	FAKE_TWICE, /* answers everything twice */
};

struct fake {
	struct fake_world *w;
	char site[LY_NAME_MAX], name[LY_NAME_MAX], id[LY_SPIFFE_MAX];
	char manager[LY_ADDR_MAX];
	struct ly_identity *ids;
	struct ly_net *net;
	struct ly_conn *conn;
	bool open, off;		   /* off: does not dial */
	enum fake_mood mood[0x60]; /* by type */
	unsigned asked[0x60];
	unsigned last_flag; /* of SETTLE and ASK */
	bool has_held;
	unsigned held_type;
	union ly_any held;
	struct fake_vm *here;	    /* the VM it runs */
	unsigned crls;		    /* new lists of revoked ones */
	struct ly_approvals *lists; /* of approved states, if it keeps them */
	uv_timer_t redial;
	struct ly_ticket ticket;
};

static struct fake_vm *
fake_vm_of(struct fake_world *w, const struct ly_id *id)
{
	for (unsigned i = 0; i < w->vms_n; i++)
		if (ly_id_same(&w->vm[i].id, id))
			return &w->vm[i];
	return NULL;
}

static void
fake_report(struct fake *f, struct fake_vm *vm, enum ly_vmstate_kind state)
{
	struct ly_vmstate s = { .vm = vm->id,
		.state = (uint8_t)state,
		.epoch = vm->epoch,
		.seq = vm->seq };
	struct ly_peer home;

	if (!f->open || ly_spiffe_parse(vm->home, &home, NULL) != LY_OK)
		return;
	ly_copy(s.home_site, sizeof(s.home_site), home.site);
	ly_copy(s.host, sizeof(s.host), f->name);
	ly_conn_send(f->conn, LY_VMSTATE, &s);
}

static void
fake_bind(struct fake *f, const struct ly_bind *b, struct ly_done *d)
{
	struct fake_vm *vm = fake_vm_of(f->w, &b->vm);

	if (!vm) {
		vm = &f->w->vm[f->w->vms_n++];
		*vm = (struct fake_vm){ .id = b->vm, .epoch = 1 };
		ly_copy(vm->name, sizeof(vm->name), b->name);
		ly_copy(vm->home, sizeof(vm->home), f->id);
	}
	d->epoch = vm->epoch;
	ly_copy(d->value, sizeof(d->value), b->tpm[0] ? b->tpm : "tpm0");
}

static void
fake_show(struct fake_vm *vm, struct ly_done *d)
{
	d->epoch = vm->epoch;
	ly_print(d->value, sizeof(d->value),
	    "{\"state\":\"%s\",\"epoch\":%llu,\"seq\":%llu,\"holder\":\"%s\"}",
	    vm->holder[0] ? "attached" : "detached",
	    (unsigned long long)vm->epoch, (unsigned long long)vm->seq,
	    vm->holder);
}

/* As a home would: signature, holder, epochs. */
static enum ly_rc
fake_ticket(struct fake *f, const struct ly_bytes *b, struct fake_vm *vm)
{
	const uint8_t *tagged;
	size_t len;
	struct ly_peer signer, home;
	struct ly_why why = { "" };

	if (ly_verify(f->ids, LY_TYPE_TICKET, b->at, b->len, &tagged, &len,
		&signer, &why) != LY_OK ||
	    ly_message_get_tagged(&ly_ticket_message, tagged, len, &f->ticket,
		&why) != LY_OK) {
		print_error("ticket: %s\n", why.text);
		return LY_REFUSED;
	}
	vm->rights = f->ticket.rights;
	if (ly_spiffe_parse(vm->home, &home, NULL) != LY_OK ||
	    signer.role != LY_ROLE_MANAGER ||
	    strcmp(signer.site, home.site) != 0 ||
	    strcmp(f->ticket.holder, f->id) != 0 ||
	    strcmp(f->ticket.home, vm->home) != 0 ||
	    f->ticket.from_epoch != vm->epoch ||
	    f->ticket.to_epoch != vm->epoch + 1)
		return LY_REFUSED;
	return LY_OK;
}

static void
fake_start(struct fake *f, const struct ly_start *s, struct fake_vm *vm,
    struct ly_done *d)
{
	if (f->here == vm && strcmp(vm->holder, f->id) == 0) {
		d->epoch = vm->epoch; /* asked again */
		return;
	}
	d->rc = (uint8_t)fake_ticket(f, &s->ticket, vm);
	if (!d->rc && vm->holder[0] && !(vm->rights & LY_MAY_FORCE))
		d->rc = LY_FENCED;
	if (d->rc)
		return;
	vm->epoch++;
	d->epoch = vm->epoch;
	ly_copy(vm->holder, sizeof(vm->holder), f->id);
	f->here = vm;
	fake_report(f, vm, LY_VM_RUNNING);
}

static void
fake_prepare(struct fake *f, const struct ly_start *s, struct fake_vm *vm,
    struct ly_done *d)
{
	if (ly_id_same(&vm->mig, &s->mig) && vm->fate == LY_FATE_OPEN)
		return;
	d->rc = (uint8_t)fake_ticket(f, &s->ticket, vm);
	if (d->rc)
		return;
	vm->mig = s->mig;
	vm->fate = LY_FATE_OPEN;
	ly_print(d->value, sizeof(d->value), "127.0.0.1:9");
}

static void
fake_progress(struct fake *f, const struct fake_vm *vm)
{
	struct ly_progress p = { .vm = vm->id,
		.mig = vm->mig,
		.phase = LY_PHASE_COPY,
		.bytes = 50,
		.total = 100,
		.remaining = 50,
		.rate = 1000,
		.dirty_rate = 10,
		.elapsed_ms = 50,
		.commands = vm->seq };
	struct ly_peer home;

	SITE_OK(ly_spiffe_parse(vm->home, &home, &why));
	ly_copy(p.home_site, sizeof(p.home_site), home.site);
	ly_conn_send(f->conn, LY_PROGRESS, &p);
}

static void
fake_copy(struct fake *f, const struct ly_copy *c, struct fake_vm *vm,
    struct ly_done *d)
{
	if (ly_id_same(&vm->mig, &c->mig) && vm->fate == LY_FATE_OPEN) {
		fake_progress(f, vm);
		vm->fate = LY_FATE_CLAIMED;
		vm->epoch++;
		vm->seq += 10;
		ly_copy(vm->holder, sizeof(vm->holder), c->dest);
		f->here = NULL;
		fake_report(f, vm, LY_VM_NONE);
	}
	d->fate = (uint8_t)vm->fate;
	d->epoch = vm->epoch;
	ly_print(d->value, sizeof(d->value),
	    "{\"memory_bytes\":268435456,\"downtime_ms\":42,"
	    "\"tpm_state_bytes\":0,\"total_ms\":1234}");
}

static void
fake_request(struct fake *f, unsigned type, const struct ly_request *r,
    struct fake_vm *vm, struct ly_done *d)
{
	d->epoch = vm->epoch;
	switch (type) {
	case LY_SHOW:
		fake_show(vm, d);
		break;
	case LY_STOP:
		if (f->here != vm) {
			d->rc = LY_UNKNOWN;
			break;
		}
		f->here = NULL;
		vm->holder[0] = '\0';
		fake_report(f, vm, LY_VM_NONE);
		break;
	case LY_ASK:
		f->last_flag = r->flag;
		if (!ly_id_same(&vm->mig, &r->mig)) {
			vm->mig = r->mig;
			vm->fate = LY_FATE_OPEN;
		}
		if (vm->fate != LY_FATE_CLAIMED && r->flag)
			vm->fate = LY_FATE_ABORTED;
		d->fate = (uint8_t)vm->fate;
		break;
	case LY_SETTLE:
		f->last_flag = r->flag;
		break;
	default: /* UNBIND, CALLOFF, DROP: done */
		break;
	}
}

/* For attested migrations: instead of what is done here, and after it. */
static bool (*fake_attests)(struct fake *f, unsigned type,
    const union ly_any *m, struct ly_done *d);
static void (*fake_attests_after)(struct fake *f, unsigned type,
    const union ly_any *m, struct fake_vm *vm, struct ly_done *d);

static void
fake_do(struct fake *f, unsigned type, const union ly_any *m)
{
	struct ly_done d = { .req = m->request.req };
	const struct ly_id *id = type == LY_BIND   ? &m->bind.vm :
	    type == LY_START || type == LY_PREPARE ? &m->start.vm :
	    type == LY_COPY			   ? &m->copy.vm :
						     &m->request.vm;
	struct fake_vm *vm = fake_vm_of(f->w, id);

	/* A host knows a VM of another home by what it is told. */
	if (fake_attests && fake_attests(f, type, m, &d))
		;
	else if (type == LY_BIND)
		fake_bind(f, &m->bind, &d);
	else if (!vm)
		d.rc = LY_UNKNOWN;
	else if (type == LY_START)
		fake_start(f, &m->start, vm, &d);
	else if (type == LY_PREPARE)
		fake_prepare(f, &m->start, vm, &d);
	else if (type == LY_COPY)
		fake_copy(f, &m->copy, vm, &d);
	else
		fake_request(f, type, &m->request, vm, &d);
	if (fake_attests_after && vm)
		fake_attests_after(f, type, m, vm, &d);
	if (f->mood[type] != FAKE_LOSES && f->open)
		ly_conn_send(f->conn, LY_DONE, &d);
	if (f->mood[type] == FAKE_TWICE && f->open)
		ly_conn_send(f->conn, LY_DONE, &d);
}

static void
fake_crl(struct fake *f, const struct ly_crl_told *m)
{
	bool fresh;

	SITE_OK(ly_identity_crl(f->ids, m->site, m->der, &fresh, &why));
	f->crls += fresh;
}

/* As an agent does (agent/io/approved.c). */
static void
fake_approved(struct fake *f, const struct ly_approved_told *m)
{
	struct ly_approved_told ours = { .site = "" };
	enum ly_approvals_news news = LY_APPROVALS_OLDER;
	struct ly_why why = { "" };

	if (!f->lists)
		return;
	if (m->list.len &&
	    ly_approvals_take(f->lists, m->site, m->list, &news, &why) != LY_OK)
		print_message("%s: %s\n", f->name, why.text);
	ours.list = ly_approvals_bytes(f->lists, m->site);
	ly_copy(ours.site, sizeof(ours.site), m->site);
	if (news == LY_APPROVALS_OLDER && ours.list.len && f->open)
		ly_conn_send(f->conn, LY_APPROVED, &ours);
}

static enum ly_rc
fake_on_frame(struct ly_conn *c, unsigned type, const union ly_any *m,
    void *arg, struct ly_why *why)
{
	struct fake *f = arg;
	struct ly_done no = { .req = m->request.req,
		.rc = LY_REFUSED,
		.why = "in a bad mood" };

	(void)why;
	if (type == LY_CRL) {
		fake_crl(f, &m->crl);
		return LY_OK;
	}
	if (type == LY_APPROVED) {
		fake_approved(f, &m->approved);
		return LY_OK;
	}
	assert(type < LY_COUNT(f->asked));
	f->asked[type]++;
	if (f->mood[type] == FAKE_HOLDS) {
		f->has_held = true;
		f->held_type = type;
		f->held = *m; /* good for requests without borrowed bytes */
	} else if (f->mood[type] == FAKE_REFUSES) {
		ly_conn_send(c, LY_DONE, &no);
	} else {
		fake_do(f, type, m);
	}
	return LY_OK;
}

static LY_UNUSED void
fake_let_go(struct fake *f)
{
	assert(f->has_held);
	f->has_held = false;
	f->mood[f->held_type] = FAKE_GOOD;
	fake_do(f, f->held_type, &f->held);
}

static enum ly_rc
fake_on_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	struct fake *f = arg;
	struct ly_announce a = { .address = "127.0.0.1:9", .tpms = "tpm0" };

	(void)peer, (void)hello, (void)why;
	f->open = true;
	ly_conn_send(c, LY_ANNOUNCE, &a);
	if (f->here)
		fake_report(f, f->here, LY_VM_RUNNING);
	return LY_OK;
}

static void
fake_on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct fake *f = arg;

	(void)c, (void)rc, (void)why;
	f->open = false;
	f->conn = NULL;
}

static const struct ly_conn_ops fake_ops = {
	.on_open = fake_on_open,
	.on_frame = fake_on_frame,
	.on_close = fake_on_close,
};

static void
fake_redial(uv_timer_t *t)
{
	struct fake *f = t->data;
	struct ly_hello hello = { .proto = LY_PROTO,
		.purpose = LY_FOR_CONTROL };

	if (!f->conn && !f->off)
		f->conn = ly_conn_dial(f->net, f->manager, NULL, &hello,
		    &fake_ops, f);
}

static void
fake_up(struct fake *f, struct fake_world *w, const char *site,
    const char *name, unsigned port)
{
	memset(f, 0, sizeof(*f));
	f->w = w;
	ly_copy(f->site, sizeof(f->site), site);
	ly_copy(f->name, sizeof(f->name), name);
	ly_spiffe_host(site, name, f->id);
	ly_print(f->manager, sizeof(f->manager), "127.0.0.1:%u", port);
	f->ids = site_load(site_path("%s-%s", site, name) + strlen(site_root) +
		1,
	    "trust");
	SITE_OK(ly_net_new(w->loop, f->ids, "fake 0", &f->net, &why));
	uv_timer_init(w->loop, &f->redial);
	f->redial.data = f;
	uv_timer_start(&f->redial, fake_redial, 0, 100);
}

/* Its host is cut off from its manager, or comes back. */
static LY_UNUSED void
fake_cut(struct fake *f)
{
	f->off = true;
	if (f->conn)
		ly_conn_close(f->conn, LY_OUTSIDE, "cut");
}

#endif

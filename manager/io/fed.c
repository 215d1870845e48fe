/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Managers of other sites. Of two sites the one whose name sorts first dials;
 * the other waits for it. On connect, and on every change, each tells the
 * other its hosts (SITEHOST).
 *
 * Another site may ask our hosts only what a VM of *its own* needs: origin is
 * who asks, the VM must not be ours or a third's, and the home named in START
 * and PREPARE must be a host of origin (whose certificate the agent checks).
 */
#include "manager/io/evacuate.h"
#include "manager/io/policy.h"

#define DIAL_FIRST_MS 250
#define DIAL_MOST_MS 5000

struct ly_fed *
ly_fed_of(struct ly_manager *m, const char *site)
{
	for (unsigned i = 0; i < m->feds_n; i++)
		if (strcmp(m->feds[i].site, site) == 0)
			return &m->feds[i];
	return NULL;
}

enum ly_rc
ly_fed_add(struct ly_manager *m, const char *site, const char *address,
    bool from_file, struct ly_why *why)
{
	struct ly_fed *f = ly_fed_of(m, site);

	if (!ly_name_good(site) || strcmp(site, m->conf.site) == 0)
		return ly_fail(why, LY_REFUSED,
		    "\"%.64s\" is not the name of another site", site);
	if (!f && m->feds_n == LY_FEDS_MAX)
		return ly_fail(why, LY_FULL, "no more than %d other sites",
		    LY_FEDS_MAX);
	if (!f) {
		f = &m->feds[m->feds_n++];
		*f = (struct ly_fed){ .wait_ms = DIAL_FIRST_MS };
		ly_copy(f->site, sizeof(f->site), site);
	}
	f->from_file |= from_file;
	f->dial_at = 0;
	if (address[0])
		ly_copy(f->address, sizeof(f->address), address);
	return LY_OK;
}

/* ---- up and down ---- */

static void
tell_host(struct ly_fed *f, const struct ly_host *h)
{
	struct ly_sitehost s = { .up = h->up,
		.standing = h->standing,
		.vms_most = h->vms_most,
		.memory_most = h->memory_most };

	ly_copy(s.host, sizeof(s.host), h->at.name);
	ly_copy(s.address, sizeof(s.address), h->address);
	ly_copy(s.class_, sizeof(s.class_), h->class_);
	ly_copy(s.differs, sizeof(s.differs), h->differs);
	ly_conn_send(f->conn, LY_SITEHOST, &s);
}

void
ly_fed_tell(struct ly_manager *m, const struct ly_host *h)
{
	if (strcmp(h->at.site, m->conf.site) != 0)
		return;
	for (unsigned i = 0; i < m->feds_n; i++)
		if (m->feds[i].conn)
			tell_host(&m->feds[i], h);
}

static void
went_up(struct ly_manager *m, struct ly_fed *f, struct ly_conn *c)
{
	struct ly_host *h;
	struct ly_vm *vm;

	f->conn = c;
	f->wait_ms = DIAL_FIRST_MS;
	f->why[0] = '\0';
	ly_log(LY_NOTICE, "site", "%s: its manager is connected", f->site);
	ly_crl_tell_site(m, c);
	f->head_back = false;
	ly_record_tell(m, f, true);
	ly_policy_tell_site(m, c);
	for (uint32_t i = 0; (h = ly_roster_next_host(&m->roster, &i));)
		if (strcmp(h->at.site, m->conf.site) == 0)
			tell_host(f, h);
	/* What it may have missed of its VMs on our hosts. */
	for (uint32_t i = 0; (vm = ly_roster_next_vm(&m->roster, &i));) {
		struct ly_vmstate s = { .vm = vm->id,
			.state = vm->state,
			.epoch = vm->epoch,
			.seq = vm->seq };

		if (!vm->guest || !vm->known ||
		    strcmp(vm->home.site, f->site) != 0)
			continue;
		ly_copy(s.home_site, sizeof(s.home_site), vm->home.site);
		ly_copy(s.host, sizeof(s.host), vm->at.name);
		ly_conn_send(c, LY_VMSTATE, &s);
	}
}

static void
went_down(struct ly_manager *m, struct ly_fed *f, const char *why)
{
	struct ly_host *h;
	struct ly_vm *vm;

	f->conn = NULL;
	ly_copy(f->why, sizeof(f->why), why ? why : "closed");
	ly_log(LY_NOTICE, "site", "%s: its manager is gone: %s", f->site,
	    f->why);
	ly_asks_site_down(m, f->site);
	for (uint32_t i = 0; (h = ly_roster_next_host(&m->roster, &i));) {
		if (strcmp(h->at.site, f->site) != 0 || !h->up)
			continue;
		h->up = false;
		h->since = ly_now_s();
	}
	for (uint32_t i = 0; (vm = ly_roster_next_vm(&m->roster, &i));)
		if (strcmp(vm->at.site, f->site) == 0)
			vm->known = false;
}

/* ---- dialling ---- */

static enum ly_rc
on_dialled(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	struct ly_manager *m = arg;

	(void)hello;
	return ly_fed_open(m, c, peer, why);
}

static struct ly_fed *
dialled_by(struct ly_manager *m, const struct ly_conn *c)
{
	for (unsigned i = 0; i < m->feds_n; i++)
		if (m->feds[i].dialled == c)
			return &m->feds[i];
	return NULL;
}

static enum ly_rc
on_early_frame(struct ly_conn *c, unsigned type, const union ly_any *msg,
    void *arg, struct ly_why *why)
{
	(void)c;
	(void)msg;
	(void)arg;
	return ly_fail(why, LY_MALFORMED, "type %02x before WELCOME", type);
}

static void
on_dial_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct ly_manager *m = arg;
	struct ly_fed *f = dialled_by(m, c);

	(void)rc;
	if (!f)
		return;
	f->dialled = NULL;
	if (!why)
		why = "closed";
	if (strcmp(f->why, why) != 0)
		ly_log(LY_WARNING, "site", "%s at %s: %s", f->site, f->address,
		    why);
	ly_copy(f->why, sizeof(f->why), why);
}

static const struct ly_conn_ops dial_ops = {
	.on_open = on_dialled,
	.on_frame = on_early_frame,
	.on_close = on_dial_close,
};

static void
dial(struct ly_manager *m, struct ly_fed *f)
{
	struct ly_hello hello = { .proto = LY_PROTO,
		.purpose = LY_FOR_FEDERATION };

	ly_copy(hello.software, sizeof(hello.software), LY_MANAGER_SOFTWARE);
	f->dial_at = uv_now(m->loop) + f->wait_ms;
	f->wait_ms = ly_min(f->wait_ms * 2, DIAL_MOST_MS);
	f->dialled = ly_conn_dial(m->net, f->address, NULL, &hello, &dial_ops,
	    m);
}

void
ly_fed_tick(struct ly_manager *m)
{
	for (unsigned i = 0; i < m->feds_n; i++) {
		struct ly_fed *f = &m->feds[i];

		if (!f->conn && !f->dialled && f->address[0] &&
		    strcmp(m->conf.site, f->site) < 0 &&
		    uv_now(m->loop) >= f->dial_at)
			dial(m, f);
		if (f->conn)
			ly_record_tell(m, f, false);
	}
}

/* ---- the conversation ---- */

static void
on_sitehost(struct ly_manager *m, const char *site, const struct ly_sitehost *s)
{
	struct ly_host *h;
	bool was;

	if (ly_roster_add_host(&m->roster, site, s->host, &h, NULL) != LY_OK)
		return;
	was = h->up;
	ly_copy(h->address, sizeof(h->address), s->address);
	ly_copy(h->class_, sizeof(h->class_), s->class_);
	ly_copy(h->differs, sizeof(h->differs), s->differs);
	h->standing = s->standing;
	h->up = s->up != 0;
	h->vms_most = s->vms_most;
	h->memory_most = s->memory_most;
	if (was == h->up)
		return;
	h->since = ly_now_s();
	if (h->up)
		ly_asks_up(m, &h->at);
	else
		ly_host_forget(m, h); /* nobody says what runs there now */
}

/* One more guest: has the host room for it? */
static enum ly_rc
room_for(struct ly_manager *m, const struct ly_start *s, struct ly_why *why)
{
	struct ly_host *h = ly_roster_host(&m->roster, m->conf.site, s->host);
	char text[LY_DEFINITION_MAX + 1];
	size_t n = ly_min(s->definition.len, LY_DEFINITION_MAX);

	if (!h)
		return LY_OK; /* that is found next */
	memcpy(text, s->definition.at, n);
	text[n] = '\0';
	return ly_host_room(m, h, &s->vm, ly_definition_memory(text), why);
}

/* May `site` ask this of a host of ours? */
static enum ly_rc
judge(struct ly_manager *m, const char *site, unsigned type,
    const union ly_any *msg, struct ly_why *why)
{
	const struct ly_request *r = &msg->request;
	const struct ly_id *vm = type == LY_START || type == LY_PREPARE ?
	    &msg->start.vm :
	    type == LY_COPY ? &msg->copy.vm :
			      &r->vm;
	const struct ly_vm *known = ly_roster_vm(&m->roster, vm);
	struct ly_peer home;

	_Static_assert(offsetof(struct ly_request, vm) ==
		    offsetof(struct ly_quote, vm) &&
		offsetof(struct ly_request, vm) ==
		    offsetof(struct ly_keying, vm),
	    "the VM follows what every request begins with");

	if (strcmp(r->origin, site) != 0)
		return ly_fail(why, LY_REFUSED,
		    "site %s asks in the name of %s", site, r->origin);
	if (known && (!known->guest || strcmp(known->home.site, site) != 0))
		return ly_fail(why, LY_REFUSED,
		    "that VM's home is not at site %s", site);
	if (type != LY_START && type != LY_PREPARE)
		return LY_OK;
	if (ly_spiffe_parse(msg->start.home, &home, why) != LY_OK ||
	    home.role != LY_ROLE_HOST || strcmp(home.site, site) != 0)
		return ly_fail(why, LY_REFUSED,
		    "the home named is not a host of site %s", site);
	return room_for(m, &msg->start, why);
}

static enum ly_rc
on_request(struct ly_manager *m, struct ly_fed *f, unsigned type,
    const union ly_any *msg)
{
	struct ly_done no = { .req = msg->request.req };
	struct ly_why why = { "" };
	enum ly_rc rc = judge(m, f->site, type, msg, &why);

	if (rc == LY_OK &&
	    !ly_roster_host(&m->roster, m->conf.site, msg->request.host))
		rc = ly_fail(&why, LY_UNKNOWN, "no host \"%s\" at site %s",
		    msg->request.host, m->conf.site);
	if (rc == LY_OK)
		rc = ly_ask_relay(m, msg->request.host, type, msg, f->site);
	if (rc == LY_OK)
		return rc;
	if (rc == LY_REFUSED)
		ly_log(LY_WARNING, "site", "%s: %s refused: %s", f->site,
		    ly_message_of(type)->name, why.text);
	no.rc = (uint8_t)rc;
	ly_copy(no.why, sizeof(no.why), why.text);
	ly_conn_send(f->conn, LY_DONE, &no);
	return LY_OK;
}

static enum ly_rc
on_frame(struct ly_conn *c, unsigned type, const union ly_any *msg, void *arg,
    struct ly_why *why)
{
	struct ly_manager *m = arg;
	struct ly_fed *f = ly_fed_of(m, ly_conn_peer(c)->site);
	struct ly_place from;

	if (!f || f->conn != c)
		return ly_fail(why, LY_FENCED, "another connection stands");
	switch (type) {
	case LY_SITEHOST:
		on_sitehost(m, f->site, &msg->sitehost);
		return LY_OK;
	case LY_CRL:
		ly_crl_hear(m, f->site, &msg->crl);
		return LY_OK;
	case LY_HEAD:
		ly_record_hear(m, f, &msg->head);
		return LY_OK;
	case LY_BOOTLOG:
		ly_policy_hear_log(m, c, &msg->bootlog);
		return LY_OK;
	case LY_APPROVED:
		ly_place_set(&from, f->site, "manager");
		ly_policy_hear(m, c, &from, &msg->approved);
		return LY_OK;
	case LY_DONE:
		ly_asks_done(m, c, &msg->done);
		return LY_OK;
	case LY_PROGRESS:
	case LY_VMSTATE:
	case LY_ALARM:
		ly_on_report(m, f->site, type, msg);
		return LY_OK;
	case LY_PREPARE:
	case LY_START:
	case LY_COPY:
	case LY_CALLOFF:
	case LY_DROP:
	case LY_SETTLE:
	case LY_STOP:
	case LY_QUOTE:
	case LY_KEY:
	case LY_IMPORT:
	case LY_UNLOCK:
		return on_request(m, f, type, msg);
	default:
		return ly_fail(why, LY_MALFORMED,
		    "a manager of another site does not say %s",
		    ly_message_of(type)->name);
	}
}

static void
on_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct ly_manager *m = arg;

	(void)rc;
	if (m->closing)
		return;
	for (unsigned i = 0; i < m->feds_n; i++)
		if (m->feds[i].conn == c)
			went_down(m, &m->feds[i], why);
}

const struct ly_conn_ops ly_fed_ops = {
	.on_frame = on_frame,
	.on_close = on_close,
};

enum ly_rc
ly_fed_open(struct ly_manager *m, struct ly_conn *c, const struct ly_peer *peer,
    struct ly_why *why)
{
	struct ly_fed *f = ly_fed_of(m, peer->site);
	struct ly_fed *ours = dialled_by(m, c);
	struct ly_conn *old;

	if (ours)
		ours->dialled = NULL;
	if (peer->role != LY_ROLE_MANAGER || !f || (ours && ours != f))
		return ly_fail(why, LY_REFUSED,
		    "%s: not the manager of a site we know%s%s", peer->id,
		    ours ? ", expected one of " : "", ours ? ours->site : "");
	old = f->conn;
	if (old) {
		went_down(m, f, "it has dialled again");
		ly_conn_close(old, LY_FENCED, "another connection stands");
	}
	ly_conn_adopt(c, &ly_fed_ops, m);
	went_up(m, f, c);
	return LY_OK;
}

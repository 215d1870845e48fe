/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/distrust.h"

#include "agent/io/control.h"
#include "lib/io/clock.h"

#include <stdlib.h>

#define LOOK_MS 3600000

struct ly_distrust {
	struct ly_agent *agent;
	uv_timer_t timer;
};

static void
alarm_manager(struct ly_agent *a, const char *text)
{
	struct ly_alarm m = { .text = "" };

	ly_log_alarm("identity", "%s", text);
	if (!a->control)
		return;
	ly_copy(m.home_site, sizeof(m.home_site), a->self->site);
	ly_copy(m.host, sizeof(m.host), a->self->name);
	ly_copy(m.text, sizeof(m.text), text);
	ly_control_report(a->control, LY_ALARM, &m);
}

void
ly_distrust_hear(struct ly_agent *a, const struct ly_crl_told *m)
{
	struct ly_why why;
	bool fresh;

	if (ly_identity_crl(a->ids, m->site, m->der, &fresh, &why) != LY_OK) {
		ly_log(LY_WARNING, "identity", "revoked ones of %s: %s",
		    m->site, why.text);
		return;
	}
	if (!fresh)
		return;
	ly_log(LY_INFO, "identity", "a new list of those %s has revoked",
	    m->site);
	if (ly_identity_revoked(a->ids, ly_identity_self(a->ids)))
		alarm_manager(a, "our own certificate was revoked");
	ly_net_recheck(a->net);
}

enum ly_rc
ly_distrust_peer(const struct ly_agent *a, const struct ly_peer *peer,
    struct ly_why *why)
{
	if (!a->demand || peer->attested)
		return LY_OK;
	return ly_fail(why, LY_REFUSED,
	    "%s is not enrolled: its certificate says of no TPM, and this site"
	    " demands that",
	    peer->id);
}

static void
on_look(uv_timer_t *timer)
{
	struct ly_distrust *d = timer->data;
	char text[LY_WHY_MAX];
	const char *site;

	while ((site = ly_identity_stale(d->agent->ids, ly_wall_s()))) {
		ly_print(text, sizeof(text),
		    "the list of revoked certificates of site %s is out of"
		    " date; it may lack the newest",
		    site);
		alarm_manager(d->agent, text);
	}
}

struct ly_distrust *
ly_distrust_begin(struct ly_agent *agent)
{
	struct ly_distrust *d = calloc(1, sizeof(*d));

	if (!d)
		abort();
	d->agent = agent;
	uv_timer_init(agent->loop, &d->timer);
	d->timer.data = d;
	uv_timer_start(&d->timer, on_look, LOOK_MS, LOOK_MS);
	uv_unref((uv_handle_t *)&d->timer);
	return d;
}

static void
on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void
ly_distrust_end(struct ly_distrust *d)
{
	uv_close((uv_handle_t *)&d->timer, on_closed);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What our manager asks of a home: BIND, UNBIND, ASK, SHOW. */
#include "agent/io/homes_in.h"

#include <stdlib.h>

static void
no(ly_homes_done *done, void *arg, enum ly_rc rc, const char *why)
{
	done(arg, rc, LY_FATE_UNKNOWN, 0, why, "");
}

static void
no_such_vm(ly_homes_done *done, void *arg)
{
	no(done, arg, LY_UNKNOWN, "no such VM has its home here");
}

static struct home *
user_of(struct ly_homes *hs, const char *tpm)
{
	for (struct home *h = hs->first; h; h = h->next)
		if (strcmp(h->core.rec.tpm, tpm) == 0)
			return h;
	return NULL;
}

/* The TPM that is asked for, or the first nobody has. */
static enum ly_rc
choose_tpm(struct ly_homes *hs, const char *want, const char **out,
    struct ly_why *why)
{
	const struct ly_agent_conf *conf = &hs->agent->conf;
	const struct home *user;

	if (!*want) {
		for (size_t i = 0; i < conf->tpms_n; i++)
			if (!user_of(hs, conf->tpms[i].name)) {
				*out = conf->tpms[i].name;
				return LY_OK;
			}
		return conf->tpms_n ?
		    ly_fail(why, LY_FULL, "all %zu TPMs of this host are taken",
			conf->tpms_n) :
		    ly_fail(why, LY_REFUSED,
			"this host has no TPM: it can be no home");
	}
	if (!ly_home_tpm_conf(hs, want)) {
		char names[200];

		ly_homes_tpms(hs, names, sizeof(names));
		return ly_fail(why, LY_UNKNOWN, "no TPM %s here; there is: %s",
		    want, names);
	}
	user = user_of(hs, want);
	if (user)
		return ly_fail(why, LY_REFUSED, "TPM %s belongs to VM %s", want,
		    user->core.rec.name);
	*out = want;
	return LY_OK;
}

static struct binding *
binding_new(ly_homes_done *done, void *arg)
{
	struct binding *b = calloc(1, sizeof(*b));

	if (!b)
		abort();
	b->done = done;
	b->arg = arg;
	return b;
}

void
ly_homes_bind(struct ly_homes *hs, const struct ly_bind *m, ly_homes_done *done,
    void *arg)
{
	struct home *h = ly_home_of(hs, &m->vm);
	struct ly_record rec = { .vm = m->vm, .state = LY_REC_DETACHED };
	struct ly_why why;
	const char *tpm = NULL;
	enum ly_rc rc;

	if (h && h->binding) {
		no(done, arg, LY_BUSY, "being written");
		return;
	}
	if (h) { /* asked again: the same answer */
		done(arg, LY_OK, LY_FATE_UNKNOWN, h->core.rec.epoch, "",
		    h->core.rec.tpm);
		return;
	}
	rc = choose_tpm(hs, m->tpm, &tpm, &why);
	if (rc != LY_OK) {
		no(done, arg, rc, why.text);
		return;
	}
	ly_copy(rec.name, sizeof(rec.name), m->name);
	ly_copy(rec.tpm, sizeof(rec.tpm), tpm);
	h = ly_home_add(hs, &rec);
	if (!h)
		abort();
	h->binding = binding_new(done, arg);
	ly_homes_write(hs);
}

void
ly_homes_unbind(struct ly_homes *hs, const struct ly_id *vm,
    ly_homes_done *done, void *arg)
{
	struct home *h = ly_home_of(hs, vm);

	if (!h) {
		done(arg, LY_OK, LY_FATE_UNKNOWN, 0, "", "");
	} else if (h->binding || h->core.writing) {
		no(done, arg, LY_BUSY, "being written");
	} else if (h->core.rec.state != LY_REC_DETACHED) {
		no(done, arg, LY_REFUSED, "a host still holds its lease");
	} else {
		h->binding = binding_new(done, arg);
		h->leaving = true;
		ly_homes_write(hs);
	}
}

/* A BIND that could not be written never was; an UNBIND neither. */
void
ly_home_bound(struct home *h, enum ly_rc rc, const char *why)
{
	struct binding *b = h->binding;
	bool leave = h->leaving ? rc == LY_OK : rc != LY_OK;
	char tpm[LY_NAME_MAX];

	if (!b)
		return;
	h->binding = NULL;
	h->leaving = false;
	ly_copy(tpm, sizeof(tpm), h->core.rec.tpm);
	if (leave)
		ly_home_drop(h->homes, h);
	b->done(b->arg, rc, LY_FATE_UNKNOWN, 0, rc == LY_OK ? "" : why, tpm);
	free(b);
}

void
ly_homes_end_asks(struct ly_homes *hs)
{
	for (struct home *h = hs->first; h; h = h->next) {
		struct binding *b = h->binding;

		h->binding = NULL;
		if (b)
			no(b->done, b->arg, LY_OUTSIDE, "the agent ends");
		free(b);
		ly_home_vpcrs_end(h);
	}
	for (size_t i = 0; i < hs->doors_n; i++) {
		struct ly_door_slot *d = &hs->doors[i];

		if (d->id && d->done)
			no(d->done, d->arg, LY_OUTSIDE, "the agent ends");
		d->done = NULL;
	}
}

void
ly_homes_ask(struct ly_homes *hs, const struct ly_id *vm,
    const struct ly_id *mig, bool abort_, ly_homes_done *done, void *arg)
{
	struct home *h = ly_home_of(hs, vm);
	struct ly_door_slot *d;

	if (h && h->binding) {
		no(done, arg, LY_BUSY, "being written");
		return;
	}
	d = h ? ly_home_door(hs, h) : NULL;
	if (!d) {
		no_such_vm(done, arg);
		return;
	}
	d->done = done;
	d->arg = arg;
	ly_home_query(h, d->id, NULL, abort_, mig);
}

void
ly_homes_show(struct ly_homes *hs, const struct ly_id *vm, ly_homes_done *done,
    void *arg)
{
	struct home *h = ly_home_of(hs, vm);
	const struct ly_record *rec;
	char json[LY_VALUE_MAX], mig[LY_ID_TEXT];
	static const char *const tpm[] = { "ready", "running",
		"failed until reset" };

	if (!h) {
		no_such_vm(done, arg);
		return;
	}
	rec = &h->core.rec;
	/* All texts in a record are names of ours: no quotes to escape. */
	ly_print(json, sizeof(json),
	    "{\"name\":\"%s\",\"tpm\":\"%s\",\"state\":\"%s\",\"epoch\":%llu,"
	    "\"holder\":\"%s\",\"seq\":%llu,\"linked\":%s,\"tpm_state\":\"%s\","
	    "\"migration\":\"%s\",\"to\":\"%s\",\"disk_ok\":%s,"
	    "\"vault\":%llu}",
	    rec->name, rec->tpm, ly_record_state_name(rec->state),
	    (unsigned long long)rec->epoch,
	    rec->state == LY_REC_DETACHED ? "" : rec->holder,
	    (unsigned long long)h->core.seq, h->core.door ? "true" : "false",
	    tpm[h->core.tpm],
	    ly_id_none(&rec->mig) ? "" : ly_id_text(&rec->mig, mig), rec->to,
	    hs->disk_ok && hs->vault_ok ? "true" : "false",
	    (unsigned long long)hs->vault_version);
	done(arg, LY_OK, LY_FATE_UNKNOWN, rec->epoch, "", json);
}

static enum ly_rc
find_decided(struct ly_homes *hs, const struct ly_id *vm,
    const struct ly_id *mig, struct ly_decided *out, struct ly_why *why)
{
	struct home *h = ly_home_of(hs, vm);
	enum ly_fate fate = LY_FATE_UNKNOWN;

	*out = (struct ly_decided){ .vm = *vm, .mig = *mig };
	if (h)
		fate = ly_record_fate(&h->core.rec, mig, &out->epoch);
	if (fate != LY_FATE_CLAIMED && fate != LY_FATE_ABORTED)
		return ly_fail(why, LY_UNKNOWN, "nothing was decided yet");
	out->fate = (uint8_t)fate;
	out->seq = h->core.seq;
	if (h->core.rec.state != LY_REC_DETACHED)
		ly_copy(out->holder, sizeof(out->holder), h->core.rec.holder);
	return LY_OK;
}

enum ly_rc
ly_homes_decided(struct ly_homes *hs, const struct ly_id *vm,
    const struct ly_id *mig, uint8_t out[LY_STATEMENT_MAX], size_t *len,
    struct ly_why *why)
{
	uint8_t tagged[1024];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));
	struct ly_decided d;
	enum ly_rc rc = find_decided(hs, vm, mig, &d, why);

	if (rc != LY_OK)
		return rc;
	ly_message_put_tagged(&ly_decided_message, &d, &w);
	assert(!w.bad);
	*len = LY_STATEMENT_MAX;
	return ly_sign(hs->agent->ids, LY_TYPE_OUTCOME, tagged, ly_wr_len(&w),
	    out, len, why);
}

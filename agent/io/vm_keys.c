/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's attested migration: joins the keys (keys.h) to the source and the
 * destination of its stream, and says of a migration without keys whether this
 * host takes part in it.
 */
#include "agent/io/vm_keys.h"

#include "agent/io/approved.h"
#include "agent/io/vm_in.h"

#include <stdlib.h>

#define NO_TPM                                                                 \
	"this host has no TPM of its own to prove itself with: set `attest`"

/* ---- what the keys ask for ---- */

static void
on_answer(void *arg, const struct ly_done *m)
{
	const struct ly_agent *a = arg;

	ly_control_answer(a->control, m);
}

static const struct ly_approved *
on_approved(void *arg, const char *site, struct ly_point *key)
{
	uint8_t name[LY_TPM_NAME];
	struct ly_why why;

	if (ly_agent_policy_name(arg, site, name, key, &why) == LY_OK)
		return ly_agent_approved(arg, site);
	ly_log(LY_WARNING, "keys", "approved states of %s: %s", site, why.text);
	return NULL;
}

/* The stream may come. The VM waits for it here, or the key is of no use. */
static void
on_unlocked(void *arg, const struct ly_id *mig)
{
	struct ly_agent *a = arg;
	struct vm *vm = a->vms ? ly_vm_of_mig(a->vms, mig) : NULL;
	struct ly_dest_params p = { .net = a->net };
	struct ly_lanes_params lanes;
	struct ly_why why;
	enum ly_rc rc = LY_OK;

	if (!vm || !vm->dest || !vm->keyed)
		rc = ly_fail(&why, LY_REFUSED,
		    "no VM waits here for the stream of this key");
	if (rc == LY_OK)
		rc = ly_keys_take(a->keys, mig, &lanes, &why);
	p.lanes = &lanes;
	if (rc == LY_OK)
		rc = ly_dest_keys(vm->dest, &p, &why);
	if (rc == LY_OK)
		return;
	ly_log(LY_WARNING, vm ? vm->name : "keys", "%s", why.text);
	ly_keys_end(a->keys, mig, why.text);
}

enum ly_rc
ly_vm_keys_open(struct ly_agent *a, struct ly_chip *chip,
    void (*quote)(void *arg, const struct ly_context *c, ly_keys_told *told,
	void *told_arg),
    struct ly_why *why)
{
	static const char *const when[] = { [LY_FIN_AUTO] = "auto",
		[LY_FIN_INLINE] = "inline",
		[LY_FIN_AFTER] = "after" };
	struct ly_keys_ops ops = { .answer = on_answer,
		.approved = on_approved,
		.unlocked = on_unlocked,
		.quote = quote };
	struct ly_keys_params p = { .loop = a->loop,
		.ids = a->ids,
		.chip = chip };

	for (unsigned i = 0; i < LY_COUNT(when); i++)
		if (strcmp(a->conf.fin_quote, when[i]) == 0)
			p.fin_quote = i;
	return ly_keys_open(&p, &ops, a, &a->keys, why);
}

/* ---- requests ---- */

static void
refuse(struct ly_agent *a, const struct ly_keying *m)
{
	ly_control_done(a->control, m->req, LY_REFUSED, LY_FATE_OPEN, 0, NO_TPM,
	    "");
}

void
ly_vm_key(struct ly_agent *a, const struct ly_keying *m)
{
	if (a->keys)
		ly_keys_key(a->keys, m);
	else
		refuse(a, m);
}

void
ly_vm_import(struct ly_agent *a, const struct ly_keying *m)
{
	if (a->keys)
		ly_keys_import(a->keys, m);
	else
		refuse(a, m);
}

void
ly_vm_unlock(struct ly_agent *a, const struct ly_keying *m)
{
	if (a->keys)
		ly_keys_unlock(a->keys, m);
	else
		refuse(a, m);
}

/* ---- with keys, or without ---- */

bool
ly_vm_keys_has(const struct ly_vms *vms, const struct ly_id *mig)
{
	return vms->agent->keys && ly_keys_has(vms->agent->keys, mig);
}

const char *
ly_vm_keys_missing(const struct ly_vms *vms, const struct ly_id *mig)
{
	if (!vms->agent->demand || ly_vm_keys_has(vms, mig))
		return NULL;
	return "this site demands that a VM moves only between hosts that have"
	       " proved what they are, and nobody has called for that";
}

enum ly_rc
ly_vm_keys_copy(struct ly_vms *vms, const struct ly_copy *m,
    struct ly_lanes_params *lanes, struct ly_why *why)
{
	const char *no = ly_vm_keys_missing(vms, &m->mig);

	if (no)
		return ly_fail(why, LY_REFUSED, "%s", no);
	if (m->lanes && !vms->agent->keys)
		return ly_fail(why, LY_REFUSED, NO_TPM);
	if (m->lanes)
		return ly_keys_copy(vms->agent->keys, m, lanes, why);
	if (ly_vm_keys_has(vms, &m->mig))
		return ly_fail(why, LY_REFUSED,
		    "this migration was called for with keys, and goes with"
		    " them or not at all");
	return LY_OK;
}

void
ly_vm_keys_end(struct ly_vms *vms, const struct ly_id *mig, const char *why)
{
	ly_keys_end(vms->agent->keys, mig, why);
}

/* ---- the source ---- */

/* Who waits for what the keys tell; the VM may be gone by then. */
struct waiting {
	struct ly_agent *agent;
	struct ly_id mig;
	struct ly_done done;
};

static struct waiting *
waiting_new(struct ly_vms *vms, const struct ly_id *mig)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->agent = vms->agent;
	w->mig = *mig;
	return w;
}

static void
on_sealed(void *arg, enum ly_rc rc, const char *why, const struct ly_seal *seal)
{
	struct waiting *w = arg;
	struct ly_vms *vms = w->agent->vms; /* NULL: the agent ends */
	struct vm *vm = vms ? ly_vm_of_mig(vms, &w->mig) : NULL;

	free(w);
	if (vm && vm->source)
		ly_source_sealed(vm->source, rc, why, seal);
}

void
ly_vm_seal(void *arg, const struct ly_lanes_sum *sum)
{
	struct vm *vm = arg;
	struct ly_sent sent = { .vm = vm->id,
		.mig = vm->mig,
		.epoch = vm->core.epoch,
		.seq = vm->core.seq,
		.bytes = sum->bytes,
		.lanes = sum->lanes };

	memcpy(sent.root, sum->root, sizeof(sent.root));
	memcpy(sent.token, vm->token_hash, sizeof(sent.token));
	ly_keys_send(vm->vms->agent->keys, &sent, on_sealed,
	    waiting_new(vm->vms, &vm->mig));
}

void
ly_vm_arrived_there(void *arg, struct ly_bytes statement)
{
	struct vm *vm = arg;

	ly_keys_arrived(vm->vms->agent->keys, &vm->mig, statement);
}

/* A proof with a hole is the manager's to judge. */
static void
on_proof(void *arg, enum ly_rc rc, const char *why, struct ly_bytes proof)
{
	struct waiting *w = arg;

	if (rc != LY_OK && rc != LY_BUSY)
		ly_log(LY_WARNING, "keys", "no proof of what was sent: %s",
		    why);
	w->done.data = proof;
	if (rc != LY_BUSY) /* else somebody else asks by now */
		ly_control_answer(w->agent->control, &w->done);
	free(w);
}

void
ly_vm_prove(struct ly_vms *vms, uint32_t req, const struct past *p)
{
	struct waiting *w = waiting_new(vms, &p->mig);

	w->done = (struct ly_done){ .req = req,
		.rc = (uint8_t)p->rc,
		.fate = (uint8_t)p->fate,
		.epoch = p->epoch };
	ly_copy(w->done.why, sizeof(w->done.why), p->why);
	ly_copy(w->done.value, sizeof(w->done.value), p->value);
	ly_keys_destroy(vms->agent->keys, &p->mig, on_proof, w);
}

/* ---- the destination ---- */

enum ly_rc
ly_vm_fin_check(void *arg, const struct ly_fin *fin,
    const struct ly_lanes_sum *sum, struct ly_why *why)
{
	struct vm *vm = arg;

	return ly_keys_check(vm->vms->agent->keys, fin, sum, why);
}

bool
ly_vm_token_good(struct vm *vm)
{
	struct ly_bytes token = { ly_vm_area(vm, LY_AREA_REQUEST, LY_TOKEN_MAX),
		vm->token_len };
	struct ly_why why;

	if (!vm->keyed ||
	    ly_keys_token(vm->vms->agent->keys, &vm->mig, token, &why) == LY_OK)
		return true;
	ly_vm_alarm(vm, why.text);
	return false;
}

struct ly_bytes
ly_vm_arrived_here(void *arg, const struct ly_lanes_sum *sum, uint64_t epoch)
{
	struct vm *vm = arg;
	struct ly_arrived a = { .vm = vm->id,
		.mig = vm->mig,
		.epoch = epoch,
		.bytes = sum->bytes };

	memcpy(a.root, sum->root, sizeof(a.root));
	return ly_keys_arrive(vm->vms->agent->keys, &a);
}

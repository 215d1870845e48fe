/* SPDX-License-Identifier: Apache-2.0 */
/* What became of the last migrations here, for who asks once more. */
#include "agent/io/vm_in.h"

const struct past *
ly_vms_past(const struct ly_vms *vms, const struct ly_id *mig)
{
	for (unsigned i = 0; i < LY_PAST_MAX; i++)
		if (!ly_id_none(mig) && ly_id_same(&vms->past[i].mig, mig))
			return &vms->past[i];
	return NULL;
}

struct past *
ly_vm_remember(struct ly_vms *vms, const struct ly_id *mig, enum ly_rc rc,
    enum ly_fate fate, uint64_t epoch, const char *why, const char *value)
{
	struct past *p = &vms->past[vms->past_at++ % LY_PAST_MAX];

	*p = (struct past){ .mig = *mig,
		.rc = rc,
		.fate = fate,
		.epoch = epoch };
	ly_copy(p->why, sizeof(p->why), why);
	ly_copy(p->value, sizeof(p->value), value);
	return p;
}

void
ly_vm_answer_past(struct ly_vms *vms, uint32_t req, const struct past *p)
{
	if (p->proved)
		ly_vm_prove(vms, req, p);
	else
		ly_control_done(vms->agent->control, req, p->rc, p->fate,
		    p->epoch, p->why, p->value);
}

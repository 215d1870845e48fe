/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/attest/place.h"

#include <stdarg.h>
#include <stdio.h>

static enum ly_rc
differ(struct ly_why *why, const char *what)
{
	return ly_fail(why, LY_REFUSED,
	    "the quotes of the host and of the TPM's home are of another %s",
	    what);
}

enum ly_rc
ly_place_link(const struct ly_context *place, const struct ly_context *tpm,
    struct ly_why *why)
{
	static const uint8_t nobody[32];

	if (place->role != LY_QUOTE_PLACE || tpm->role != LY_QUOTE_TPM)
		return ly_fail(why, LY_REFUSED,
		    "not the quotes of a place and of a TPM");
	if (!ly_same(place->nonce, tpm->nonce, sizeof(place->nonce)))
		return differ(why, "question");
	if (ly_id_none(&tpm->vm) || !ly_id_same(&place->vm, &tpm->vm))
		return differ(why, "VM");
	if (place->epoch != tpm->epoch)
		return differ(why, "epoch");
	if (strcmp(place->self, tpm->source) != 0 ||
	    strcmp(tpm->self, place->home) != 0)
		return differ(why, "pair of hosts");
	if (ly_same(tpm->holder_hk, nobody, sizeof(nobody)))
		return ly_fail(why, LY_REFUSED,
		    "nobody is linked to the VM's TPM");
	if (!ly_same(tpm->holder_hk, place->hk, sizeof(place->hk)))
		return ly_fail(why, LY_REFUSED,
		    "who is linked to the VM's TPM has another TLS key than"
		    " %s: its quote is relayed",
		    place->self);
	return LY_OK;
}

struct out {
	char *at;
	size_t left;
};

static LY_PRINTF(2, 3) void say(struct out *o, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(o->at, o->left, fmt, ap);
	va_end(ap);
	assert(n >= 0 && (size_t)n < o->left);
	o->at += n;
	o->left -= (size_t)n;
}

static void
say_hex(struct out *o, const char *key, const uint8_t b[32])
{
	char hex[65];

	ly_hex(b, 32, hex);
	say(o, "%s %s\n", key, hex);
}

static void
say_vm(struct out *o, const struct ly_placed *p)
{
	char id[LY_ID_TEXT];

	say(o, "vm %s %.63s\n", ly_id_text(&p->vm, id), p->name);
	say(o, "epoch %llu\nseq %llu\n", (unsigned long long)p->epoch,
	    (unsigned long long)p->seq);
	say(o, "home %.159s\nhome-class %.63s\nhome-state %.95s\n", p->home,
	    p->home_class, p->home_state);
	say_hex(o, "vm-pcrs", p->vpcrs);
}

void
ly_placed_text(const struct ly_placed *p, char out[LY_PLACED_MAX])
{
	struct out o = { out, LY_PLACED_MAX };

	say(&o, "lanyard attestation 1\nsite %.63s\nmanager %.159s\n", p->site,
	    p->manager);
	say(&o, "host %.159s\nhost-class %.63s\nhost-state %.95s\n", p->host,
	    p->host_class, p->host_state);
	say_hex(&o, "host-key", p->hk);
	if (!ly_id_none(&p->vm))
		say_vm(&o, p);
	say_hex(&o, "nonce", p->nonce);
	say(&o, "from %llu\nuntil %llu\n", (unsigned long long)p->from,
	    (unsigned long long)p->until);
}

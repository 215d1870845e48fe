/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of attested migrations: what the fakes of fake_agent.h know of
 * evidence and keys. Each has a TPM in software (tests/unit/fake_chip.h) with a
 * boot behind it, and a certificate that says so. They answer alike when asked
 * again, check what a real one would, and can be spoilt in one thing at a time.
 */
#ifndef LY_TESTS_FAKE_ATTEST_H
#define LY_TESTS_FAKE_ATTEST_H

#include "lib/attest/blob.h"
#include "lib/attest/streamkeys.h"
#include "lib/crypt/cert.h"
#include "tests/io/fake_agent.h"
#include "tests/unit/eventlog_gen.h"
#include "tests/unit/fake_chip.h"

/* One thing that is wrong. */
enum fake_spoil {
	SPOIL_NOTHING,
	SPOIL_NONCE,	   /* evidence of another call */
	SPOIL_ROLE,	   /* a quote made as something else */
	SPOIL_CHIP,	   /* of another TPM */
	SPOIL_BOOT,	   /* booted since it was enrolled */
	SPOIL_STATE,	   /* another boot loader, and its log */
	SPOIL_LOG,	   /* a log that is not that of its PCRs */
	SPOIL_HOLDER,	   /* the home: somebody else's link */
	SPOIL_SWAP,	   /* the source: the destination's evidence */
	SPOIL_NO_EVIDENCE, /* DONE without any */
	SPOIL_NO_PROOF,	   /* the end: none */
	SPOIL_ROOT,	   /* ARRIVED is not SENT */
	SPOIL_LATER_BOOT,  /* the quote over SENT: booted meanwhile */
	SPOIL_LATER_STATE, /* the same: in another state meanwhile */
	SPOIL_SIGNER,	   /* SENT by another host */
	SPOIL_KEY,	   /* SENT by a key that it has not quoted */
	SPOIL_NO_QUOTE,	   /* no quote over DESTROYED */
	SPOIL_SEQ,	   /* DECIDED names another epoch */
};

#define FAKE_LIST_CLASS "compute"

struct fake_papers {
	struct ly_id mig;
	struct ly_call call;
	struct ly_point manager; /* who signed the call */
	uint8_t evidence[LY_AS_PLACE][64 * 1024];
	size_t evidence_len[LY_AS_PLACE];
	uint8_t blob[1024], session[32], confirm[32];
	size_t blob_len;
	bool has_session, open;
};

struct fake_tpm {
	struct fake_chip chip;
	struct gen boot;
	char pem[8192];
	uint8_t hk[32];
	struct ly_identity *other; /* the same name, another key */
	enum fake_spoil spoil;
	struct fake_papers p; /* of the newest migration */
	uint8_t vpcrs;	      /* of the VM's TPM; 0: as ever */
	unsigned calls;	      /* nonces seen */
	unsigned releases;    /* good ones, all the same */
	uint8_t release[LY_SIG_RAW];
	struct fake_evidence room;
	uint8_t proof[64 * 1024];
};

static struct fake_tpm tpms[FAKES_MAX];
static struct fake *fake_first; /* the array of fakes */

static struct fake_tpm *
tpm_of(const struct fake *f)
{
	return &tpms[f - fake_first];
}

static struct fake *
fake_by_id(const char *id)
{
	for (unsigned i = 0; i < FAKES_MAX; i++)
		if (strcmp(fake_first[i].id, id) == 0)
			return &fake_first[i];
	return NULL;
}

/* A state that is approved, and one that is not. */
static void
boot_of(struct gen *g, bool good)
{
	gen_start(g, 2);
	gen_boot(g,
	    good ? "\\EFI\\debian\\grubx64.efi" : "\\EFI\\evil\\grubx64.efi",
	    "1");
}

/* ---- evidence ---- */

static struct ly_context
context_of(const struct fake *f, const struct ly_call *c, uint8_t role)
{
	struct fake_tpm *t = tpm_of(f);
	struct fake *source = fake_by_id(c->source);
	struct ly_context x = { .role = (uint8_t)ly_quote_type_of(role),
		.vm = c->vm,
		.mig = c->mig,
		.epoch = c->epoch };

	memcpy(x.nonce, c->nonce, sizeof(x.nonce));
	if (t->spoil == SPOIL_NONCE)
		x.nonce[0] ^= 1;
	if (t->spoil == SPOIL_ROLE)
		x.role = LY_QUOTE_PLACE;
	ly_copy(x.self, sizeof(x.self), f->id);
	ly_copy(x.source, sizeof(x.source), c->source);
	ly_copy(x.dest, sizeof(x.dest), c->dest);
	ly_copy(x.home, sizeof(x.home), c->home);
	memcpy(x.hk, t->hk, 32);
	memcpy(x.sk_name, t->chip.sk.name, LY_TPM_NAME);
	if (role == LY_AS_DEST)
		memset(x.launch, 0x4c, 32);
	if (role == LY_AS_HOME) {
		x.seq = 6;
		memset(x.vpcrs, t->vpcrs ? t->vpcrs : 0x50, 32);
		memcpy(x.holder_hk, tpm_of(source)->hk, 32);
		if (t->spoil == SPOIL_HOLDER)
			x.holder_hk[0] ^= 1;
	}
	return x;
}

/* Packed; with a log or without. */
static size_t
make_evidence(const struct fake *f, const struct ly_context *x, bool log,
    uint8_t *out, size_t size)
{
	struct fake_tpm *t = tpm_of(f);
	static struct fake_chip other;
	struct fake_chip *chip = &t->chip;
	static struct gen boot;

	boot_of(&boot,
	    t->spoil != SPOIL_STATE && (log || t->spoil != SPOIL_LATER_STATE));
	memcpy(chip->pcr, boot.pcr, sizeof(chip->pcr));
	chip->reset_count = 7u + (t->spoil == SPOIL_BOOT);
	if (t->spoil == SPOIL_LATER_BOOT && !log)
		chip->reset_count++;
	if (t->spoil == SPOIL_CHIP) {
		fake_chip_init(&other, 99);
		memcpy(other.pcr, boot.pcr, sizeof(other.pcr));
		chip = &other;
	}
	fake_quote(chip, x, &t->room);
	t->room.ev.certificate = (struct ly_bytes){ (uint8_t *)t->pem,
		strlen(t->pem) };
	if (t->spoil == SPOIL_LOG)
		boot_of(&boot, false);
	if (log)
		t->room.ev.log = gen_log(&boot);
	return fake_pack(&t->room.ev, out, size);
}

static enum ly_rc
take_call(struct fake *f, struct ly_bytes object, struct fake_papers *p)
{
	const uint8_t *tagged;
	size_t len;
	struct ly_peer signer;
	struct ly_cert_key key;
	struct ly_bytes der = ly_signed_by(object);
	struct ly_call call;
	struct ly_why why = { "" };

	if (ly_verify(f->ids, LY_TYPE_CALL, object.at, object.len, &tagged,
		&len, &signer, &why) != LY_OK ||
	    ly_message_get_tagged(&ly_call_message, tagged, len, &call, &why) !=
		LY_OK ||
	    ly_cert_key(der.at, der.len, &key, &why) != LY_OK) {
		print_error("call: %s\n", why.text);
		return LY_REFUSED;
	}
	if (ly_id_same(&p->mig, &call.mig) &&
	    memcmp(call.nonce, p->call.nonce, 32) != 0)
		return LY_REFUSED; /* one nonce for a migration */
	if (!ly_id_same(&p->mig, &call.mig)) {
		memset(p, 0, sizeof(*p));
		tpm_of(f)->calls++;
		tpm_of(f)->releases = 0;
	}
	p->mig = call.mig;
	p->call = call;
	p->manager = key.point;
	return LY_OK;
}

static void
fake_answers_quote(struct fake *f, const struct ly_quote *q, struct ly_done *d)
{
	struct fake_tpm *t = tpm_of(f);
	struct fake_papers *p = &t->p;
	struct ly_context x;

	d->rc = (uint8_t)take_call(f, q->call, p);
	if (d->rc || t->spoil == SPOIL_NO_EVIDENCE)
		return;
	if (q->role == LY_AS_DEST && q->definition.len == 0)
		d->rc = LY_MALFORMED;
	if (t->spoil == SPOIL_SWAP) {
		f = fake_by_id(p->call.dest);
		x = context_of(f, &p->call, LY_AS_DEST);
		p->evidence_len[q->role] = make_evidence(f, &x, true,
		    p->evidence[q->role], sizeof(p->evidence[0]));
	}
	if (!p->evidence_len[q->role]) {
		x = context_of(f, &p->call, q->role);
		p->evidence_len[q->role] = make_evidence(f, &x, true,
		    p->evidence[q->role], sizeof(p->evidence[0]));
	}
	d->data = (struct ly_bytes){ p->evidence[q->role],
		p->evidence_len[q->role] };
}

/* ---- the key ---- */

static bool
same_bytes(struct ly_bytes a, const uint8_t *at, size_t len)
{
	return a.len == len && memcmp(a.at, at, len) == 0;
}

static void
release_ref_of(const struct fake_papers *p, uint8_t ref[32])
{
	struct fake_tpm *dest = tpm_of(fake_by_id(p->call.dest));

	ly_release_ref(&p->mig, p->call.nonce, p->call.dest, dest->chip.sk.name,
	    ref);
}

static void
fake_answers_key(struct fake *f, const struct ly_keying *k, struct ly_done *d)
{
	struct fake_papers *p = &tpm_of(f)->p;
	struct fake_tpm *dest = tpm_of(fake_by_id(p->call.dest));
	struct ly_wr w = ly_wr_over(p->blob, sizeof(p->blob));
	uint8_t chance[LY_BLOB_CHANCE], ref[32], key[LY_MIG_KEY_LEN],
	    manager[LY_TPM_NAME];
	struct ly_blob_room room;
	struct ly_key_blob blob;
	struct ly_policy policy;

	if (!same_bytes(k->evidence, dest->p.evidence[LY_AS_DEST],
		dest->p.evidence_len[LY_AS_DEST])) {
		d->rc = LY_REFUSED;
		return;
	}
	if (!p->blob_len) {
		ly_random(chance, sizeof(chance));
		ly_random(key, sizeof(key));
		release_ref_of(p, ref);
		ly_tpm_authority_name(&p->manager, manager);
		ly_policy_of_key(p->call.policy, p->call.ref, manager, ref,
		    &policy);
		SITE_OK(ly_blob_make(&dest->chip.sk, &policy, key, sizeof(key),
		    chance, &room, &blob, &why));
		ly_message_put(&ly_key_blob_message, &blob, &w);
		assert(!w.bad);
		p->blob_len = ly_wr_len(&w);
	}
	d->data = (struct ly_bytes){ p->blob, p->blob_len };
}

static void
fake_answers_import(struct fake *f, const struct ly_keying *k,
    struct ly_done *d)
{
	struct fake_papers *p = &tpm_of(f)->p;
	struct fake_papers *source = &tpm_of(fake_by_id(p->call.source))->p;

	if (!same_bytes(k->evidence, source->evidence[LY_AS_SOURCE],
		source->evidence_len[LY_AS_SOURCE]) ||
	    !same_bytes(k->blob, source->blob, source->blob_len)) {
		d->rc = LY_REFUSED;
		return;
	}
	if (!p->has_session)
		ly_random(p->session, sizeof(p->session));
	p->has_session = true;
	d->data = (struct ly_bytes){ p->session, sizeof(p->session) };
}

/* As a TPM: PolicySigned, over its own nonce. */
static void
fake_answers_unlock(struct fake *f, const struct ly_keying *k,
    struct ly_done *d)
{
	struct fake_papers *p = &tpm_of(f)->p;
	struct ly_bytes nonce = { p->session, sizeof(p->session) };
	uint8_t ref[32], msg[LY_RELEASE_SIGNED_MAX];
	size_t len;

	release_ref_of(p, ref);
	SITE_OK(ly_release_signed(nonce, ref, msg, &len, &why));
	if (!p->has_session || k->blob.len != LY_SIG_RAW ||
	    !ly_ecdsa_good(&p->manager, msg, len, k->blob.at)) {
		d->rc = LY_REFUSED;
		ly_print(d->why, sizeof(d->why), "the TPM says 0x5db");
		return;
	}
	if (!tpm_of(f)->releases++)
		memcpy(tpm_of(f)->release, k->blob.at, LY_SIG_RAW);
	else
		WANT(memcmp(tpm_of(f)->release, k->blob.at, LY_SIG_RAW) == 0);
	if (!p->open)
		ly_random(p->confirm, sizeof(p->confirm));
	p->open = true;
	d->data = (struct ly_bytes){ p->confirm, sizeof(p->confirm) };
}

/* ---- the end ---- */

static struct ly_bytes
say_signed(struct ly_identity *by, const struct ly_message *table,
    const void *in, uint8_t *out, size_t size)
{
	uint8_t tagged[1024];
	struct ly_wr w = ly_wr_over(tagged, sizeof(tagged));

	ly_message_put_tagged(table, in, &w);
	assert(!w.bad);
	SITE_OK(
	    ly_sign(by, table->type, tagged, ly_wr_len(&w), out, &size, &why));
	return (struct ly_bytes){ out, size };
}

static struct ly_bytes
quote_over(struct fake *f, enum ly_quote_type type, uint64_t epoch,
    struct ly_bytes statement, uint8_t *out, size_t size)
{
	struct ly_context x = context_of(f, &tpm_of(f)->p.call, LY_AS_SOURCE);

	x.role = (uint8_t)type;
	x.epoch = epoch;
	ly_sha256(statement.at, statement.len, x.over);
	return (struct ly_bytes){ out, make_evidence(f, &x, false, out, size) };
}

/* After fake_copy(): vm has the new epoch and seq. */
static void
fake_proves(struct fake *f, const struct fake_vm *vm, struct ly_done *d)
{
	static uint8_t one[4096], two[4096], three[4096], four[24576],
	    five[24576];
	struct fake_tpm *t = tpm_of(f);
	struct fake_papers *p = &t->p;
	struct fake *dest = fake_by_id(p->call.dest);
	struct ly_sent sent = { .vm = vm->id,
		.mig = p->mig,
		.epoch = p->call.epoch,
		.seq = vm->seq,
		.bytes = 1000,
		.lanes = p->call.lanes,
		.root = { 9 } };
	struct ly_arrived arrived = { .vm = vm->id,
		.mig = p->mig,
		.epoch = vm->epoch,
		.seq = vm->seq,
		.bytes = 1000,
		.root = { 9 } };
	struct ly_destroyed gone = { .vm = vm->id,
		.mig = p->mig,
		.epoch = p->call.epoch,
		.when = 1 };
	struct ly_move_proof proof;
	struct ly_wr w = ly_wr_over(t->proof, sizeof(t->proof));

	if (t->spoil == SPOIL_NO_PROOF)
		return;
	if (t->spoil == SPOIL_ROOT)
		arrived.root[31] = 1;
	proof.sent = say_signed(t->spoil == SPOIL_SIGNER ? dest->ids :
		t->spoil == SPOIL_KEY			 ? t->other :
							   f->ids,
	    &ly_sent_message, &sent, one, sizeof(one));
	proof.arrived = say_signed(dest->ids, &ly_arrived_message, &arrived,
	    two, sizeof(two));
	proof.destroyed = say_signed(f->ids, &ly_destroyed_message, &gone,
	    three, sizeof(three));
	proof.sent_evidence = quote_over(f, LY_QUOTE_SENT, sent.epoch,
	    proof.sent, four, sizeof(four));
	proof.destroyed_evidence = quote_over(f, LY_QUOTE_DESTROYED, gone.epoch,
	    proof.destroyed, five, sizeof(five));
	if (t->spoil == SPOIL_NO_QUOTE)
		proof.destroyed_evidence.len = 0;
	ly_message_put(&ly_move_proof_message, &proof, &w);
	assert(!w.bad);
	d->data = (struct ly_bytes){ t->proof, ly_wr_len(&w) };
}

static void
fake_says_decided(struct fake *f, const struct fake_vm *vm, struct ly_done *d)
{
	static uint8_t out[4096];
	struct ly_decided said = { .vm = vm->id,
		.mig = vm->mig,
		.fate = (uint8_t)vm->fate,
		.epoch = vm->epoch + (tpm_of(f)->spoil == SPOIL_SEQ),
		.seq = vm->seq };

	ly_copy(said.holder, sizeof(said.holder), vm->holder);
	d->data = say_signed(f->ids, &ly_decided_message, &said, out,
	    sizeof(out));
}

/* ---- for fake_agent.h ---- */

/* Instead of what a fake does. */
static bool
fake_attested(struct fake *f, unsigned type, const union ly_any *m,
    struct ly_done *d)
{
	if (type == LY_QUOTE)
		fake_answers_quote(f, &m->quote, d);
	else if (type == LY_KEY)
		fake_answers_key(f, &m->keying, d);
	else if (type == LY_IMPORT)
		fake_answers_import(f, &m->keying, d);
	else if (type == LY_UNLOCK)
		fake_answers_unlock(f, &m->keying, d);
	else
		return false;
	return true;
}

/* After what a fake does. */
static void
fake_attested_after(struct fake *f, unsigned type, const union ly_any *m,
    struct fake_vm *vm, struct ly_done *d)
{
	struct fake_papers *p = &tpm_of(f)->p;

	if (type == LY_SHOW && !ly_id_none(&m->request.mig)) {
		fake_says_decided(f, vm, d);
	} else if (type == LY_COPY) {
		struct fake *dest = fake_by_id(m->copy.dest);

		WANT_INT(m->copy.lanes, p->call.lanes);
		WANT(memcmp(m->copy.confirm, tpm_of(dest)->p.confirm, 32) == 0);
		if (d->fate == LY_FATE_CLAIMED)
			fake_proves(f, vm, d);
	}
}

/* FILE.pem of a host that was enrolled, with its chip number `n`. */
static void
fake_enrol(struct fake *f, const char *site, const char *name, unsigned n)
{
	struct fake_tpm *t = &tpms[f - fake_first];
	struct ly_peer host = { .role = LY_ROLE_HOST,
		.attested = true,
		.class_ = FAKE_LIST_CLASS,
		.reset_count = 7,
		.restart_count = 1,
		.approval = 1 };
	char *csr = NULL, *pem = NULL, file[2 * LY_NAME_MAX + 8];
	struct ly_cert_key key;

	fake_chip_init(&t->chip, n);
	ly_spiffe_host(site, name, host.id);
	ly_copy(host.site, sizeof(host.site), site);
	ly_copy(host.name, sizeof(host.name), name);
	memcpy(host.ak_name, t->chip.ak.name, LY_TPM_NAME);
	memcpy(host.sk_name, t->chip.sk.name, LY_TPM_NAME);
	ly_print(file, sizeof(file), "%s-%s", site, name);
	SITE_OK(ly_ca_request(host.id, site_path("%s.key", file), &csr, &why));
	SITE_OK(ly_ca_sign_host(site_path("%s.ca.key", site),
	    site_path("%s.ca.pem", site), csr, &host, 3600, &pem, &why));
	SITE_OK(ly_file_write(site_path("%s.pem", file), pem, strlen(pem), 0644,
	    &why));
	ly_copy(t->pem, sizeof(t->pem), pem);
	SITE_OK(ly_cert_key(pem, strlen(pem), &key, &why));
	memcpy(t->hk, key.spki, 32);
	free(csr);
	free(pem);
	ly_print(file, sizeof(file), "%s-%s-other", site, name);
	site_certify(file, site, host.id);
	t->other = site_load(file, "trust");
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of enrolment: what the fakes of fake_agent.h do when they are
 * asked to prove themselves. Each has a TPM in software
 * (tests/unit/fake_chip.h), which opens challenges as a real one would, and a
 * TLS key of its own; and each can be spoilt in one thing.
 */
#ifndef LY_TESTS_FAKE_ENROL_H
#define LY_TESTS_FAKE_ENROL_H

#include "lib/attest/blob.h"
#include "lib/io/ca.h"
#include "tests/io/manager_scene.h"
#include "tests/unit/fake_chip.h"

#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

enum spoil {
	SPOIL_NOTHING,
	SPOIL_AK,     /* the AK of another TPM */
	SPOIL_LOOSE,  /* an AK that is not restricted */
	SPOIL_MOVES,  /* an SK without fixedTPM */
	SPOIL_CSR,    /* a request for another TLS key */
	SPOIL_HK,     /* all of it for another TLS key than that of CSR */
	SPOIL_CERT,   /* the EK certificate of another TPM */
	SPOIL_REPLAY, /* the proof that it gave first */
	SPOIL_BOOT,   /* it boots between BEGIN and PROVE, once */
	SPOIL_BARE,   /* sends the secret itself back, with a good quote */
};

struct fake_tpm {
	struct fake_chip chip, other;
	EVP_PKEY *hk, *spare;
	uint8_t csr[1024], spare_csr[1024], cert[2048];
	size_t csr_len, spare_len, cert_len;
	enum spoil spoil;
	unsigned asked[LY_ENROL_STEPS];
	bool deaf;	     /* does not answer */
	struct ly_bytes log; /* of its boot */

	/* Of the attempt. */
	uint8_t keys[16384];
	size_t keys_len;
	uint8_t proof[65536]; /* the first that it gave */
	size_t proof_len;

	/* What it was given. */
	char certificate[8192], ak_certificate[8192];
	uint8_t demand;
};

static struct fake_tpm tpms[FAKES];

/* ---- the maker of these TPMs ---- */

static EVP_PKEY *maker_key;
static X509 *maker;

static void
ext(X509 *cert, X509 *issuer, const char *name, const char *value)
{
	CONF *none = NCONF_new(NULL);
	X509V3_CTX v3;
	X509_EXTENSION *e;

	X509V3_set_ctx(&v3, issuer, cert, NULL, NULL, 0);
	X509V3_set_nconf(&v3, none);
	e = X509V3_EXT_nconf(none, &v3, name, value);
	WANT(e && X509_add_ext(cert, e, -1));
	X509_EXTENSION_free(e);
	NCONF_free(none);
}

static X509 *
certificate(EVP_PKEY *key, const char *cn, long serial)
{
	X509 *cert = X509_new();

	WANT(cert && X509_set_version(cert, X509_VERSION_3));
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial);
	X509_gmtime_adj(X509_getm_notBefore(cert), -60);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN",
	    MBSTRING_ASC, (const unsigned char *)cn, -1, -1, 0);
	WANT(X509_set_pubkey(cert, key));
	return cert;
}

static void
make_maker(void)
{
	FILE *f;

	maker_key = EVP_EC_gen("P-256");
	maker = certificate(maker_key, "Maker of TPMs", 1);
	X509_set_issuer_name(maker, X509_get_subject_name(maker));
	ext(maker, maker, "basicConstraints", "critical,CA:TRUE");
	ext(maker, maker, "keyUsage", "critical,keyCertSign");
	WANT(X509_sign(maker, maker_key, EVP_sha256()));
	SITE_OK(ly_file_mkdir(site_path("makers"), 0755, &why));
	f = fopen(site_path("makers/maker.pem"), "w");
	WANT(f && PEM_write_X509(f, maker));
	fclose(f);
}

static EVP_PKEY *
key_of(const struct ly_point *p)
{
	uint8_t spki[LY_SPKI_P256];
	const uint8_t *at = spki;

	ly_spki_of(p, spki);
	return d2i_PUBKEY(NULL, &at, sizeof(spki));
}

/* As makers do: no subject to speak of, and critical things that nobody but
 * TPM people knows. */
static void
make_ek_cert(struct fake_tpm *t, const struct fake_chip *chip, long serial)
{
	EVP_PKEY *key = key_of(&chip->ek.point);
	X509 *cert = certificate(key, "EK", serial);
	uint8_t *at = t->cert;

	X509_set_issuer_name(cert, X509_get_subject_name(maker));
	ext(cert, maker, "basicConstraints", "critical,CA:FALSE");
	ext(cert, maker, "keyUsage", "critical,keyAgreement");
	ext(cert, maker, "extendedKeyUsage", "2.23.133.8.1");
	ext(cert, maker, "1.2.3.4.5", "critical,DER:0500");
	WANT(X509_sign(cert, maker_key, EVP_sha256()));
	t->cert_len = (size_t)i2d_X509(cert, NULL);
	WANT(t->cert_len < sizeof(t->cert));
	i2d_X509(cert, &at);
	memset(at, 0xff, 16); /* an NV index is padded */
	t->cert_len += 16;
	X509_free(cert);
	EVP_PKEY_free(key);
}

/* ---- a host ---- */

static size_t
request_of(const char *id, EVP_PKEY **key, uint8_t out[1024])
{
	char *pem = NULL;
	uint8_t *at = out;
	X509_REQ *req;
	BIO *bio;
	FILE *f;

	SITE_OK(ly_ca_request(id, site_path("hk.key"), &pem, &why));
	bio = BIO_new_mem_buf(pem, -1);
	req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
	WANT(req && i2d_X509_REQ(req, NULL) <= 1024);
	i2d_X509_REQ(req, &at);
	f = fopen(site_path("hk.key"), "r");
	*key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	WANT(*key);
	fclose(f);
	X509_REQ_free(req);
	BIO_free(bio);
	free(pem);
	return (size_t)(at - out);
}

/* Its agent was started anew: another TLS key. */
static void
new_hk(int f)
{
	struct fake_tpm *t = &tpms[f];

	EVP_PKEY_free(t->hk);
	t->csr_len = request_of(fakes[f].id, &t->hk, t->csr);
}

static void
make_tpm(int f, unsigned number)
{
	struct fake_tpm *t = &tpms[f];

	fake_chip_init(&t->chip, number);
	fake_chip_init(&t->other, number + 100);
	memset(t->chip.pcr, 0, sizeof(t->chip.pcr)); /* as after no event */
	new_hk(f);
	t->spare_len = request_of(fakes[f].id, &t->spare, t->spare_csr);
	make_ek_cert(t, &t->chip, 0xab0 + number);
}

static void
hash_of(EVP_PKEY *key, uint8_t out[32])
{
	uint8_t *der = NULL;
	int len = i2d_PUBKEY(key, &der);

	WANT(len > 0);
	ly_sha256(der, (size_t)len, out);
	OPENSSL_free(der);
}

static void
context_of(int f, struct ly_context *x, enum ly_quote_type role,
    const uint8_t nonce[32])
{
	struct fake_tpm *t = &tpms[f];

	*x = (struct ly_context){ .role = (uint8_t)role };
	ly_copy(x->self, sizeof(x->self), fakes[f].id);
	memcpy(x->nonce, nonce, 32);
	memcpy(x->sk_name, t->chip.sk.name, LY_TPM_NAME);
	hash_of(t->spoil == SPOIL_HK ? t->spare : t->hk, x->hk);
}

static struct ly_bytes
bent(struct ly_bytes area, uint32_t bit, uint8_t room[LY_PUBLIC_MAX])
{
	struct ly_wr w = ly_wr_over(room + 4, 4);
	struct ly_rd r = ly_rd_over(area.at + 4, 4);

	memcpy(room, area.at, area.len);
	ly_wr_u32(&w, ly_rd_u32(&r) ^ bit);
	return (struct ly_bytes){ room, area.len };
}

static void
certify(struct fake_chip *chip, const struct ly_context *x,
    struct ly_enrol_keys *k, uint8_t context[LY_CONTEXT_MAX],
    uint8_t area[LY_ATTEST_MAX], const uint8_t name[LY_TPM_NAME])
{
	struct ly_wr w = ly_wr_over(area, LY_ATTEST_MAX);
	uint8_t q[32];

	ly_qualify_context(x, context, &k->context, q);
	fake_head(chip, LY_ATTEST_CERTIFY, q, &w);
	for (int i = 0; i < 2; i++) {
		ly_wr_u16(&w, LY_TPM_NAME);
		ly_wr_bytes(&w, name, LY_TPM_NAME);
	}
	fake_sign(chip, &w, k->certify_signature);
	k->certify = (struct ly_bytes){ area, ly_wr_len(&w) };
}

static void
fake_begin(int f, const struct ly_enrol *m, struct ly_done *d)
{
	struct fake_tpm *t = &tpms[f];
	struct fake_chip *signer = t->spoil == SPOIL_AK ? &t->other : &t->chip;
	uint8_t context[LY_CONTEXT_MAX], area[LY_ATTEST_MAX], ak[LY_PUBLIC_MAX],
	    sk[LY_PUBLIC_MAX];
	struct ly_enrol_keys k = { .ek = t->chip.ek.area,
		.ek_cert = { t->cert, t->cert_len },
		.ak = signer->ak.area,
		.sk = t->chip.sk.area,
		.csr = { t->csr, t->csr_len } };
	struct ly_wr w = ly_wr_over(t->keys, sizeof(t->keys));
	struct ly_context x;

	if (t->spoil == SPOIL_LOOSE)
		k.ak = bent(k.ak, 1u << 16, ak);
	if (t->spoil == SPOIL_MOVES)
		k.sk = bent(k.sk, 1u << 1, sk);
	if (t->spoil == SPOIL_CSR)
		k.csr = (struct ly_bytes){ t->spare_csr, t->spare_len };
	context_of(f, &x, LY_QUOTE_ENROL_CERTIFY, m->nonce);
	certify(signer, &x, &k, context, area, t->chip.sk.name);
	ly_message_put(&ly_enrol_keys_message, &k, &w);
	WANT(!w.bad);
	t->keys_len = ly_wr_len(&w);
	d->data = (struct ly_bytes){ t->keys, t->keys_len };
}

/* TPM 2.0 part 1, "Credential Protection", from the TPM's side. */
static bool
activate(const struct fake_chip *c, const uint8_t name[LY_TPM_NAME],
    const struct ly_enrol_dare *dare, uint8_t secret[32])
{
	struct ly_rd s = ly_rd_over(dare->secret.at, dare->secret.len);
	struct ly_rd id = ly_rd_over(dare->credential.at, dare->credential.len);
	uint8_t z[32], seed[32], key[32], is[32], buf[128];
	const uint8_t *mac, *sealed;
	struct ly_point q;
	struct ly_wr w;
	size_t n;

	ly_rd_u16(&s);
	WANT(ly_rd_u16(&s) == 32);
	memcpy(q.x, ly_rd_bytes(&s, 32), 32);
	WANT(ly_rd_u16(&s) == 32);
	memcpy(q.y, ly_rd_bytes(&s, 32), 32);
	WANT(ly_ecdh(c->ek_secret, &q, z) == LY_OK);
	w = ly_wr_over(buf, sizeof(buf));
	ly_wr_u32(&w, 1);
	ly_wr_bytes(&w, z, 32);
	ly_wr_bytes(&w, "IDENTITY", 9);
	ly_wr_bytes(&w, q.x, 32);
	ly_wr_bytes(&w, c->ek.point.x, 32);
	ly_sha256(buf, ly_wr_len(&w), seed);

	ly_rd_u16(&id);
	WANT(ly_rd_u16(&id) == 32);
	mac = ly_rd_bytes(&id, 32);
	n = ly_rd_left(&id);
	sealed = ly_rd_bytes(&id, n);
	w = ly_wr_over(buf, sizeof(buf));
	ly_wr_u32(&w, 1);
	ly_wr_bytes(&w, "INTEGRITY", 10);
	ly_wr_u32(&w, 256);
	ly_hmac(seed, 32, buf, ly_wr_len(&w), key);
	w = ly_wr_over(buf, sizeof(buf));
	ly_wr_bytes(&w, sealed, n);
	ly_wr_bytes(&w, name, LY_TPM_NAME);
	ly_hmac(key, 32, buf, ly_wr_len(&w), is);
	if (memcmp(is, mac, 32) != 0)
		return false; /* made for another Name, or another EK */
	w = ly_wr_over(buf, sizeof(buf));
	ly_wr_u32(&w, 1);
	ly_wr_bytes(&w, "STORAGE", 8);
	ly_wr_bytes(&w, name, LY_TPM_NAME);
	ly_wr_u32(&w, 128);
	ly_hmac(seed, 32, buf, ly_wr_len(&w), key);
	memcpy(buf, sealed, n);
	ly_cfb_open(key, buf, n);
	memcpy(secret, buf + 2, 32);
	return true;
}

static void
fake_prove(int f, const struct ly_enrol *m, struct ly_done *d)
{
	static uint8_t packed[LY_EVIDENCE_MAX], out[LY_EVIDENCE_MAX];
	struct fake_tpm *t = &tpms[f];
	struct ly_wr w = ly_wr_over(out, sizeof(out));
	struct ly_enrol_proof p;
	struct ly_enrol_dare dare;
	struct fake_evidence fe;
	struct ly_context x;
	uint8_t secret[32];

	SITE_OK(ly_message_get(&ly_enrol_dare_message, m->data.at, m->data.len,
	    &dare, &why));
	if (!activate(&t->chip, t->chip.ak.name, &dare, secret)) {
		d->rc = LY_REFUSED;
		ly_copy(d->why, sizeof(d->why), "not for this TPM");
		return;
	}
	if (t->spoil == SPOIL_BOOT) {
		t->chip.reset_count++;
		t->spoil = SPOIL_NOTHING;
	}
	context_of(f, &x, LY_QUOTE_ENROL, m->nonce);
	ly_enrol_transcript((struct ly_bytes){ t->keys, t->keys_len }, m->data,
	    m->nonce, x.over);
	fake_quote(&t->chip, &x, &fe);
	fe.ev.log = t->log;
	ly_hmac(secret, 32, x.over, 32, p.hmac);
	if (t->spoil == SPOIL_BARE)
		memcpy(p.hmac, secret, 32);
	p.evidence = (struct ly_bytes){ packed,
		fake_pack(&fe.ev, packed, sizeof(packed)) };
	ly_message_put(&ly_enrol_proof_message, &p, &w);
	WANT(!w.bad);
	d->data = (struct ly_bytes){ out, ly_wr_len(&w) };
	if (!t->proof_len) {
		WANT(d->data.len <= sizeof(t->proof));
		memcpy(t->proof, out, d->data.len);
		t->proof_len = d->data.len;
	}
	if (t->spoil == SPOIL_REPLAY)
		d->data = (struct ly_bytes){ t->proof, t->proof_len };
}

static void
keep_pem(struct ly_bytes from, char out[8192])
{
	WANT(from.len < 8192);
	memcpy(out, from.at, from.len);
	out[from.len] = '\0';
}

static void
fake_take(int f, const struct ly_enrol *m)
{
	struct fake_tpm *t = &tpms[f];
	struct ly_enrol_papers p;

	SITE_OK(ly_message_get(&ly_enrol_papers_message, m->data.at,
	    m->data.len, &p, &why));
	keep_pem(p.certificate, t->certificate);
	keep_pem(p.ak_certificate, t->ak_certificate);
	t->demand = p.demand;
}

static void
fake_renew(int f, const struct ly_enrol *m, struct ly_done *d)
{
	static uint8_t packed[LY_EVIDENCE_MAX];
	struct fake_evidence fe;
	struct ly_context x;

	context_of(f, &x, LY_QUOTE_RENEW, m->nonce);
	fake_quote(&tpms[f].chip, &x, &fe);
	fe.ev.log = tpms[f].log;
	d->data = (struct ly_bytes){ packed,
		fake_pack(&fe.ev, packed, sizeof(packed)) };
}

static bool
enrols(struct fake *fake, unsigned type, const union ly_any *any,
    struct ly_done *d)
{
	const struct ly_enrol *m = &any->enrol;
	int f = (int)(fake - fakes);

	if (type != LY_ENROL)
		return false;
	tpms[f].asked[m->step]++;
	if (m->step == LY_ENROL_BEGIN)
		fake_begin(f, m, d);
	else if (m->step == LY_ENROL_PROVE)
		fake_prove(f, m, d);
	else if (m->step == LY_ENROL_TAKE)
		fake_take(f, m);
	else
		fake_renew(f, m, d);
	return true;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What hosts and managers show one another about their TPMs: evidence, what
 * stands in a quote, and what passes at enrolment and when a key is handed
 * over. Tables only (lib/wire/field.h); all travel packed inside a message's
 * `data`, `blob` or `evidence`, but a context, which is always tagged.
 *
 * TPM structures are the TPM's own bytes. TPMT_PUBLIC and TPMS_ATTEST stand
 * without a size in front, what the name TPM2B_... says has its own.
 */
#ifndef LY_ATTEST_EVIDENCE_H
#define LY_ATTEST_EVIDENCE_H

#include "lib/wire/signed.h"

#define LY_TYPE_EVIDENCE 0x0110
#define LY_TYPE_ENROL_KEYS 0x0111
#define LY_TYPE_ENROL_DARE 0x0112
#define LY_TYPE_ENROL_PROOF 0x0113
#define LY_TYPE_ENROL_PAPERS 0x0114
#define LY_TYPE_KEY_BLOB 0x0115
#define LY_TYPE_MOVE_PROOF 0x0116

#define LY_TPM_NAME 34	    /* bytes of a Name: algorithm, SHA-256 */
#define LY_PUBLIC_MAX 512   /* bytes of a TPMT_PUBLIC */
#define LY_ATTEST_MAX 512   /* bytes of a TPMS_ATTEST */
#define LY_CONTEXT_MAX 1536 /* bytes of a tagged context */
#define LY_PCRS_N 24
#define LY_CHAIN_MAX (16u * 1024) /* bytes of a certificate and its issuers */
#define LY_LOG_MAX (160u * 1024)  /* bytes of an event log */
#define LY_CSR_MAX 2048
/* A proof has two pieces of evidence beside the statements, so each is small:
 * it has no event log. */
#define LY_FIN_EVIDENCE_MAX (24u * 1024)

/* The PCRs of the SHA-256 bank that a key is sealed to, and that are quoted:
 * firmware, boot loader, secure boot's keys, the kernel's image. Bit i is PCR
 * i. */
#define LY_SEALED_PCRS 0x000895u /* 0, 2, 4, 7, 11 */

/* What a quote is for. The number is in what the TPM signs, so that a quote
 * made for one purpose is none for another. Never renumber. */
enum ly_quote_type {
	LY_QUOTE_ENROL_CERTIFY = 1, /* TPM2_Certify: SK is in AK's TPM */
	LY_QUOTE_ENROL = 2,
	LY_QUOTE_RENEW = 3,
	LY_QUOTE_SOURCE = 4, /* in a migration */
	LY_QUOTE_DEST = 5,
	LY_QUOTE_HOME = 6,
	LY_QUOTE_SENT = 7,	/* by the source, over its SENT statement */
	LY_QUOTE_DESTROYED = 8, /* the same, over DESTROYED */
	LY_QUOTE_PLACE = 9,	/* outside of any: the VM runs here */
	LY_QUOTE_TPM = 10,	/* outside of any: its TPM is here */
	LY_QUOTE_TYPES
};
/* "source", "destination", ...: for people. "?" if out of range. */
const char *ly_quote_type_name(unsigned type);
/* What a host asked as `role` (enum ly_quote_role) quotes; 0 if none. */
unsigned ly_quote_type_of(unsigned role);

/*
 * All that a quote says beside the PCRs (tagged rendering, LY_TYPE_CONTEXT).
 * What does not apply is zero or empty.
 */
struct ly_context {
	uint8_t role;	   /* enum ly_quote_type, once more */
	uint8_t nonce[32]; /* the verifier's */
	struct ly_id vm, mig;
	uint64_t epoch;
	uint64_t seq;		    /* HOME, TPM: the home's last one */
	char self[LY_SPIFFE_MAX];   /* who quotes */
	char source[LY_SPIFFE_MAX]; /* or, outside of any, the holder */
	char dest[LY_SPIFFE_MAX];
	char home[LY_SPIFFE_MAX];
	uint8_t hk[32]; /* SHA-256 of the SPKI of its TLS key; for HOME and
			 * TPM, see `holder_hk` too */
	uint8_t sk_name[LY_TPM_NAME];
	uint8_t launch[32]; /* DEST: of QEMU, firmware, definition */
	uint8_t vpcrs[32];  /* HOME, TPM: SHA-256 over PCRs 0..15 (SHA-256
			     * bank, in order) of the VM's TPM */
	uint8_t over[32];   /* SENT, DESTROYED: SHA-256 of the statement as it
			     * was signed; ENROL: of the challenge */
	uint8_t holder_hk[32]; /* HOME, TPM: `hk` of the host at the other end
				* of the VM's link, or zeros: nobody is */
};
extern const struct ly_message ly_context_message;

/* Rows of the context, for ly_context_match(). */
enum ly_context_row {
	LY_CTX_ROLE = 1u << 0,
	LY_CTX_NONCE = 1u << 1,
	LY_CTX_VM = 1u << 2,
	LY_CTX_MIG = 1u << 3,
	LY_CTX_EPOCH = 1u << 4,
	LY_CTX_SEQ = 1u << 5,
	LY_CTX_SELF = 1u << 6,
	LY_CTX_SOURCE = 1u << 7,
	LY_CTX_DEST = 1u << 8,
	LY_CTX_HOME = 1u << 9,
	LY_CTX_HK = 1u << 10,
	LY_CTX_SK_NAME = 1u << 11,
	LY_CTX_LAUNCH = 1u << 12,
	LY_CTX_VPCRS = 1u << 13,
	LY_CTX_OVER = 1u << 14,
	LY_CTX_HOLDER_HK = 1u << 15,
};

/* Every row of `have` that is not in `open` must be that of `want`: LY_REFUSED
 * names the first that is not. */
LY_MUST enum ly_rc ly_context_match(const struct ly_context *have,
    const struct ly_context *want, uint32_t open, struct ly_why *why);

/* What a host answers when it is asked for a quote. */
struct ly_evidence {
	struct ly_bytes quote;	/* TPMS_ATTEST */
	uint8_t signature[64];	/* over it, by AK: r, then s */
	uint32_t pcr_mask;	/* of the SHA-256 bank */
	struct ly_bytes pcrs;	/* 32 bytes for each bit of it, ascending */
	struct ly_bytes ak, sk; /* TPMT_PUBLIC */
	struct ly_bytes certificate; /* of the host: PEM, leaf first */
	struct ly_bytes context;     /* struct ly_context, tagged */
	struct ly_bytes log; /* event log as firmware wrote it; or empty */
};
extern const struct ly_message ly_evidence_message;

/* The value of one PCR; NULL: it is not among them. */
const uint8_t *ly_evidence_pcr(const struct ly_evidence *ev, unsigned pcr);
/* The context in it. LY_MALFORMED also unless its `role` is a quote type. */
LY_MUST enum ly_rc ly_evidence_context(const struct ly_evidence *ev,
    struct ly_context *out, struct ly_why *why);

/* ENROL step BEGIN, the host's answer. `certify` is of SK by AK, with
 * LY_QUOTE_ENROL_CERTIFY over `context`: nonce, self, hk, sk_name. */
struct ly_enrol_keys {
	struct ly_bytes ek_cert;    /* DER, from the TPM's NV; or empty */
	struct ly_bytes ek, ak, sk; /* TPMT_PUBLIC */
	struct ly_bytes certify;    /* TPMS_ATTEST */
	uint8_t certify_signature[64];
	struct ly_bytes context; /* tagged */
	struct ly_bytes csr;	 /* DER, of the TLS key HK */
};
extern const struct ly_message ly_enrol_keys_message;

/* PROVE, the manager's: what only the TPM with EK and AK can open. */
struct ly_enrol_dare {
	struct ly_bytes credential; /* TPM2B_ID_OBJECT */
	struct ly_bytes secret;	    /* TPM2B_ENCRYPTED_SECRET */
};
extern const struct ly_message ly_enrol_dare_message;

/* PROVE, the host's answer. `hmac` is HMAC-SHA-256 under the 32 bytes that
 * were in the credential, over ly_enrol_transcript(). */
struct ly_enrol_proof {
	uint8_t hmac[32];
	struct ly_bytes evidence; /* LY_QUOTE_ENROL; `over`: the transcript */
};
extern const struct ly_message ly_enrol_proof_message;

/* TAKE, the manager's. */
struct ly_enrol_papers {
	struct ly_bytes certificate;	/* PEM, leaf first */
	struct ly_bytes ak_certificate; /* PEM */
	uint8_t
	    demand; /* 1: the site believes no host without its own papers */
};
extern const struct ly_message ly_enrol_papers_message;

/* SHA-256 over the BEGIN answer as it went over the wire, PROVE's data as it
 * went, and PROVE's nonce; each with its length before it. */
void ly_enrol_transcript(struct ly_bytes keys, struct ly_bytes dare,
    const uint8_t nonce[32], uint8_t out[32]);

/* KEY: K for one TPM in an approved state (blob.h). */
struct ly_key_blob {
	struct ly_bytes public;	   /* TPM2B_PUBLIC */
	struct ly_bytes duplicate; /* TPM2B_PRIVATE */
	struct ly_bytes seed;	   /* TPM2B_ENCRYPTED_SECRET */
};
extern const struct ly_message ly_key_blob_message;

/* COPY's answer: statements as they were signed, and the quotes over them. */
struct ly_move_proof {
	struct ly_bytes sent;	       /* signed struct ly_sent */
	struct ly_bytes sent_evidence; /* LY_QUOTE_SENT over it */
	struct ly_bytes arrived;       /* signed struct ly_arrived */
	struct ly_bytes destroyed;     /* signed struct ly_destroyed */
	struct ly_bytes destroyed_evidence;
};
extern const struct ly_message ly_move_proof_message;

#endif

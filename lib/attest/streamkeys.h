/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of one attested stream, all from K, which the source made and only
 * the destination's TPM gave out. They are bound to the transcript T of what
 * both have seen before, to the direction, the lane and its generation: a key
 * of one lane opens no other, and none is used twice.
 *
 *	PRK      = HKDF-Extract(nonce, K)                         (SHA-384)
 *	K_c      = HKDF-Expand(PRK, "lanyard confirm" 00 | T, 32)
 *	K_fin    = HKDF-Expand(PRK, "lanyard fin" 00 | T, 32)
 *	psk[i,g] = HKDF-Expand(PRK, "lanyard psk v1" 00 | source 00 | dest 00 |
 *	           u8 lane | u32 generation | T, 48)
 */
#ifndef LY_ATTEST_STREAMKEYS_H
#define LY_ATTEST_STREAMKEYS_H

#include "lib/attest/evidence.h"
#include "lib/crypt/crypt.h"

#define LY_PSK_LEN 48
#define LY_PSK_ID_MAX 48 /* of an identity, with its NUL */
#define LY_MIG_KEY_LEN 32

/* Secret: wiped with ly_stream_keys_wipe() by who holds one. */
struct ly_stream_keys {
	struct ly_id mig;
	char source[LY_SPIFFE_MAX], dest[LY_SPIFFE_MAX];
	uint8_t lanes;
	uint8_t prk[LY_SHA384_SIZE];
	uint8_t transcript[32]; /* T */
};

/* T: SHA-256 over the four as they went over the wire, each behind its u32
 * length: the signed call, the destination's evidence, the source's, the
 * packed ly_key_blob. */
void ly_stream_transcript(struct ly_bytes call, struct ly_bytes dest_evidence,
    struct ly_bytes source_evidence, struct ly_bytes blob, uint8_t out[32]);

/* `call` has nonce, mig, source, dest and lanes. */
void ly_stream_keys_make(const uint8_t key[LY_MIG_KEY_LEN],
    const struct ly_call *call, const uint8_t transcript[32],
    struct ly_stream_keys *out);
void ly_stream_keys_wipe(struct ly_stream_keys *keys);

/* HMAC(K_c, role | T). `role`: "dest" (COPY.confirm) or "source". */
void ly_stream_confirm(const struct ly_stream_keys *keys, const char *role,
    uint8_t out[32]);
/* FIN.mac: HMAC(K_fin, statement as it was signed). */
void ly_stream_fin_mac(const struct ly_stream_keys *keys,
    struct ly_bytes statement, uint8_t out[32]);
/* `generation` counts the connections of a lane from 0. */
void ly_stream_psk(const struct ly_stream_keys *keys, uint8_t lane,
    uint32_t generation, uint8_t out[LY_PSK_LEN]);

/* "ly1.BASE64URL(mig).LANE.GENERATION": in clear in the ClientHello, so there
 * is no VM in it. */
void ly_stream_identity(const struct ly_id *mig, uint8_t lane,
    uint32_t generation, char out[LY_PSK_ID_MAX]);
/* LY_MALFORMED unless it is exactly one, lane below LY_LANES_MAX. */
LY_MUST enum ly_rc ly_stream_identity_read(const char *text, size_t len,
    struct ly_id *mig, uint8_t *lane, uint32_t *generation);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Digests, MACs, keys from keys, P-256 on raw numbers, and the little of RSA
 * and AES that a TPM wants: arithmetic on bytes that are given, no files, no
 * clock, nothing kept. The pure rooms may use all of it; OpenSSL is spoken
 * behind this header (and cert.h), in lib/io, and nowhere else.
 *
 * A function without a result cannot fail for what it is given; if OpenSSL
 * itself is broken it aborts.
 */
#ifndef LY_CRYPT_CRYPT_H
#define LY_CRYPT_CRYPT_H

#include "lib/base/cursor.h"
#include "lib/base/text.h"

#define LY_SHA256_SIZE 32
#define LY_SHA384_SIZE 48
#define LY_SIG_RAW 64	/* an ECDSA P-256 signature, r then s */
#define LY_RSA_SIZE 256 /* bytes of the only RSA modulus we know: 2048 bits */

/* ---- digests, MACs, randomness ---- */

void ly_sha256(const void *buf, size_t len, uint8_t out[32]);
/* Of two messages of one length; on one core more than half as fast again as
 * one after the other. */
void ly_sha256_pair(const void *a, const void *b, size_t len, uint8_t out_a[32],
    uint8_t out_b[32]);
/* Of `n` pieces, one after the other, nothing between them. */
void ly_sha256_of(const struct ly_bytes *pieces, size_t n, uint8_t out[32]);
void ly_hmac(const uint8_t *key, size_t key_len, const void *buf, size_t len,
    uint8_t out[32]);
void ly_random(void *out, size_t len);

/* SHA-256 bit by bit. A plain value: it may be copied, to go on from here
 * twice, and dropped; there is nothing to free. */
struct ly_hash {
	uint64_t state[14];
};
void ly_hash_start(struct ly_hash *h);
void ly_hash_add(struct ly_hash *h, const void *buf, size_t len);
/* Ends it. */
void ly_hash_end(struct ly_hash *h, uint8_t out[32]);

/* HKDF of RFC 5869 with SHA-384. `len` is at most 255 * 48. */
void ly_hkdf_extract(const void *salt, size_t salt_len, const void *ikm,
    size_t ikm_len, uint8_t prk[LY_SHA384_SIZE]);
void ly_hkdf_expand(const uint8_t prk[LY_SHA384_SIZE], const void *info,
    size_t info_len, uint8_t *out, size_t len);

/* AES-128-CFB (128 bits back), in place, IV zero: a key is for one text. */
void ly_cfb_seal(const uint8_t key[16], uint8_t *buf, size_t len);
void ly_cfb_open(const uint8_t key[16], uint8_t *buf, size_t len);

/* ---- P-256 ---- */

/* A public key: big-endian, each padded to 32 bytes on the left. */
struct ly_point {
	uint8_t x[32], y[32];
};

/* It is on the curve (and so not infinity). */
bool ly_point_good(const struct ly_point *p);
/* LY_BUSY: `secret` is zero or not below the order; take other 32 bytes. */
LY_MUST enum ly_rc ly_point_of(const uint8_t secret[32], struct ly_point *out);
/* x of secret * peer. LY_MALFORMED: `peer` is not on the curve. LY_BUSY: as
 * above. */
LY_MUST enum ly_rc ly_ecdh(const uint8_t secret[32],
    const struct ly_point *peer, uint8_t z[32]);

/* ECDSA with SHA-256 over `msg` (hashed here). */
bool ly_ecdsa_good(const struct ly_point *key, const void *msg, size_t len,
    const uint8_t sig[LY_SIG_RAW]);
/* LY_BUSY: as above. */
LY_MUST enum ly_rc ly_ecdsa_sign(const uint8_t secret[32], const void *msg,
    size_t len, uint8_t sig[LY_SIG_RAW]);

/* The SubjectPublicKeyInfo of a P-256 key, as certificates have it. */
#define LY_SPKI_P256 91
void ly_spki_of(const struct ly_point *key, uint8_t out[LY_SPKI_P256]);
/* Its SHA-256: how quotes name a TLS key. */
void ly_spki_hash(const struct ly_point *key, uint8_t out[32]);
/* Of an RSA-2048 key with exponent 65537. */
void ly_spki_hash_rsa(const uint8_t modulus[LY_RSA_SIZE], uint8_t out[32]);

/* ---- RSA-2048 ---- */

/* OAEP with SHA-256 (and MGF1 of the same) and `label`, whose last byte is a
 * NUL that counts. `exponent` 0 means 65537, as in a TPM. `msg` is at most 190
 * bytes. LY_MALFORMED: not a modulus of 2048 bits. */
LY_MUST enum ly_rc ly_rsa_oaep(const uint8_t modulus[LY_RSA_SIZE],
    uint32_t exponent, const char *label, const void *msg, size_t len,
    uint8_t out[LY_RSA_SIZE]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Known answers, and what must be refused. */
#include "tests/test.h"

#include "lib/crypt/cert.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static struct ly_why why;

/* RFC 6979, A.2.5. */
static const char secret_hex[] =
    "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
static const char x_hex[] =
    "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6";
static const char y_hex[] =
    "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299";
static const char sample_sig[] =
    "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716"
    "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";

static void
unhex(const char *hex, void *out, size_t len)
{
	WANT_INT(ly_unhex(hex, out, len), LY_OK);
}

static void
known_key(uint8_t secret[32], struct ly_point *p)
{
	unhex(secret_hex, secret, 32);
	unhex(x_hex, p->x, 32);
	unhex(y_hex, p->y, 32);
}

TEST(a_hash_in_pieces_is_that_of_the_whole)
{
	static const char text[] = "The quick brown fox jumps over the dog";
	uint8_t whole[32], parts[32], twice[32];
	struct ly_hash h, copy;

	ly_sha256(text, sizeof(text), whole);
	ly_hash_start(&h);
	ly_hash_add(&h, text, 7);
	copy = h;
	ly_hash_add(&h, text + 7, sizeof(text) - 7);
	ly_hash_end(&h, parts);
	WANT_MEM(parts, whole, 32);
	ly_hash_add(&copy, text + 7, sizeof(text) - 7);
	ly_hash_end(&copy, twice);
	WANT_MEM(twice, whole, 32);
}

TEST(hkdf_is_that_of_the_openssl_tool)
{
	static const char prk_hex[] =
	    "d784b247625a35553fd363d093dac253230d963ce9ebc342fa703f4b8d72"
	    "36b19d5299c9fbd2bb920bbb0a9f547d10d3";
	static const char okm_hex[] =
	    "ae258f21d039cd0ae30a1b75372a91c7c7601c4431967b5a25959aac2823"
	    "ed8660c00485b7be6b5e213d565477c929cc9d79a158673c04f367882d07"
	    "b3e62f0cda39f0571621077bbc9b4536b2cffcc5e78e8568492dad97977a"
	    "c6cb58e35f481c56ea22";
	uint8_t ikm[32], salt[13], info[10], prk[48], okm[100], want[100];

	memset(ikm, 0x0b, sizeof(ikm));
	for (size_t i = 0; i < sizeof(salt); i++)
		salt[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(info); i++)
		info[i] = (uint8_t)(0xf0 + i);
	ly_hkdf_extract(salt, sizeof(salt), ikm, sizeof(ikm), prk);
	unhex(prk_hex, want, 48);
	WANT_MEM(prk, want, 48);
	ly_hkdf_expand(prk, info, sizeof(info), okm, sizeof(okm));
	unhex(okm_hex, want, 100);
	WANT_MEM(okm, want, 100);
}

TEST(cfb_gives_back_what_it_took)
{
	uint8_t key[16], plain[21] = "not whole blocks here";
	uint8_t buf[21], want[21];

	memset(key, 7, sizeof(key));
	memcpy(buf, plain, sizeof(buf));
	ly_cfb_seal(key, buf, sizeof(buf));
	/* as `openssl enc -aes-128-cfb` has it, with an IV of zeros */
	unhex("22ecc5697cb9c8403667fa2ae726fadc4d44a486c3", want, sizeof(want));
	WANT_MEM(buf, want, sizeof(buf));
	ly_cfb_open(key, buf, sizeof(buf));
	WANT_MEM(buf, plain, sizeof(buf));
}

TEST(a_public_key_is_the_secrets)
{
	uint8_t secret[32];
	struct ly_point want, p;

	known_key(secret, &want);
	WANT_INT(ly_point_of(secret, &p), LY_OK);
	WANT_MEM(&p, &want, sizeof(p));
	WANT(ly_point_good(&p));
	p.y[31] ^= 1;
	WANT(!ly_point_good(&p));
	memset(&p, 0, sizeof(p));
	WANT(!ly_point_good(&p));
}

TEST(a_number_that_is_no_secret_is_asked_for_again)
{
	uint8_t secret[32] = { 0 }, sig[64];
	struct ly_point p;

	WANT_INT(ly_point_of(secret, &p), LY_BUSY);
	memset(secret, 0xff, sizeof(secret));
	WANT_INT(ly_point_of(secret, &p), LY_BUSY);
	WANT_INT(ly_ecdsa_sign(secret, "x", 1, sig), LY_BUSY);
}

TEST(two_who_exchange_points_have_one_secret)
{
	uint8_t a[32] = { 1, 2 }, b[32] = { 3, 4 }, za[32], zb[32];
	struct ly_point pa, pb;

	WANT_INT(ly_point_of(a, &pa), LY_OK);
	WANT_INT(ly_point_of(b, &pb), LY_OK);
	WANT_INT(ly_ecdh(a, &pb, za), LY_OK);
	WANT_INT(ly_ecdh(b, &pa, zb), LY_OK);
	WANT_MEM(za, zb, 32);
	pb.x[0] ^= 1;
	WANT_INT(ly_ecdh(a, &pb, za), LY_MALFORMED);
}

TEST(a_known_signature_is_good_and_no_other)
{
	uint8_t secret[32], sig[64];
	struct ly_point p;

	known_key(secret, &p);
	unhex(sample_sig, sig, sizeof(sig));
	WANT(ly_ecdsa_good(&p, "sample", 6, sig));
	WANT(!ly_ecdsa_good(&p, "simple", 6, sig));
	sig[63] ^= 1;
	WANT(!ly_ecdsa_good(&p, "sample", 6, sig));
	memset(sig, 0, sizeof(sig));
	WANT(!ly_ecdsa_good(&p, "sample", 6, sig));
	p.x[1] ^= 1;
	WANT(!ly_ecdsa_good(&p, "sample", 6, sig));
}

TEST(what_is_signed_here_is_good_here)
{
	uint8_t secret[32], sig[64];
	struct ly_point p;

	known_key(secret, &p);
	for (int i = 0; i < 40; i++) {
		WANT_INT(ly_ecdsa_sign(secret, &i, sizeof(i), sig), LY_OK);
		WANT(ly_ecdsa_good(&p, &i, sizeof(i), sig));
	}
}

/* ---- certificates and key files ---- */

static EVP_PKEY *
made(const char *kind, const char *curve, size_t bits)
{
	EVP_PKEY *k = curve ? EVP_PKEY_Q_keygen(NULL, NULL, kind, curve) :
			      EVP_PKEY_Q_keygen(NULL, NULL, kind, bits);

	WANT(k);
	return k;
}

static size_t
certificate(EVP_PKEY *key, uint8_t out[2048])
{
	X509 *x = X509_new();
	uint8_t *at = out;
	int len;

	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 60);
	X509_set_pubkey(x, key);
	WANT(X509_sign(x, key, EVP_sha256()));
	len = i2d_X509(x, NULL);
	WANT(len > 0 && len <= 2048);
	i2d_X509(x, &at);
	X509_free(x);
	return (size_t)len;
}

TEST(the_key_of_a_certificate_is_read)
{
	EVP_PKEY *ec = made("EC", "P-256", 0), *rsa = made("RSA", NULL, 2048);
	struct ly_cert_key a, b;
	uint8_t der[2048], spki[32];
	size_t len = certificate(ec, der);

	WANT_INT(ly_cert_key(der, len, &a, &why), LY_OK);
	WANT(!a.rsa && ly_point_good(&a.point));
	ly_spki_hash(&a.point, spki);
	WANT_MEM(a.spki, spki, 32);
	len = certificate(rsa, der);
	WANT_INT(ly_cert_key(der, len, &b, &why), LY_OK);
	WANT(b.rsa && (b.modulus[0] & 0x80));
	WANT_INT(b.exponent, 65537);
	WANT_INT(ly_cert_key(der, len - 1, &b, &why), LY_MALFORMED);
	WANT_INT(ly_cert_key(der, 0, &b, &why), LY_MALFORMED);
	EVP_PKEY_free(ec);
	EVP_PKEY_free(rsa);
}

TEST(a_certificate_with_a_key_of_another_kind_is_refused)
{
	EVP_PKEY *big = made("EC", "P-384", 0), *rsa = made("RSA", NULL, 3072);
	struct ly_cert_key k;
	uint8_t der[2048];
	size_t len = certificate(big, der);

	WANT_INT(ly_cert_key(der, len, &k, &why), LY_REFUSED);
	len = certificate(rsa, der);
	WANT_INT(ly_cert_key(der, len, &k, &why), LY_REFUSED);
	EVP_PKEY_free(big);
	EVP_PKEY_free(rsa);
}

TEST(a_public_key_file_is_read_in_either_form)
{
	EVP_PKEY *ec = made("EC", "P-256", 0);
	struct ly_cert_key a, b;
	uint8_t der[256], *at = der;
	int len = i2d_PUBKEY(ec, &at);
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem;
	long pem_len;

	PEM_write_bio_PUBKEY(bio, ec);
	pem_len = BIO_get_mem_data(bio, &pem);
	WANT_INT(ly_public_key(der, (size_t)len, &a, &why), LY_OK);
	WANT_INT(ly_public_key(pem, (size_t)pem_len, &b, &why), LY_OK);
	WANT_MEM(&a.point, &b.point, sizeof(a.point));
	WANT_MEM(a.spki, b.spki, 32);
	WANT_INT(ly_public_key("x", 1, &b, &why), LY_MALFORMED);
	BIO_free(bio);
	EVP_PKEY_free(ec);
}

/* ---- RSA ---- */

TEST(what_is_wrapped_with_rsa_is_found_with_its_label_only)
{
	EVP_PKEY *rsa = made("RSA", NULL, 2048);
	uint8_t out[LY_RSA_SIZE], back[LY_RSA_SIZE], *at, der[512];
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(rsa, NULL);
	static const char label[] = "IDENTITY";
	struct ly_cert_key k;
	size_t n = sizeof(back);
	int len;

	at = der;
	len = i2d_PUBKEY(rsa, &at);
	WANT_INT(ly_public_key(der, (size_t)len, &k, &why), LY_OK);
	WANT_INT(ly_rsa_oaep(k.modulus, 0, label, "secret", 6, out), LY_OK);
	WANT_INT(EVP_PKEY_decrypt_init(ctx), 1);
	EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING);
	EVP_PKEY_CTX_set_rsa_oaep_md(ctx, EVP_sha256());
	EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha256());
	EVP_PKEY_CTX_set0_rsa_oaep_label(ctx,
	    OPENSSL_memdup(label, sizeof(label)), sizeof(label));
	WANT_INT(EVP_PKEY_decrypt(ctx, back, &n, out, sizeof(out)), 1);
	WANT_INT(n, 6);
	WANT_MEM(back, "secret", 6);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(rsa);
	memset(k.modulus, 0, sizeof(k.modulus));
	WANT_INT(ly_rsa_oaep(k.modulus, 0, label, "secret", 6, out),
	    LY_MALFORMED);
}

/* What is done by hand against OpenSSL, at each length of the tail. */
TEST(two_messages_at_once_have_the_digests_of_each)
{
	static uint8_t a[70000], b[70000];
	uint8_t x[32], y[32], want[32];

	ly_random(a, sizeof(a));
	ly_random(b, sizeof(b));
	for (size_t len = 0; len <= sizeof(a);
	     len += len < 300 ? 1 : 8191 + len % 7) {
		ly_sha256_pair(a, b, len, x, y);
		ly_sha256(a, len, want);
		WANT(memcmp(x, want, 32) == 0);
		ly_sha256(b, len, want);
		WANT(memcmp(y, want, 32) == 0);
	}
}

TEST_MAIN()

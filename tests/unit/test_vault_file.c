/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/vault_file.h"
#include "tests/test.h"

static const uint8_t key[LY_GCM_KEY] = { 1, 2, 3 };
static const char text[] = "web1 is held by north/a in epoch 7";

static uint8_t *
packed(size_t *len)
{
	uint8_t pub[78], priv[160], *out;
	struct ly_vault_head h = { .version = 17,
		.index = 0x1801234,
		.counter = { 0, 0xb, 5 },
		.owner = { 0, 0xb, 6 },
		.pub = { pub, sizeof(pub) },
		.priv = { priv, sizeof(priv) } };

	memset(pub, 7, sizeof(pub));
	memset(priv, 8, sizeof(priv));
	WANT(ly_vault_file_pack(&h, key, (const uint8_t *)text, sizeof(text),
		 &out, len, NULL) == LY_OK);
	return out;
}

/* Opens a copy. */
static enum ly_rc
opened(const uint8_t *buf, size_t len, const uint8_t *with, struct ly_why *why)
{
	uint8_t *copy = malloc(len + 1), *body;
	size_t body_len;
	enum ly_rc rc;

	memcpy(copy, buf, len);
	why->text[0] = '\0';
	rc = ly_vault_file_open(copy, len, with, &body, &body_len, why);
	if (rc == LY_OK) {
		WANT_INT(body_len, sizeof(text));
		WANT_STR((char *)body, text);
	}
	free(copy);
	return rc;
}

TEST(a_vault_opens_with_its_key_and_says_which_version_it_is)
{
	struct ly_vault_head h;
	struct ly_why why;
	size_t len;
	uint8_t *buf = packed(&len);

	WANT_INT(opened(buf, len, key, &why), LY_OK);
	WANT_INT(ly_vault_file_head(buf, len, &h, &why), LY_OK);
	WANT_INT(h.version, 17);
	WANT_INT(h.told, 0);
	WANT_INT(h.index, 0x1801234);
	WANT_INT(h.owner[2], 6);
	WANT_INT(h.priv.len, 160);
	free(buf);
}

TEST(it_does_not_show_what_is_in_it)
{
	size_t len;
	uint8_t *buf = packed(&len);

	WANT(!memmem(buf, len, "web1", 4));
	WANT(!memmem(buf, len, key, sizeof(key)));
	free(buf);
}

TEST(two_of_one_body_under_one_key_share_no_nonce)
{
	struct ly_vault_head a, b;
	size_t len;
	uint8_t *one = packed(&len), *two = packed(&len);

	WANT_INT(ly_vault_file_head(one, len, &a, NULL), LY_OK);
	WANT_INT(ly_vault_file_head(two, len, &b, NULL), LY_OK);
	WANT(memcmp(a.nonce, b.nonce, sizeof(a.nonce)) != 0);
	free(one);
	free(two);
}

TEST(a_vault_does_not_open_with_another_key)
{
	uint8_t other[LY_GCM_KEY] = { 1, 2, 4 };
	struct ly_why why;
	size_t len;
	uint8_t *buf = packed(&len);

	WANT_INT(opened(buf, len, other, &why), LY_MALFORMED);
	WANT_STR(why.text, "damaged, or not of this key");
	free(buf);
}

TEST(a_vault_cut_at_any_length_is_refused_with_a_reason)
{
	struct ly_why why;
	size_t len;
	uint8_t *buf = packed(&len);

	for (size_t cut = 0; cut < len; cut++) {
		WANT_INT(opened(buf, cut, key, &why), LY_MALFORMED);
		WANT(*why.text);
	}
	free(buf);
}

TEST(a_vault_with_any_bit_flipped_is_refused_with_a_reason)
{
	struct ly_why why;
	size_t len;
	uint8_t *buf = packed(&len);

	for (size_t bit = 0; bit < 8 * len; bit++) {
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
		WANT_INT(opened(buf, len, key, &why), LY_MALFORMED);
		WANT(*why.text);
		buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	free(buf);
}

TEST(a_vault_with_a_byte_too_many_is_refused)
{
	struct ly_why why;
	size_t len;
	uint8_t *buf = packed(&len);

	buf = realloc(buf, len + 1);
	buf[len] = 0;
	WANT_INT(opened(buf, len + 1, key, &why), LY_MALFORMED);
	free(buf);
}

TEST(an_empty_body_is_a_body)
{
	struct ly_vault_head h = { .version = 1 };
	uint8_t *buf, *body;
	size_t len, n = 1;

	WANT_INT(ly_vault_file_pack(&h, key, NULL, 0, &buf, &len, NULL), LY_OK);
	WANT_INT(ly_vault_file_open(buf, len, key, &body, &n, NULL), LY_OK);
	WANT_INT(n, 0);
	free(buf);
}

/* Test case 15 of "The Galois/Counter Mode of Operation" (McGrew, Viega). */
TEST(the_cipher_is_AES_256_GCM_as_published)
{
	static const uint8_t nonce[LY_GCM_NONCE] = { 0xca, 0xfe, 0xba, 0xbe,
		0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88 };
	uint8_t k[32], buf[64], tag[LY_GCM_TAG], want[16];

	WANT_INT(ly_unhex("feffe9928665731c6d6a8f9467308308"
			  "feffe9928665731c6d6a8f9467308308",
		     k, 32),
	    LY_OK);
	WANT_INT(ly_unhex("d9313225f88406e5a55909c5aff5269a"
			  "86a7a9531534f7da2e4c303d8a318a72"
			  "1c3c0c95956809532fcf0e2449a6b525"
			  "b16aedf5aa0de657ba637b391aafd255",
		     buf, 64),
	    LY_OK);
	WANT_INT(ly_gcm_seal(k, nonce, NULL, 0, buf, 64, tag, NULL), LY_OK);
	WANT_INT(ly_unhex("522dc1f099567d07f47f37a32a84427d", want, 16), LY_OK);
	WANT_MEM(buf, want, 16);
	WANT_INT(ly_unhex("b094dac5d93471bdec1a502270e3cc6c", want, 16), LY_OK);
	WANT_MEM(tag, want, 16);
}

TEST_MAIN()

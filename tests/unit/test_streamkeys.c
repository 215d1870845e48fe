/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of a stream, and its digest. */
#include "tests/test.h"

#include "lib/attest/streamkeys.h"
#include "lib/attest/tree.h"

static struct ly_why why;

static struct ly_stream_keys
keys_of(uint8_t key_byte, uint8_t nonce_byte, uint8_t transcript_byte)
{
	struct ly_call call = { .mig = { { 9 } }, .lanes = 4 };
	uint8_t key[LY_MIG_KEY_LEN], t[32];
	struct ly_stream_keys k;

	memset(key, key_byte, sizeof(key));
	memset(call.nonce, nonce_byte, sizeof(call.nonce));
	memset(t, transcript_byte, sizeof(t));
	ly_copy(call.source, sizeof(call.source), "spiffe://a/host/s");
	ly_copy(call.dest, sizeof(call.dest), "spiffe://a/host/d");
	ly_stream_keys_make(key, &call, t, &k);
	return k;
}

/* Frozen: both ends of a stream may be of different versions. */
TEST(the_keys_are_those_of_the_derivation_written_down)
{
	struct ly_stream_keys k = keys_of(1, 2, 3);
	uint8_t out[LY_PSK_LEN], info[512], key[32], want[32], prk[48];
	uint8_t secret[32], nonce[32], what[64];
	size_t n = 0;

	memset(secret, 1, 32);
	memset(nonce, 2, 32);
	ly_hkdf_extract(nonce, 32, secret, 32, prk);
	n = (size_t)snprintf((char *)info, sizeof(info),
	    "lanyard psk v1%cspiffe://a/host/s%cspiffe://a/host/d%c%c%c%c%c%c",
	    0, 0, 0, 3, 0, 0, 1, 2);
	memset(info + n, 3, 32);
	ly_hkdf_expand(prk, info, n + 32, info, 48);
	ly_stream_psk(&k, 3, 258, out);
	WANT_MEM(out, info, 48);

	memcpy(info, "lanyard confirm", 16);
	memset(info + 16, 3, 32);
	ly_hkdf_expand(prk, info, 48, key, 32);
	memcpy(what, "dest", 5);
	memset(what + 5, 3, 32);
	ly_hmac(key, 32, what, 37, want);
	ly_stream_confirm(&k, "dest", out);
	WANT_MEM(out, want, 32);

	memcpy(info, "lanyard fin", 12);
	memset(info + 12, 3, 32);
	ly_hkdf_expand(prk, info, 44, key, 32);
	ly_hmac(key, 32, "statement", 9, want);
	ly_stream_fin_mac(&k,
	    (struct ly_bytes){ (const uint8_t *)"statement", 9 }, out);
	WANT_MEM(out, want, 32);
}

TEST(no_two_lanes_generations_or_transcripts_share_a_key)
{
	struct ly_stream_keys k[] = { keys_of(1, 2, 3), keys_of(1, 2, 4),
		keys_of(1, 5, 3), keys_of(6, 2, 3), keys_of(1, 2, 3) };
	uint8_t psk[5 * 3][LY_PSK_LEN];
	size_t n = 0;

	ly_copy(k[4].dest, sizeof(k[4].dest), "spiffe://a/host/e");
	for (size_t i = 0; i < LY_COUNT(k); i++) {
		ly_stream_psk(&k[i], 0, 0, psk[n++]);
		ly_stream_psk(&k[i], 1, 0, psk[n++]);
		ly_stream_psk(&k[i], 0, 1, psk[n++]);
	}
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < i; j++)
			WANT(!ly_same(psk[i], psk[j], LY_PSK_LEN));
}

TEST(what_source_confirms_the_destination_cannot_echo)
{
	struct ly_stream_keys k = keys_of(1, 2, 3);
	uint8_t a[32], b[32];

	ly_stream_confirm(&k, "source", a);
	ly_stream_confirm(&k, "dest", b);
	WANT(!ly_same(a, b, 32));
}

TEST(the_transcript_knows_where_one_part_ends)
{
	static const uint8_t b[] = "abcdefgh";
	const struct ly_bytes none = { 0 };
	uint8_t t[2][32];

	ly_stream_transcript((struct ly_bytes){ b, 4 },
	    (struct ly_bytes){ b + 4, 4 }, none, none, t[0]);
	ly_stream_transcript((struct ly_bytes){ b, 3 },
	    (struct ly_bytes){ b + 3, 5 }, none, none, t[1]);
	WANT(!ly_same(t[0], t[1], 32));
}

TEST(wiped_keys_are_gone)
{
	struct ly_stream_keys k = keys_of(1, 2, 3), none;

	memset(&none, 0, sizeof(none));
	ly_stream_keys_wipe(&k);
	WANT_MEM(&k, &none, sizeof(k));
}

/* ---- the identity in the ClientHello ---- */

TEST(an_identity_is_read_back)
{
	struct ly_id mig, got;
	char text[LY_PSK_ID_MAX];
	uint32_t g;
	uint8_t lane;

	memset(mig.b, 0xff, sizeof(mig.b));
	ly_stream_identity(&mig, 7, UINT32_MAX, text);
	WANT_STR(text, "ly1._____________________w.7.4294967295");
	WANT_INT(ly_stream_identity_read(text, strlen(text), &got, &lane, &g),
	    LY_OK);
	WANT(ly_id_same(&mig, &got));
	WANT_INT(lane, 7);
	WANT_INT(g, UINT32_MAX);
}

TEST(an_identity_has_one_spelling)
{
	static const char *const bad[] = { "", "ly1.", "ly1.AAAAAAAAAAAAAAAA",
		"ly2.AAAAAAAAAAAAAAAAAAAAAA.0.0",
		"ly1.AAAAAAAAAAAAAAAAAAAAAA.00.0",
		"ly1.AAAAAAAAAAAAAAAAAAAAAA.0.01",
		"ly1.AAAAAAAAAAAAAAAAAAAAAB.0.0",
		"ly1.AAAAAAAAAAAAAAAAAAAAAA.8.0",
		"ly1.AAAAAAAAAAAAAAAAAAAAAA.0.4294967296",
		"ly1.AAAAAAAAAAAAAAAAAAAAAA.0",
		"ly1.AAAAAAAAAAAAAAAAAAAAAA.0.0.",
		"ly1.AAAAAAAAAAAAAAAAAAAAAA.0.0 ",
		"ly1.AAAAAAAAAAAAAAAAAAAA==.0.0",
		"ly1.AAAAAAAAAAAAAAAAAAAAAA.0.00000000000000000" };
	struct ly_id mig;
	uint32_t g;
	uint8_t lane;

	WANT_INT(ly_stream_identity_read("ly1.AAAAAAAAAAAAAAAAAAAAAA.0.0", 30,
		     &mig, &lane, &g),
	    LY_OK);
	for (size_t i = 0; i < LY_COUNT(bad); i++)
		WANT_INT(ly_stream_identity_read(bad[i], strlen(bad[i]), &mig,
			     &lane, &g),
		    LY_MALFORMED);
	WANT_INT(ly_stream_identity_read("ly1.AAAAAAAAAAAAAAAAAAAAAA.0.0\0", 31,
		     &mig, &lane, &g),
	    LY_MALFORMED);
}

/* ---- the digest ---- */

#define CHUNKS 6

/* Chunk i, of its own length and bytes, on lane[i]; R of it all. */
static void
root_of(const uint8_t lane[CHUNKS], const uint64_t index[CHUNKS],
    const char *const text[CHUNKS], size_t lanes, uint8_t out[32])
{
	struct ly_id mig = { { 1 } };
	struct ly_tree_lane l[LY_LANES_MAX];
	uint8_t leaf[32];

	for (size_t i = 0; i < lanes; i++)
		ly_tree_lane_init(&l[i], (uint8_t)i);
	for (size_t i = 0; i < CHUNKS; i++) {
		if (!text[i])
			continue;
		ly_tree_leaf(lane[i], index[i], text[i], strlen(text[i]), leaf);
		WANT_INT(ly_tree_lane_add(&l[lane[i]], index[i],
			     strlen(text[i]), leaf, &why),
		    LY_OK);
	}
	ly_tree_root(&mig, l, lanes, out);
}

TEST(a_stream_that_differs_in_anything_has_another_root)
{
	uint8_t lane[CHUNKS] = { 0, 1, 2, 0, 1, 2 };
	uint64_t index[CHUNKS] = { 0, 1, 2, 3, 4, 5 };
	const char *text[CHUNKS] = { "a", "b", "c", "d", "e", "f" };
	uint8_t r[8][32];

	root_of(lane, index, text, 3, r[0]);
	text[2] = "C"; /* a byte */
	root_of(lane, index, text, 3, r[1]);
	text[2] = "cc"; /* a byte more */
	root_of(lane, index, text, 3, r[2]);
	text[2] = "c";
	lane[3] = 1; /* on another lane */
	root_of(lane, index, text, 3, r[3]);
	lane[3] = 0;
	index[5] = 6; /* elsewhere in the stream */
	root_of(lane, index, text, 3, r[4]);
	index[5] = 5;
	text[5] = NULL; /* the last is missing */
	root_of(lane, index, text, 3, r[5]);
	text[5] = "f";
	root_of(lane, index, text, 4, r[6]); /* a lane of nothing */
	root_of(lane, index, text, 3, r[7]);
	WANT_MEM(r[7], r[0], 32);
	for (unsigned i = 0; i < 7; i++)
		for (unsigned j = 0; j < i; j++)
			WANT(!ly_same(r[i], r[j], 32));
}

/* Frozen, as above. */
TEST(the_root_is_that_of_the_tree_written_down)
{
	struct ly_id mig = { { 0xaa } };
	struct ly_tree_lane l;
	uint8_t leaf[32], root[32], want[32], buf[128] = { 0 };

	memcpy(buf, "\x00\x00\0\0\0\0\0\0\0\x00\0\0\0\x03", 14);
	ly_sha256("x", 1, buf + 14);
	ly_sha256("yz", 2, buf + 46);
	ly_sha256(buf, 78, want);
	ly_tree_leaf(0, 0, "xyz", 3, leaf);
	WANT_MEM(leaf, want, 32);
	ly_tree_lane_init(&l, 0);
	WANT_INT(ly_tree_lane_add(&l, 0, 3, leaf, &why), LY_OK);
	memcpy(buf, "\x01\x00", 2);
	memcpy(buf + 2, leaf, 32);
	memcpy(buf + 34, "\0\0\0\0\0\0\0\x03", 8);
	ly_sha256(buf, 42, want);
	ly_tree_lane_root(&l, root);
	WANT_MEM(root, want, 32);
	buf[0] = 2;
	memcpy(buf + 1, mig.b, 16);
	buf[17] = 1;
	memcpy(buf + 18, root, 32);
	ly_sha256(buf, 50, want);
	ly_tree_root(&mig, &l, 1, root);
	WANT_MEM(root, want, 32);
}

TEST(a_lane_takes_no_chunk_twice_and_none_too_large)
{
	struct ly_tree_lane l;
	uint8_t leaf[32] = { 0 };

	ly_tree_lane_init(&l, 2);
	WANT_INT(ly_tree_lane_add(&l, 5, 1, leaf, &why), LY_OK);
	WANT_INT(ly_tree_lane_add(&l, 5, 1, leaf, &why), LY_MALFORMED);
	WANT_INT(ly_tree_lane_add(&l, 4, 1, leaf, &why), LY_MALFORMED);
	WANT_INT(ly_tree_lane_add(&l, UINT64_MAX, 1, leaf, &why), LY_MALFORMED);
	WANT_INT(ly_tree_lane_add(&l, 8, LY_TREE_CHUNK + 1, leaf, &why),
	    LY_MALFORMED);
	WANT_INT(l.bytes, 1);
	WANT_INT(ly_tree_lane_add(&l, 8, LY_TREE_CHUNK, leaf, &why), LY_OK);
}

TEST_MAIN()

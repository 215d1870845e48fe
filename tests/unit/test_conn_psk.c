/* SPDX-License-Identifier: Apache-2.0 */
/* Connections that are let in by a key, beside those with certificates. */
#include "lib/io/conn_int.h"
#include "tests/unit/pair.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <signal.h>
#include <stdlib.h>

static const struct ly_id mig = { "a migration 16b" };
static const struct ly_id other = { "another one 16b" };

static struct ly_psk
psk(unsigned lane, const char *peer)
{
	struct ly_psk k = { .mig = mig, .lane = (uint8_t)lane };

	ly_print(k.identity, sizeof(k.identity), "ly1.bWln.%u.0", lane);
	memset(k.key, 0x40 + (int)lane, sizeof(k.key));
	SITE_OK(ly_spiffe_parse(peer, &k.peer, &why));
	return k;
}

/* As the listener expects it: it comes from west. */
static void
expect(unsigned lane)
{
	struct ly_psk k = psk(lane, "spiffe://west/host/w1");

	SITE_OK(ly_net_expect(home_net, &k, &why));
}

static void
dial_with(const struct ly_psk *k)
{
	ly_conn_dial_psk(away_net, address, k, &ops, &away);
}

static void
dial_lane(unsigned lane)
{
	struct ly_psk k = psk(lane, "spiffe://east/host/h1");

	dial_with(&k);
}

static void
start(void)
{
	signal(SIGPIPE, SIG_IGN);
	load();
	begin(home_ids, away_ids, NULL);
}

static void
want_refused(const char *dialler)
{
	UNTIL(away.closes == 1);
	WANT(strstr(away.why, dialler));
	WANT_INT(home.opens, 0);
	WANT_INT(away.opens, 0);
	finish();
}

TEST(a_key_lets_one_in_and_names_both_ends)
{
	start();
	expect(0);
	expect(1);
	dial_lane(1);
	UNTIL(home.opens && away.opens);
	WANT_STR(home.peer.id, "spiffe://west/host/w1");
	WANT_STR(home.peer.site, "west");
	WANT_STR(away.peer.id, "spiffe://east/host/h1");
	WANT_INT(home.hello.purpose, LY_FOR_STREAM);
	WANT(ly_id_same(&home.hello.mig, &mig));
	WANT_INT(ly_conn_psk(home.conn)->lane, 1);
	WANT(strncmp(home.peer.address, "127.0.0.1:", 10) == 0);
	WANT_STR(SSL_get_cipher_name(home.conn->ssl), "TLS_AES_256_GCM_SHA384");
	WANT(SSL_get0_peer_certificate(home.conn->ssl) == NULL);
	WANT(SSL_get0_peer_certificate(away.conn->ssl) == NULL);
	send_command(away.conn, 1);
	send_command(home.conn, 1);
	UNTIL(home.frames && away.frames);
	ly_net_recheck(home_net); /* there is no certificate to be revoked */
	uv_run(&loop, UV_RUN_NOWAIT);
	WANT_INT(home.closes, 0);
	finish();
}

TEST(a_certificate_is_asked_for_without_a_key_as_ever)
{
	start();
	expect(0);
	dial(LY_FOR_LINK, "spiffe://east/host/h1");
	UNTIL(home.opens && away.opens);
	WANT_STR(home.peer.id, "spiffe://west/host/w1");
	WANT(ly_conn_psk(home.conn) == NULL);
	WANT(home.peer.serial[0]);
	finish();
}

TEST(a_wrong_key_opens_nothing_and_uses_nothing_up)
{
	struct ly_psk k = psk(0, "spiffe://east/host/h1");

	start();
	expect(0);
	k.key[47] ^= 1;
	dial_with(&k);
	UNTIL(away.closes == 1);
	WANT_INT(home.opens, 0);
	dial_lane(0);
	UNTIL(home.opens && away.opens);
	finish();
}

TEST(an_identity_lets_in_one_connection_only)
{
	start();
	expect(0);
	dial_lane(0);
	UNTIL(home.opens && away.opens);
	home.opens = away.opens = 0;
	dial_lane(0);
	want_refused("the peer passes our key over");
}

TEST(of_two_that_come_at_once_with_one_key_one_is_let_in)
{
	start();
	expect(0);
	dial_lane(0);
	dial_lane(0);
	UNTIL(away.opens && away.closes);
	WANT_INT(home.opens, 1);
	finish();
}

TEST(an_identity_that_nobody_expects_is_refused)
{
	start();
	expect(0);
	dial_lane(1);
	want_refused("the peer passes our key over");
}

TEST(an_identity_is_expected_once_and_until_it_is_taken_back)
{
	struct ly_psk k = psk(0, "spiffe://west/host/w1");

	start();
	expect(0);
	WANT_INT(ly_net_expect(home_net, &k, NULL), LY_BUSY);
	ly_net_unexpect(home_net, &other);
	WANT_INT(ly_net_expect(home_net, &k, NULL), LY_BUSY);
	ly_net_unexpect(home_net, &mig);
	dial_lane(0);
	want_refused("the peer passes our key over");
}

TEST(no_more_keys_are_expected_than_the_limit)
{
	struct ly_psk k = psk(0, "spiffe://west/host/w1");

	start();
	for (unsigned i = 0; i < LY_PSKS_MOST; i++) {
		ly_print(k.identity, sizeof(k.identity), "ly1.%u", i);
		SITE_OK(ly_net_expect(home_net, &k, &why));
	}
	ly_copy(k.identity, sizeof(k.identity), "ly1.more");
	WANT_INT(ly_net_expect(home_net, &k, NULL), LY_FULL);
	finish();
}

/* A dialler of ours that says another HELLO than its key is for. */
static void
dial_for(enum ly_purpose purpose, const struct ly_id *of)
{
	struct ly_hello hello = { .purpose = (uint8_t)purpose, .mig = *of };
	struct ly_conn *c = ly_conn_dial(away_net, address, NULL, &hello, &ops,
	    &away);

	c->psk = malloc(sizeof(*c->psk));
	*c->psk = psk(0, "spiffe://east/host/h1");
}

TEST(a_key_is_for_no_other_purpose)
{
	start();
	expect(0);
	dial_for(LY_FOR_LINK, &mig);
	want_refused("the peer ended it: refused");
}

TEST(a_key_is_for_no_other_migration)
{
	start();
	expect(0);
	dial_for(LY_FOR_STREAM, &other);
	want_refused("the peer ended it: refused");
}

/* ---- a peer of OpenSSL's own, in the test's hands ---- */

static struct ly_psk raw_psk;

static int
raw_use(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *len,
    SSL_SESSION **out)
{
	static const unsigned char suite[] = { 0x13, 0x02 };
	SSL_SESSION *s = SSL_SESSION_new();

	(void)md;
	SSL_SESSION_set1_master_key(s, raw_psk.key, sizeof(raw_psk.key));
	SSL_SESSION_set_cipher(s, SSL_CIPHER_find(ssl, suite));
	SSL_SESSION_set_protocol_version(s, TLS1_3_VERSION);
	*id = (const unsigned char *)raw_psk.identity;
	*len = strlen(raw_psk.identity);
	*out = s;
	return 1;
}

/* Whether a handshake with the key comes to its end; `key_exchange` false: the peer has no
 * group in common with us, and would do with the key alone. */
static bool
raw_shakes_hands(bool key_exchange, const char *suites)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)ly_net_port(home_net)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r = -1;
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	bool shown;
	SSL *ssl;

	raw_psk = psk(0, "spiffe://east/host/h1");
	WANT_INT(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	SSL_CTX_set_options(ctx, SSL_OP_ALLOW_NO_DHE_KEX);
	SSL_CTX_set_psk_use_session_callback(ctx, raw_use);
	WANT(SSL_CTX_set_ciphersuites(ctx, suites));
	WANT(SSL_CTX_set1_groups_list(ctx, key_exchange ? "P-256" : "P-384"));
	ssl = SSL_new(ctx);
	SSL_set_fd(ssl, fd);
	for (int i = 0; i < 200 && r != 1; i++) {
		r = SSL_connect(ssl);
		if (r != 1 && SSL_get_error(ssl, r) != SSL_ERROR_WANT_READ)
			break;
		uv_run(&loop, UV_RUN_NOWAIT);
		usleep(1000);
	}
	ERR_clear_error();
	shown = SSL_session_reused(ssl);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
	return r == 1 && shown;
}

TEST(a_key_alone_without_a_key_exchange_is_refused)
{
	start();
	expect(0);
	WANT(!raw_shakes_hands(false, "TLS_AES_256_GCM_SHA384"));
	WANT(raw_shakes_hands(true, "TLS_AES_256_GCM_SHA384"));
	finish();
}

TEST(a_key_is_not_used_with_another_cipher)
{
	start();
	expect(0);
	WANT(!raw_shakes_hands(true, "TLS_CHACHA20_POLY1305_SHA256"));
	finish();
}

/* Whom a dialler with a key finds there has a good certificate, and does not
 * mind that we show none. It has not proved that it has the key. */
TEST(a_listener_that_passes_the_key_over_is_not_believed)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int door = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, r = -1;
	SSL_CTX *ctx;
	SSL *ssl;

	start();
	WANT_INT(bind(door, (struct sockaddr *)&sa, len), 0);
	WANT_INT(listen(door, 1), 0);
	WANT_INT(getsockname(door, (struct sockaddr *)&sa, &len), 0);
	ly_print(address, sizeof(address), "127.0.0.1:%u", ntohs(sa.sin_port));
	dial_lane(0);
	fd = accept4(door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	SITE_OK(ly_identity_ctx(home_ids, true, &ctx, &why));
	ssl = SSL_new(ctx);
	SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
	SSL_set_fd(ssl, fd);
	for (int i = 0; i < 200 && r != 1; i++) {
		uv_run(&loop, UV_RUN_NOWAIT);
		r = SSL_accept(ssl);
		usleep(1000);
	}
	WANT_INT(r, 1);
	close(door);
	want_refused("the peer passes our key over");
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
}

TEST_MAIN()

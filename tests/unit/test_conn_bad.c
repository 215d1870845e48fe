/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections with peers that are strangers, broken or hostile. The peer is a
 * socket and an SSL object in the test's own hands; whatever it does, one
 * connection ends, in time, and the listener goes on.
 */
#include "tests/unit/forge.h"
#include "tests/unit/pair.h"

#include <sys/resource.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <sys/socket.h>

static const struct ly_link_limits quick = { .handshake_ms = 500,
	.half_ms = 500,
	.ping_ms = 60000,
	.dead_ms = 60000,
	.stall_ms = 500,
	.linger_ms = 500 };

/* ---- the raw peer ---- */

struct raw {
	int fd;
	SSL *ssl;
	BIO *in, *out;	   /* memory */
	size_t sent, most; /* bytes of the socket; cut off at `most` */
	bool up, over;	   /* handshake done; the other side has ended */
	unsigned records;
	uint8_t got[1 << 16]; /* decrypted */
	size_t got_n;
};

static struct raw raw;

static void
raw_connect(SSL_CTX *ctx)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_port = htons((uint16_t)ly_net_port(home_net)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	memset(&raw, 0, sizeof(raw));
	raw.most = SIZE_MAX;
	raw.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	WANT_INT(connect(raw.fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	fcntl(raw.fd, F_SETFL, O_NONBLOCK);
	if (!ctx)
		return;
	raw.ssl = SSL_new(ctx);
	raw.in = BIO_new(BIO_s_mem());
	raw.out = BIO_new(BIO_s_mem());
	BIO_set_mem_eof_return(raw.in, -1);
	SSL_set_bio(raw.ssl, raw.in, raw.out);
	SSL_set_connect_state(raw.ssl);
}

static void
raw_close(void)
{
	SSL_free(raw.ssl);
	close(raw.fd);
}

/* All of it, or up to the cut. The socket has room for what tests send. */
static void
raw_send(const void *at, size_t len)
{
	size_t n = ly_min(len, raw.most - raw.sent);

	if (n && send(raw.fd, at, n, MSG_NOSIGNAL) != (ssize_t)n)
		raw.over = true;
	raw.sent += n;
}

static void
raw_flush(void)
{
	char *at;
	long len = BIO_get_mem_data(raw.out, &at);

	if (len > 0)
		raw_send(at, (size_t)len);
	(void)BIO_reset(raw.out);
}

static void
raw_decrypt(void)
{
	for (;;) {
		size_t n = 0;

		if (!raw.up)
			raw.up = SSL_do_handshake(raw.ssl) == 1;
		if (!raw.up || raw.got_n == sizeof(raw.got) ||
		    SSL_read_ex(raw.ssl, raw.got + raw.got_n,
			sizeof(raw.got) - raw.got_n, &n) != 1)
			break;
		raw.got_n += n;
		raw.records++;
	}
	ERR_clear_error();
	raw_flush();
}

/* One turn of both sides. */
static bool
turn(void)
{
	uint8_t buf[65536];
	ssize_t n = recv(raw.fd, buf, sizeof(buf), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN))
		raw.over = true;
	if (raw.ssl) {
		if (n > 0)
			BIO_write(raw.in, buf, (int)n);
		raw_decrypt();
	}
	uv_run(&loop, UV_RUN_NOWAIT);
	return true;
}

#define TURN_UNTIL(cond)                                                       \
	do {                                                                   \
		uint64_t end_ = uv_hrtime() + WAIT_MS * 1000000ull;            \
		while (turn() && !(cond)) {                                    \
			if (uv_hrtime() > end_)                                \
				test_fail(__FILE__, __LINE__, "in time: %s",   \
				    #cond);                                    \
			usleep(200);                                           \
		}                                                              \
	} while (0)

static SSL_CTX *
ctx_of(struct ly_identity *ids)
{
	SSL_CTX *ctx = NULL;

	SITE_OK(ly_identity_ctx(ids, false, &ctx, &why));
	return ctx;
}

/* TLS is up on our side as a good host; HELLO is not sent. */
static void
raw_up(const struct ly_link_limits *limits)
{
	SSL_CTX *ctx;

	load();
	begin(home_ids, away_ids, limits);
	ctx = ctx_of(away_ids);
	raw_connect(ctx);
	SSL_CTX_free(ctx);
	TURN_UNTIL(raw.up);
}

static uint8_t frame_buf[LY_MESSAGE_MAX];

static size_t
frame_of(unsigned type, const void *in)
{
	struct ly_wr w = ly_wr_over(frame_buf, sizeof(frame_buf));

	ly_frame_put(type, in, &w);
	WANT(!w.bad);
	return ly_wr_len(&w);
}

static void
raw_write(const void *at, size_t len)
{
	WANT_INT(SSL_write(raw.ssl, at, (int)len), (int)len);
	raw_flush();
}

static const struct ly_hello good_hello = { .proto = LY_PROTO,
	.purpose = LY_FOR_LINK,
	.software = "raw" };

static void
raw_greet(const struct ly_link_limits *limits)
{
	raw_up(limits);
	raw_write(frame_buf, frame_of(LY_HELLO, &good_hello));
	TURN_UNTIL(home.opens && raw.got_n);
}

/* The code of the last BYE the raw peer got; LY_RCS if none. */
static enum ly_rc
raw_bye(void)
{
	enum ly_rc rc = LY_RCS;
	size_t at = 0, used;
	struct ly_frame f;

	for (; ly_frame_get(raw.got + at, raw.got_n - at, &f, &used, NULL) ==
	     LY_OK;
	     at += used)
		if (f.type == LY_BYE)
			rc = (enum ly_rc)f.body[0];
	return rc;
}

/* After whatever was done to it, the listener still serves others. */
static void
finish_well(void)
{
	unsigned opens = home.opens;

	raw_close();
	dial(LY_FOR_LINK, NULL);
	UNTIL(home.opens == opens + 1 && away.opens);
	finish();
}

/* ---- strangers ---- */

/* `ctx` gets in or does not; nobody above TLS hears of it. */
static void
must_not_enter(SSL_CTX *ctx)
{
	raw_connect(ctx);
	SSL_CTX_free(ctx);
	TURN_UNTIL(raw.up || raw.over);
	if (!raw.over)
		raw_write(frame_buf, frame_of(LY_HELLO, &good_hello));
	TURN_UNTIL(raw.over);
	WANT_INT(home.opens, 0);
	WANT_INT(home.closes, 0);
}

TEST(without_a_certificate_nobody_enters)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());

	load();
	begin(home_ids, away_ids, NULL);
	must_not_enter(ctx);
	finish_well();
}

static SSL_CTX *
ctx_forged(const struct forge *f)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_method());

	forge_cert(f);
	WANT_INT(SSL_CTX_use_certificate_file(ctx, site_path("%s.pem", f->file),
		     SSL_FILETYPE_PEM),
	    1);
	WANT_INT(SSL_CTX_use_PrivateKey_file(ctx, site_path("%s.key", f->file),
		     SSL_FILETYPE_PEM),
	    1);
	return ctx;
}

static void
try_forged(const struct forge *f)
{
	SSL_CTX *ctx;

	forge_ca("evil");
	load();
	SITE_OK(ly_identity_reload(home_ids, &why));
	ctx = ctx_forged(f);
	begin(home_ids, away_ids, NULL);
	must_not_enter(ctx);
	finish_well();
}

TEST(a_certificate_of_an_unknown_ca_does_not_enter)
{
	forge_ca("nowhere");
	unlink(site_path("trust/nowhere.pem"));
	try_forged(&(struct forge){ .file = "x",
	    .by = "nowhere",
	    .san = "URI:spiffe://west/host/w1" });
}

TEST(a_known_ca_cannot_speak_for_another_site)
{
	try_forged(&(struct forge){ .file = "x",
	    .by = "evil",
	    .san = "URI:spiffe://west/host/w1" });
	WANT_INT(raw_bye(), LY_REFUSED);
}

TEST(a_known_ca_cannot_speak_for_our_own_site)
{
	try_forged(&(struct forge){ .file = "x",
	    .by = "evil",
	    .san = "URI:spiffe://east/manager/m" });
}

TEST(an_expired_certificate_does_not_enter)
{
	try_forged(&(struct forge){ .file = "x",
	    .by = "west",
	    .san = "URI:spiffe://west/host/w1",
	    .from_s = -7200,
	    .to_s = -60 });
}

TEST(a_certificate_of_tomorrow_does_not_enter)
{
	try_forged(&(struct forge){ .file = "x",
	    .by = "west",
	    .san = "URI:spiffe://west/host/w1",
	    .from_s = 3600,
	    .to_s = 7200 });
}

TEST(a_server_certificate_is_no_clients)
{
	try_forged(&(struct forge){ .file = "x",
	    .by = "west",
	    .san = "URI:spiffe://west/host/w1",
	    .eku = "serverAuth" });
}

TEST(tls_1_2_does_not_enter)
{
	SSL_CTX *ctx;

	load();
	begin(home_ids, away_ids, NULL);
	ctx = SSL_CTX_new(TLS_method());
	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	must_not_enter(ctx);
	finish_well();
}

TEST(a_dialler_does_not_talk_to_another_than_he_wants)
{
	load();
	begin(home_ids, away_ids, NULL);
	dial(LY_FOR_LINK, "spiffe://east/manager/h1");
	UNTIL(away.closes);
	WANT_INT(away.rc, LY_REFUSED);
	WANT_INT(home.opens, 0);
	finish();
}

TEST(a_dialler_refuses_a_forged_listener)
{
	struct ly_identity *liar;

	load();
	forge_ca("evil");
	forge_cert(&(struct forge){ .file = "liar",
	    .by = "evil",
	    .san = "URI:spiffe://evil/host/h1" });
	liar = site_load("liar", "trust");
	unlink(site_path("trust/evil.pem"));
	SITE_OK(ly_identity_reload(away_ids, &why));
	begin(liar, away_ids, NULL);
	dial(LY_FOR_LINK, NULL);
	UNTIL(away.closes);
	WANT_INT(away.rc, LY_OUTSIDE);
	WANT_STR(away.why, "unable to get local issuer certificate");
	WANT_INT(home.opens, 0);
	finish();
	ly_identity_free(liar);
	site_copy(site_path("evil.ca.pem"), site_path("trust/evil.pem"));
}

/* ---- addresses ---- */

static void
dial_fails(const char *to, enum ly_rc rc)
{
	unsigned closes = away.closes;

	ly_copy(address, sizeof(address), to);
	dial(LY_FOR_LINK, NULL);
	WANT_INT(away.closes, closes); /* from the loop, not from the call */
	UNTIL(away.closes == closes + 1);
	WANT_INT(away.rc, rc);
	WANT(away.why[0]);
}

TEST(an_address_that_cannot_be_reached_is_told_in_words)
{
	load();
	begin(home_ids, away_ids, NULL);
	dial_fails("127.0.0.1:1", LY_OUTSIDE);
	dial_fails("localhost:1", LY_OUTSIDE);
	dial_fails("bad..name:1", LY_OUTSIDE);
	dial_fails("nonsense", LY_REFUSED);
	dial_fails("::1:7000", LY_REFUSED);
	dial_fails("127.0.0.1:65536", LY_REFUSED);
	dial_fails("", LY_REFUSED);
	finish();
}

TEST(an_address_that_is_taken_cannot_be_listened_on)
{
	struct ly_why why = { "" };

	load();
	begin(home_ids, away_ids, NULL);
	WANT_INT(ly_net_listen(away_net, address, &ops, &away, &why),
	    LY_OUTSIDE);
	WANT(strstr(why.text, address));
	WANT_INT(ly_net_listen(away_net, "256.1.1.1:x", &ops, &away, &why),
	    LY_REFUSED);
	finish();
}

/* ---- before TLS ---- */

TEST(garbage_instead_of_tls_is_dropped)
{
	static const char *const garbage[] = { "GET / HTTP/1.1\r\n\r\n",
		"LY\x01\x13................................",
		"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff",
		"\x17\x03\x03\x00\x10................" };

	load();
	begin(home_ids, away_ids, &quick);
	for (size_t i = 0; i < LY_COUNT(garbage); i++) {
		raw_connect(NULL);
		raw_send(garbage[i], strlen(garbage[i]) + 1);
		TURN_UNTIL(raw.over);
		if (i + 1 < LY_COUNT(garbage))
			raw_close();
	}
	WANT_INT(home.opens, 0);
	finish_well();
}

TEST(who_connects_and_says_nothing_is_dropped)
{
	load();
	begin(home_ids, away_ids, &quick);
	raw_connect(NULL);
	TURN_UNTIL(raw.over);
	finish_well();
}

TEST(who_shakes_hands_and_says_nothing_is_dropped)
{
	raw_up(&quick);
	TURN_UNTIL(raw.over);
	WANT_INT(home.opens, 0);
	finish_well();
}

TEST(a_listener_that_says_nothing_is_given_up)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	WANT_INT(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	WANT_INT(listen(fd, 5), 0);
	WANT_INT(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	load();
	begin(home_ids, away_ids, &quick);
	ly_print(address, sizeof(address), "127.0.0.1:%u", ntohs(sa.sin_port));
	dial(LY_FOR_LINK, NULL);
	UNTIL(away.closes);
	WANT_INT(away.rc, LY_OUTSIDE);
	WANT_STR(away.why, "no greeting in 0.5 s");
	close(fd);
	finish();
}

TEST(too_many_strangers_are_turned_away_and_then_it_goes_on)
{
	static int fd[600];
	struct sockaddr_in sa = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	unsigned turned = 0;
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	load();
	begin(home_ids, away_ids, NULL);
	sa.sin_port = htons((uint16_t)ly_net_port(home_net));
	for (size_t i = 0; i < LY_COUNT(fd); i++) {
		fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(fd[i], (struct sockaddr *)&sa, sizeof(sa));
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	for (int i = 0; i < 50; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	for (size_t i = 0; i < LY_COUNT(fd); i++) {
		char b;

		turned += recv(fd[i], &b, 1, MSG_DONTWAIT) == 0;
		close(fd[i]);
	}
	WANT_INT(turned, LY_COUNT(fd) - 512);
	for (int i = 0; i < 50; i++)
		uv_run(&loop, UV_RUN_NOWAIT);
	dial(LY_FOR_LINK, NULL);
	UNTIL(home.opens && away.opens);
	finish();
}

/* ---- after TLS ---- */

/* The raw peer says `len` bytes instead of, or after, a good HELLO. */
static void
ends_with(enum ly_rc rc, const char *why)
{
	TURN_UNTIL(raw.over);
	WANT_INT(raw_bye(), rc);
	if (home.opens) {
		WANT_INT(home.closes, 1);
		WANT_INT(home.rc, rc);
		WANT_STR(home.why, why);
	}
	finish_well();
}

static void
put_head(uint16_t magic, uint8_t version, uint8_t type, uint32_t len)
{
	struct ly_wr w = ly_wr_over(frame_buf, sizeof(frame_buf));

	ly_wr_u16(&w, magic);
	ly_wr_u8(&w, version);
	ly_wr_u8(&w, type);
	ly_wr_u32(&w, len);
}

TEST(a_frame_of_another_magic_ends_it)
{
	raw_greet(&quick);
	put_head(0x4c58, 1, LY_PING, 8);
	raw_write(frame_buf, 16);
	ends_with(LY_MALFORMED, "not a lanyard frame (magic 4c58, version 1)");
}

TEST(a_frame_too_long_is_refused_before_it_is_waited_for)
{
	raw_greet(NULL);
	put_head(LY_FRAME_MAGIC, 1, LY_COMMAND, LY_TPM_MAX + 27);
	raw_write(frame_buf, 8);
	ends_with(LY_MALFORMED, "COMMAND of 4123 bytes, limit 4122");
}

TEST(a_frame_of_an_unknown_type_ends_it)
{
	raw_greet(&quick);
	put_head(LY_FRAME_MAGIC, 1, 0xee, 0);
	raw_write(frame_buf, 8);
	ends_with(LY_MALFORMED, "frame of unknown type ee");
}

TEST(a_body_that_does_not_decode_ends_it)
{
	raw_greet(&quick);
	put_head(LY_FRAME_MAGIC, 1, LY_PING, 7);
	raw_write(frame_buf, 15);
	ends_with(LY_MALFORMED, "PING: stamp: cut short");
}

TEST(a_command_before_hello_ends_it)
{
	struct ly_command c = command(1, "x", 1);

	raw_up(&quick);
	raw_write(frame_buf, frame_of(LY_COMMAND, &c));
	ends_with(LY_MALFORMED, NULL);
}

TEST(a_second_hello_ends_it)
{
	raw_greet(&quick);
	raw_write(frame_buf, frame_of(LY_HELLO, &good_hello));
	ends_with(LY_MALFORMED, "frame out of order (up)");
}

TEST(half_a_frame_and_then_silence_ends_it)
{
	struct ly_command c = command(1, "0123456789", 10);
	size_t len;

	raw_greet(&quick);
	len = frame_of(LY_COMMAND, &c);
	raw_write(frame_buf, len / 2);
	ends_with(LY_MALFORMED, "half a frame for 0.5 s");
}

TEST(a_broken_record_ends_it)
{
	raw_greet(&quick);
	raw_send("\x17\x03\x03\x00\x20"
		 "0123456789abcdef0123456789abcdef",
	    37);
	TURN_UNTIL(raw.over);
	WANT_INT(home.closes, 1);
	WANT_INT(home.rc, LY_OUTSIDE);
	finish_well();
}

TEST(a_peer_that_never_reads_is_left)
{
	static uint8_t body[LY_CHUNK_MAX];
	struct ly_data d = { .body = { body, sizeof(body) } };

	raw_greet(&quick);
	while (ly_conn_pending(home.conn) < 2 << 20) {
		ly_conn_send(home.conn, LY_DATA, &d);
		uv_run(&loop, UV_RUN_NOWAIT);
	}
	UNTIL(home.closes); /* and the raw peer reads nothing meanwhile */
	WANT_INT(home.rc, LY_OUTSIDE);
	WANT_STR(home.why, "the peer has read nothing for 0.5 s");
	finish_well();
}

TEST(what_waits_to_be_sent_has_a_limit)
{
	static uint8_t body[LY_CHUNK_MAX];
	struct ly_data d = { .body = { body, sizeof(body) } };

	raw_greet(NULL);
	for (int i = 0; i < 200; i++)
		ly_conn_send(home.conn, LY_DATA, &d);
	UNTIL(home.closes);
	WANT_INT(home.rc, LY_FULL);
	finish_well();
}

TEST(ten_thousand_small_frames_leave_in_few_records)
{
	unsigned before;

	raw_greet(NULL);
	before = raw.records;
	for (uint64_t i = 0; i < 10000; i++)
		send_command(home.conn, i);
	for (size_t total = 0; total < 10000 * 99;) {
		TURN_UNTIL(raw.got_n == sizeof(raw.got) ||
		    total + raw.got_n >= 10000 * 99);
		total += raw.got_n;
		raw.got_n = 0;
	}
	/* 990,000 bytes are 60.4 records of 16 KiB. */
	WANT(raw.records - before < 80);
	finish_well();
}

/* What a good dialler says, in clear: HELLO and two COMMANDs. */
static size_t
speech(uint8_t *out, size_t size, size_t mark[3])
{
	struct ly_command c = command(1, "0123456789", 10);
	struct ly_wr w = ly_wr_over(out, size);

	ly_frame_put(LY_HELLO, &good_hello, &w);
	mark[0] = ly_wr_len(&w);
	ly_frame_put(LY_COMMAND, &c, &w);
	mark[1] = ly_wr_len(&w);
	ly_frame_put(LY_COMMAND, &c, &w);
	mark[2] = ly_wr_len(&w);
	return ly_wr_len(&w);
}

TEST(a_speech_cut_at_any_byte_is_heard_up_to_there)
{
	uint8_t words[512];
	size_t mark[3], len = speech(words, sizeof(words), mark);
	SSL_CTX *ctx;

	load();
	begin(home_ids, away_ids, NULL);
	ctx = ctx_of(away_ids);
	for (size_t cut = 0; cut <= len; cut++) {
		home = (struct end){ 0 };
		raw_connect(ctx);
		TURN_UNTIL(raw.up);
		if (cut)
			raw_write(words, cut);
		shutdown(raw.fd, SHUT_WR);
		TURN_UNTIL(raw.over);
		WANT_INT(home.opens, cut >= mark[0]);
		WANT_INT(home.closes, home.opens);
		WANT_INT(home.frames, (cut >= mark[1]) + (cut >= mark[2]));
		raw_close();
	}
	SSL_CTX_free(ctx);
	raw_connect(NULL);
	finish_well();
}

TEST(a_speech_byte_by_byte_is_understood)
{
	uint8_t words[512];
	size_t mark[3], len = speech(words, sizeof(words), mark);

	raw_up(NULL);
	for (size_t i = 0; i < len; i++) {
		raw_write(words + i, 1); /* a record each */
		turn();
	}
	TURN_UNTIL(home.frames == 2);
	finish_well();
}

TEST(tls_cut_at_any_byte_ends_it_once)
{
	SSL_CTX *ctx;

	load();
	begin(home_ids, away_ids, NULL);
	ctx = ctx_of(away_ids);
	for (size_t cut = 0; cut < 2600; cut += cut % 100 < 8 ? 1 : 23) {
		home = (struct end){ 0 };
		raw_connect(ctx);
		raw.most = cut;
		for (int i = 0; i < 400 && raw.sent < cut && !raw.over; i++) {
			turn();
			if (raw.up && raw.got_n == 0 &&
			    BIO_pending(raw.out) == 0)
				SSL_write(raw.ssl, frame_buf,
				    (int)frame_of(LY_HELLO, &good_hello));
		}
		shutdown(raw.fd, SHUT_WR);
		TURN_UNTIL(raw.over);
		WANT(home.opens <= 1);
		WANT_INT(home.closes, home.opens);
		raw_close();
	}
	SSL_CTX_free(ctx);
	raw_connect(NULL);
	finish_well();
}

TEST_MAIN()

/* SPDX-License-Identifier: Apache-2.0 */
/* timeout: 60 */
/*
 * Certificates of endorsement keys as swtpm's own tools make them, which is as
 * makers do: a root, an intermediate CA, and in the certificate what OpenSSL
 * does not know.
 */
#include "lib/crypt/crypt.h"
#include "lib/io/ekcert.h"
#include "tests/unit/forge.h"

static uint8_t *cert;
static size_t cert_len;
static struct ly_why said;

static void
write_text(const char *path, const char *text)
{
	SITE_OK(ly_file_write(path, text, strlen(text), 0600, &why));
}

static void
setup_conf(void)
{
	char text[1024];
	const char *ca = site_path("ca");

	SITE_OK(ly_file_mkdir(ca, 0700, &why));
	SITE_OK(ly_file_mkdir(site_path("tpm"), 0700, &why));
	SITE_OK(ly_file_mkdir(site_path("roots"), 0700, &why));
	ly_print(text, sizeof(text),
	    "statedir = %s\nsigningkey = %s/signkey.pem\n"
	    "issuercert = %s/issuercert.pem\ncertserial = %s/serial\n",
	    ca, ca, ca, ca);
	write_text(site_path("localca.conf"), text);
	ly_print(text, sizeof(text),
	    "create_certs_tool = /usr/bin/swtpm_localca\n"
	    "create_certs_tool_config = %s\n"
	    "create_certs_tool_options = /etc/swtpm-localca.options\n",
	    site_path("localca.conf"));
	write_text(site_path("setup.conf"), text);
}

static void
make_tpm(void)
{
	char command[1024];

	if (cert)
		return;
	setup_conf();
	ly_print(command, sizeof(command),
	    "swtpm_setup --tpm2 --tpmstate %s --create-ek-cert --config %s"
	    " --write-ek-cert-files %s >%s 2>&1",
	    site_path("tpm"), site_path("setup.conf"), site_path("tpm"),
	    site_path("setup.log"));
	WANT_INT(system(command), 0);
	SITE_OK(ly_file_read(site_path("tpm/ek-rsa2048.crt"), 8192, &cert,
	    &cert_len, &why));
}

static void
believe(const char *file)
{
	site_copy(site_path("ca/%s.pem", file),
	    site_path("roots/%s.pem", file));
}

static struct ly_ek_cert
read_it(const uint8_t *at, size_t len)
{
	struct ly_ek_cert c;

	SITE_OK(ly_ek_cert_read((struct ly_bytes){ at, len },
	    site_path("roots"), &c, &why));
	return c;
}

static void
is_not(const struct ly_ek_cert *c, const char *because)
{
	WANT(!c->genuine);
	if (!strstr(c->not_genuine.text, because))
		WANT_STR(c->not_genuine.text, because);
}

TEST(
    a_makers_certificate_is_genuine_when_its_root_and_what_is_between_are_known)
{
	struct ly_ek_cert c;
	uint8_t spki[32];

	make_tpm();
	c = read_it(cert, cert_len);
	is_not(&c, "no CA certificate of a maker");
	believe("issuercert"); /* not a root: nothing is known yet */
	c = read_it(cert, cert_len);
	is_not(&c, "no CA certificate of a maker");
	believe("swtpm-localca-rootca-cert");
	c = read_it(cert, cert_len);
	if (!c.genuine)
		WANT_STR(c.not_genuine.text, "");
	WANT(c.key.rsa);
	WANT_INT(c.key.exponent, 65537);
	ly_spki_hash_rsa(c.key.modulus, spki);
	WANT_MEM(spki, c.key.spki, 32);
}

TEST(what_is_between_may_come_with_the_certificate)
{
	uint8_t *der = malloc(16384), *at = der;
	FILE *f;
	X509 *between;
	struct ly_ek_cert c;

	make_tpm();
	believe("swtpm-localca-rootca-cert");
	unlink(site_path("roots/issuercert.pem"));
	c = read_it(cert, cert_len);
	is_not(&c, "unable to get local issuer");
	memcpy(at, cert, cert_len);
	at += cert_len;
	f = fopen(site_path("ca/issuercert.pem"), "r");
	between = PEM_read_X509(f, NULL, NULL, NULL);
	WANT(between && i2d_X509(between, &at) > 0);
	fclose(f);
	c = read_it(der, (size_t)(at - der));
	WANT(c.genuine);
	believe("issuercert");
	X509_free(between);
	free(der);
}

TEST(what_follows_the_certificate_in_its_nv_index_is_not_its)
{
	uint8_t padded[8192];
	struct ly_ek_cert c, p;

	make_tpm();
	believe("swtpm-localca-rootca-cert");
	memcpy(padded, cert, cert_len);
	memset(padded + cert_len, 0xff, 100);
	c = read_it(cert, cert_len);
	p = read_it(padded, cert_len + 100);
	WANT(p.genuine);
	WANT_MEM(c.sha256, p.sha256, 32);
}

TEST(a_certificate_that_was_changed_or_cut_is_none)
{
	struct ly_ek_cert c;
	uint8_t *bent;

	make_tpm();
	believe("swtpm-localca-rootca-cert");
	bent = malloc(cert_len);
	memcpy(bent, cert, cert_len);
	bent[cert_len - 1] ^= 1;
	c = read_it(bent, cert_len);
	is_not(&c, "signature failure");
	WANT_INT(ly_ek_cert_read((struct ly_bytes){ bent, cert_len - 1 },
		     site_path("roots"), &c, &said),
	    LY_MALFORMED);
	WANT_INT(ly_ek_cert_read((struct ly_bytes){ NULL, 0 },
		     site_path("roots"), &c, &said),
	    LY_MALFORMED);
	free(bent);
}

/* ---- what a maker's CA has signed, and is no EK's ---- */

static struct ly_ek_cert
forged(struct forge f)
{
	struct ly_ek_cert c;
	uint8_t der[4096], *at = der;
	FILE *from;
	X509 *x;

	f.file = "ek";
	f.by = "maker";
	forge_cert(&f);
	from = fopen(site_path("ek.pem"), "r");
	x = PEM_read_X509(from, NULL, NULL, NULL);
	fclose(from);
	WANT(x && i2d_X509(x, &at) > 0);
	X509_free(x);
	SITE_OK(ly_ek_cert_read((struct ly_bytes){ der, (size_t)(at - der) },
	    site_path("forged"), &c, &why));
	return c;
}

#define EKU "2.23.133.8.1"

TEST(only_what_is_for_an_endorsement_key_is_an_endorsement_keys)
{
	struct ly_ek_cert c;

	forge_ca("maker");
	SITE_OK(ly_file_mkdir(site_path("forged"), 0700, &why));
	site_copy(site_path("maker.ca.pem"), site_path("forged/maker.pem"));
	c = forged((struct forge){ .eku = EKU,
	    .more = { { "1.2.3.4", "critical,DER:0500" } } });
	if (!c.genuine)
		WANT_STR(c.not_genuine.text, "");
	c = forged((struct forge){ .eku = "serverAuth" });
	is_not(&c, "another use");
	c = forged((struct forge){ .eku = EKU,
	    .basic = "critical,CA:TRUE",
	    .usage = "critical,keyCertSign" });
	is_not(&c, "a CA's");
	c = forged(
	    (struct forge){ .eku = EKU, .from_s = -7200, .to_s = -3600 });
	is_not(&c, "expired");
	/* A file that is no certificate takes nothing away. */
	write_text(site_path("forged/aaa.pem"), "rubbish\n");
	c = forged((struct forge){ .eku = EKU });
	WANT(c.genuine);
}

TEST_MAIN()

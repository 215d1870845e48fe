/* SPDX-License-Identifier: Apache-2.0 */
/* For tests: a host with a TPM (swtpm) and what of an agent proves what it is,
 * and its manager, on one loop. The manager is the test: it asks and hears. */
#ifndef LY_TESTS_HOST_SCENE_H
#define LY_TESTS_HOST_SCENE_H

#include "agent/io/approved.h"
#include "agent/io/chip.h"
#include "agent/io/control.h"
#include "agent/io/enrol.h"
#include "agent/io/evidence.h"
#include "agent/io/homes.h"
#include "agent/io/links.h"
#include "agent/io/vm_keys.h"
#include "agent/io/vms.h"
#include "lib/io/clock.h"
#include "tests/io/kept.h"
#include "tests/io/swtpm_proc.h"
#include "tests/unit/site.h"

struct host_done {
	unsigned n; /* in all */
	uint32_t req;
	enum ly_rc rc;
	char why[LY_WHY_MAX];
	uint8_t *data;
	size_t len;
};

struct host {
	struct swtpm_proc proc;
	uv_loop_t loop;
	struct ly_agent a;
	struct ly_agent_tpm tpm;
	struct ly_identity *manager;
	struct ly_net *office; /* the manager's */
	struct ly_conn *conn;
	struct host_done done;
	uint32_t req;
};

static inline enum ly_rc
host_conn_open(struct ly_conn *c, const struct ly_peer *peer,
    const struct ly_hello *hello, void *arg, struct ly_why *why)
{
	struct host *h = arg;

	(void)peer, (void)hello, (void)why;
	h->conn = c;
	return LY_OK;
}

static inline enum ly_rc
host_conn_frame(struct ly_conn *c, unsigned type, const union ly_any *m,
    void *arg, struct ly_why *why)
{
	struct host *h = arg;

	(void)c, (void)why;
	if (type != LY_DONE)
		return LY_OK;
	h->done.n++;
	h->done.req = m->done.req;
	h->done.rc = m->done.rc;
	ly_copy(h->done.why, sizeof(h->done.why), m->done.why);
	free(h->done.data);
	h->done.len = m->done.data.len;
	h->done.data = malloc(h->done.len + 1);
	memcpy(h->done.data, m->done.data.at, h->done.len);
	return LY_OK;
}

static inline void
host_conn_close(struct ly_conn *c, enum ly_rc rc, const char *why, void *arg)
{
	struct host *h = arg;

	(void)rc, (void)why;
	if (h->conn == c)
		h->conn = NULL;
}

static const struct ly_conn_ops host_ops = {
	.on_open = host_conn_open,
	.on_frame = host_conn_frame,
	.on_close = host_conn_close,
};

static inline void
host_quote(void *arg, const struct ly_context *c, ly_keys_told *told,
    void *told_arg)
{
	struct ly_agent *a = arg;

	ly_quotes_make(a->quotes, c, false, told, told_arg);
}

static inline void
host_agent_on(struct host *h)
{
	struct ly_agent *a = &h->a;
	struct ly_identity_files files = { a->conf.cert, a->conf.key,
		a->conf.trust, NULL };

	SITE_OK(ly_identity_load(&files, &a->ids, &why));
	a->self = ly_identity_self(a->ids);
	SITE_OK(ly_net_new(&h->loop, a->ids, "test", &a->net, &why));
	a->keep = kept_open(&h->loop);
	SITE_OK(ly_tss_open(a->conf.vault, "", &a->tss, &why));
	SITE_OK(ly_homes_open(a, &a->homes, &why));
	SITE_OK(ly_approved_open(a, &why));
	SITE_OK(ly_chip_open(&h->loop, a->tss, &a->chip, &why));
	a->quotes = ly_quotes_open(a);
	SITE_OK(ly_papers_open(a, &a->papers, &why));
	SITE_OK(ly_vm_keys_open(a, a->chip, host_quote, &why));
	SITE_OK(ly_links_open(a, &a->links, &why));
	SITE_OK(ly_vms_open(a, &a->vms, &why));
	SITE_OK(ly_control_open(a, &a->control, &why));
	while (!h->conn)
		uv_run(&h->loop, UV_RUN_ONCE);
}

/* Until its manager sees it by its first certificate again. */
static inline void
host_as_first(struct host *h)
{
	while (
	    h->a.self->attested || !h->conn || ly_conn_peer(h->conn)->attested)
		uv_run(&h->loop, UV_RUN_ONCE);
}

static inline void
host_rest_off(void *arg)
{
	struct host *h = arg;
	struct ly_agent *a = &h->a;

	ly_chip_close(ly_take(a->chip));
	ly_keys_close(ly_take(a->keys));
	ly_links_close(a->links);
	ly_homes_close(a->homes);
	ly_quotes_close(ly_take(a->quotes));
	ly_papers_close(ly_take(a->papers));
	ly_control_close(a->control);
	ly_net_close(a->net);
	ly_keep_close(a->keep, true);
	a->control = NULL;
}

static inline void
host_agent_off(struct host *h)
{
	struct ly_agent *a = &h->a;

	ly_vms_close(a->vms, host_rest_off, h);
	while (a->control || h->conn)
		uv_run(&h->loop, UV_RUN_ONCE);
	for (unsigned i = 0; i < 20; i++) /* their close callbacks */
		uv_run(&h->loop, UV_RUN_NOWAIT);
	ly_tss_close(a->tss);
	ly_approved_close(a);
	ly_identity_free(a->ids);
	a->demand = false;
}

static inline LY_PRINTF(2, 3) void host_tools(const struct host *h,
    const char *fmt, ...)
{
	char cmd[600], line[1100];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	snprintf(line, sizeof(line),
	    "export TPM2TOOLS_TCTI=%s; { %s ; } >/dev/null 2>&1",
	    h->a.conf.vault, cmd);
	if (system(line) != 0)
		test_fail(__FILE__, __LINE__, "failed: %s", cmd);
}

static inline void
host_conf(struct host *h)
{
	static unsigned turn;
	struct ly_agent_conf *c = &h->a.conf;

	h->a.loop = &h->loop;
	ly_copy(c->cert, sizeof(c->cert), site_path("north-h.pem"));
	ly_copy(c->key, sizeof(c->key), site_path("north-h.key"));
	ly_copy(c->trust, sizeof(c->trust), site_path("trust"));
	ly_copy(c->state, sizeof(c->state), site_path("hs%u", turn));
	ly_copy(c->run, sizeof(c->run), site_path("hr%u", turn++));
	ly_copy(c->qemu, sizeof(c->qemu), "/bin/true");
	ly_copy(c->fin_quote, sizeof(c->fin_quote), "auto");
	ly_copy(c->address, sizeof(c->address), "127.0.0.1:1");
	ly_print(c->vault, sizeof(c->vault), "swtpm:path=%s", h->proc.path);
	ly_print(c->manager, sizeof(c->manager), "127.0.0.1:%u",
	    ly_net_port(h->office));
	c->vault_nv = 0x1801c79;
	SITE_OK(ly_file_mkdir(c->state, 0700, &why));
	SITE_OK(ly_file_mkdir(c->run, 0700, &why));
}

static inline void
host_power_on(struct host *h)
{
	*h = (struct host){ .req = 0 };
	if (!swtpm_proc_start(&h->proc))
		test_fail(__FILE__, __LINE__, "no swtpm");
	uv_loop_init(&h->loop);
	ly_identity_free(site_host("north", "h"));
	site_certify("north-m", "north", "spiffe://north/manager/m");
	h->manager = site_load("north-m", "trust");
	SITE_OK(ly_net_new(&h->loop, h->manager, "test", &h->office, &why));
	SITE_OK(ly_net_listen(h->office, "127.0.0.1:0", &host_ops, h, &why));
	host_conf(h);
	host_tools(h, "tpm2_startup -c");
	host_agent_on(h);
}

static inline void
host_power_off(struct host *h)
{
	host_agent_off(h);
	ly_net_close(h->office);
	uv_run(&h->loop, UV_RUN_DEFAULT);
	WANT_INT(uv_loop_close(&h->loop), 0);
	ly_identity_free(h->manager);
	swtpm_proc_end(&h->proc);
	free(h->done.data);
}

/* The agent ends, the machine starts anew. */
static inline void
host_reboot(struct host *h)
{
	host_agent_off(h);
	proc_end(h->proc.pid);
	WANT(swtpm_proc_again(&h->proc));
	host_tools(h, "tpm2_startup -c");
	host_agent_on(h);
}

/* Until request `req` is answered, as `rc` with `part` in the text. */
static inline void
host_answer(struct host *h, uint32_t req, enum ly_rc rc, const char *part)
{
	while (h->done.req != req)
		uv_run(&h->loop, UV_RUN_ONCE);
	if (h->done.rc != rc || !strstr(h->done.why, part))
		test_fail(__FILE__, __LINE__, "%s: %s", ly_rc_name(h->done.rc),
		    h->done.why);
}

#endif

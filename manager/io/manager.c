/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manager's beginning and end, its clock, its configuration and its
 * alarms. Files in the state directory:
 *
 *   ca.key ca.pem            the site's CA
 *   manager.key manager.pem  this manager, by that CA
 *   trust/SITE.pem           the CA of each site that is believed
 *   revoked/SITE.crl         whom that CA has revoked
 *   lanyard.db               the store
 *   head                     of the permanent record, signed (record.c)
 *   lock                     held while it runs
 */
#include "manager/io/enrol.h"
#include "manager/io/evacuate.h"
#include "manager/io/policy.h"

#include "lib/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* ---- configuration ---- */

#define KEY(member, kind, most, must, deflt, what)                             \
	LY_CONF(struct ly_manager_conf, "manager", member, kind, most, must,   \
	    deflt, what)

// clang-format off
const struct ly_conf_key ly_manager_keys[] = {
	KEY(site, LY_CONF_NAME, 0, true, NULL,
	    "the site this manager is for"),
	KEY(name, LY_CONF_NAME, 0, false, "m1",
	    "its name within the site, as in its certificate"),
	KEY(listen, LY_CONF_ADDRESS, 0, true, NULL,
	    "where agents of this site and managers of others dial it"),
	KEY(state, LY_CONF_PATH, 0, false, "/var/lib/lanyard/manager",
	    "directory of its keys, certificates and database"),
	KEY(socket, LY_CONF_PATH, 0, false, "/run/lanyard/manager.sock",
	    "socket that lanyard(1) talks to; mode 0600"),
	KEY(ticket_minutes, LY_CONF_UINT, 1440, false, "10",
	    "for how long a ticket may be used"),
	KEY(cert_days, LY_CONF_UINT, 3650, false, "365",
	    "for how long a host's certificate is good"),
	KEY(crl_hours, LY_CONF_UINT, 8760, false, "168",
	    "for how long a list of revoked certificates is good"),
	KEY(host_lost_seconds, LY_CONF_UINT, 3600, false, "30",
	    "a source gone for so long while it copies is given up"),
	KEY(attest, LY_CONF_BOOL, 0, false, "yes",
	    "whether memory goes only to hosts that were enrolled and are in an"
	    " approved state; links and streams are refused to others"),
	KEY(lanes, LY_CONF_UINT, LY_LANES_MAX, false, "2",
	    "over how many connections the memory of an attested migration"
	    " goes"),
	KEY(vendor_roots, LY_CONF_PATH, 0, false, "/etc/lanyard/vendor-roots",
	    "directory of PEM files: CA certificates of the makers of TPMs"),
	KEY(host_cert_seconds, LY_CONF_UINT, 31536000, false, "28800",
	    "for how long an enrolled host is believed before it has to prove"
	    " itself again, which it does at half that time"),
	{ "peer *", "address", LY_CONF_ADDRESS,
	    offsetof(struct ly_fed_conf, address), LY_ADDR_MAX, 0, true, NULL,
	    "where the manager of site NAME listens" },
};
// clang-format on
const size_t ly_manager_keys_n = LY_COUNT(ly_manager_keys);

static void *
on_peer(void *arg, const char *section, const char *name, struct ly_why *why)
{
	struct ly_manager_conf *conf = arg;
	struct ly_fed_conf *f;

	(void)section;
	if (!ly_name_good(name)) {
		(void)ly_fail(why, LY_REFUSED,
		    "\"%.64s\" is not a site's name: 1 to 63 of a-z 0-9 . _ -",
		    name);
		return NULL;
	}
	if (conf->peers_n == LY_FEDS_MAX) {
		(void)ly_fail(why, LY_FULL, "no more than %d other sites",
		    LY_FEDS_MAX);
		return NULL;
	}
	f = &conf->peers[conf->peers_n++];
	ly_copy(f->site, sizeof(f->site), name);
	return f;
}

enum ly_rc
ly_manager_conf_read(const char *path, struct ly_manager_conf *out,
    struct ly_why *why)
{
	enum ly_rc rc;

	memset(out, 0, sizeof(*out));
	rc = ly_conf_read(path, ly_manager_keys, ly_manager_keys_n, on_peer,
	    out, why);
	if (rc != LY_OK)
		return rc;
	if (!out->ticket_minutes || !out->cert_days || !out->crl_hours ||
	    !out->host_lost_seconds || !out->host_cert_seconds || !out->lanes)
		return ly_fail(why, LY_REFUSED,
		    "%s: [manager] ticket_minutes,"
		    " cert_days, crl_hours, host_lost_seconds,"
		    " host_cert_seconds and lanes: 1 or more",
		    path);
	for (unsigned i = 0; i < out->peers_n; i++)
		if (strcmp(out->peers[i].site, out->site) == 0)
			return ly_fail(why, LY_REFUSED,
			    "%s: [peer %s]: that is our own site", path,
			    out->site);
	return LY_OK;
}

void
ly_manager_conf_say(const struct ly_manager_conf *conf)
{
	ly_conf_say(ly_manager_keys, ly_manager_keys_n, "manager", NULL, conf);
	for (unsigned i = 0; i < conf->peers_n; i++)
		ly_conf_say(ly_manager_keys, ly_manager_keys_n, "peer",
		    conf->peers[i].site, &conf->peers[i]);
}

/* ---- small things ---- */

static uint64_t
clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t
ly_now_s(void)
{
	return clock_ms() / 1000;
}

uint64_t
ly_now_ms(void)
{
	return clock_ms();
}

const char *
ly_manager_file(const struct ly_manager *m, const char *name, char out[320])
{
	ly_print(out, 320, "%s/%s", m->conf.state, name);
	return out;
}

void
ly_manager_alarm(struct ly_manager *m, const struct ly_place *host,
    const char *vm, const char *text)
{
	struct ly_alarm_kept *a = &m->alarms[m->alarms_n++ % LY_ALARMS_KEPT];

	a->at = ly_now_s();
	ly_place_text(host, a->host);
	ly_copy(a->vm, sizeof(a->vm), vm);
	ly_copy(a->text, sizeof(a->text), text);
	ly_log_alarm(vm[0] ? vm : "manager", "%s: %s", a->host, text);
}

/* ---- beginning ---- */

static enum ly_rc
take_lock(struct ly_manager *m, struct ly_why *why)
{
	char path[320];

	ly_manager_file(m, "lock", path);
	m->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (m->lock < 0)
		return ly_fail(why, LY_OUTSIDE, "%s: %s", path,
		    strerror(errno));
	if (flock(m->lock, LOCK_EX | LOCK_NB) != 0)
		return ly_fail(why, LY_REFUSED,
		    "%s: another lanyard-manager runs on this state", path);
	return LY_OK;
}

static enum ly_rc
load_identity(struct ly_manager *m, struct ly_why *why)
{
	char cert[320], key[320], trust[320], crls[320];
	struct ly_identity_files files = {
		.cert = ly_manager_file(m, "manager.pem", cert),
		.key = ly_manager_file(m, "manager.key", key),
		.trust = ly_manager_file(m, "trust", trust),
		.crls = ly_manager_file(m, "revoked", crls),
	};
	struct ly_why at_first = { "" };
	enum ly_rc rc = ly_identity_load(&files, &m->ids, &at_first);
	const struct ly_peer *self;

	if (rc != LY_OK)
		return ly_fail(why, rc,
		    "%.200s (keys and certificates come"
		    " from `lanyard site init`)",
		    at_first.text);
	self = ly_identity_self(m->ids);
	if (self->role != LY_ROLE_MANAGER ||
	    strcmp(self->site, m->conf.site) != 0 ||
	    strcmp(self->name, m->conf.name) != 0)
		return ly_fail(why, LY_REFUSED,
		    "%s is for %s, but the configuration says site %s, name"
		    " %s",
		    cert, self->id, m->conf.site, m->conf.name);
	return LY_OK;
}

static enum ly_rc
on_host_row(void *arg, const void *row_, struct ly_why *why)
{
	struct ly_manager *m = arg;
	const struct ly_host_row *row = row_;
	struct ly_host *h;
	enum ly_rc rc = ly_roster_add_host(&m->roster, m->conf.site, row->name,
	    &h, why);

	if (rc == LY_OK)
		ly_copy(h->address, sizeof(h->address), row->address);
	if (rc == LY_OK)
		h->revoked = row->revoked;
	if (rc == LY_OK) {
		h->vms_most = row->vms_most;
		h->memory_most = row->memory_most;
	}
	return rc;
}

static enum ly_rc
on_peer_row(void *arg, const void *row_, struct ly_why *why)
{
	struct ly_manager *m = arg;
	const struct ly_peer_row *row = row_;
	struct ly_fed *f = ly_fed_of(m, row->site);

	if (f && f->from_file)
		return LY_OK; /* the file has the last word */
	return ly_fed_add(m, row->site, row->address, false, why);
}

static enum ly_rc
on_vm_row(void *arg, const void *row_, struct ly_why *why)
{
	struct ly_manager *m = arg;
	const struct ly_vm_row *row = row_;
	struct ly_vm *vm;
	enum ly_rc rc = ly_roster_add_vm(&m->roster, &row->id, row->name, &vm,
	    why);

	if (rc != LY_OK)
		return rc;
	ly_copy(vm->home.name, sizeof(vm->home.name), row->home);
	ly_copy(vm->tpm, sizeof(vm->tpm), row->tpm);
	vm->bound = row->bound;
	ly_place_set(&vm->at, row->at_site, row->at_host);
	vm->lost = row->lost;
	vm->unproved = row->unproved;
	vm->vpcr_rule = row->vpcr_rule;
	vm->vpcrs_known = ly_unhex(row->vpcrs, vm->vpcrs, sizeof(vm->vpcrs)) ==
	    LY_OK;
	vm->epoch = row->epoch;
	vm->priority = row->priority;
	vm->memory_mb = ly_definition_memory(row->definition);
	return LY_OK;
}

static enum ly_rc
load_store(struct ly_manager *m, struct ly_why *why)
{
	char path[320];
	enum ly_rc rc = ly_store_open(ly_manager_file(m, "lanyard.db", path),
	    &m->store, why);

	if (rc == LY_OK)
		rc = ly_record_load(m, m->conf.accept_loss, why);
	for (unsigned i = 0; i < m->conf.peers_n && rc == LY_OK; i++)
		rc = ly_fed_add(m, m->conf.peers[i].site,
		    m->conf.peers[i].address, true, why);
	if (rc == LY_OK)
		rc = ly_store_each(m->store, LY_ROW_HOST, on_host_row, m, why);
	if (rc == LY_OK)
		rc = ly_enrol_load(m, why);
	if (rc == LY_OK)
		rc = ly_store_each(m->store, LY_ROW_PEER, on_peer_row, m, why);
	if (rc == LY_OK)
		rc = ly_store_each(m->store, LY_ROW_VM, on_vm_row, m, why);
	if (rc == LY_OK)
		rc = ly_moves_load(m, why);
	if (rc == LY_OK)
		rc = ly_evacs_load(m, why);
	return rc;
}

/* The memory is address space until it is used. */
static enum ly_rc
make_roster(struct ly_manager *m, struct ly_why *why)
{
	struct ly_roster_mem mem = {
		.hosts = calloc(LY_HOSTS_MAX, sizeof(struct ly_host)),
		.vms = calloc(LY_VMS_MAX, sizeof(struct ly_vm)),
		.buckets = calloc(3 * (size_t)LY_BUCKETS, sizeof(uint32_t)),
	};

	ly_roster_init(&m->roster, m->conf.site, &mem);
	if (!mem.hosts || !mem.vms || !mem.buckets)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	return LY_OK;
}

static void
on_tick(uv_timer_t *timer)
{
	struct ly_manager *m = timer->data;

	ly_asks_tick(m);
	ly_fed_tick(m);
	ly_record_tick(m);
	ly_crl_tick(m);
	ly_enrol_tick(m);
	ly_evacs_tick(m); /* it looks at moves that the next line takes away */
	ly_moves_tick(m);
	ly_vms_tick(m);
	ly_api_tick(m->api);
}

static enum ly_rc
open_up(struct ly_manager *m, struct ly_why *why)
{
	enum ly_rc rc = ly_net_new(m->loop, m->ids, LY_MANAGER_SOFTWARE,
	    &m->net, why);

	if (rc == LY_OK)
		rc = ly_net_listen(m->net, m->conf.listen, &ly_listen_ops, m,
		    why);
	if (rc == LY_OK)
		rc = ly_api_open(m, m->conf.socket, &m->api, why);
	if (rc != LY_OK)
		return rc;
	uv_timer_init(m->loop, &m->tick);
	m->tick.data = m;
	uv_timer_start(&m->tick, on_tick, 0, LY_TICK_MS);
	return LY_OK;
}

enum ly_rc
ly_manager_new(uv_loop_t *loop, const struct ly_manager_conf *conf,
    struct ly_manager **out, struct ly_why *why)
{
	struct ly_manager *m = calloc(1, sizeof(*m));
	enum ly_rc rc;

	if (!m)
		return ly_fail(why, LY_OUTSIDE, "out of memory");
	m->conf = *conf;
	m->loop = loop;
	m->lock = -1;
	/* A number is not used again for a while, over restarts too. */
	ly_random(&m->asks.last_req, sizeof(m->asks.last_req));
	rc = make_roster(m, why);
	if (rc == LY_OK)
		rc = take_lock(m, why);
	if (rc == LY_OK)
		rc = load_identity(m, why);
	if (rc == LY_OK)
		rc = ly_policy_open(m, why);
	if (rc == LY_OK)
		rc = load_store(m, why);
	if (rc == LY_OK)
		rc = open_up(m, why);
	*out = m; /* what there is of it, for close and free */
	if (rc == LY_OK)
		ly_moves_go(m);
	return rc;
}

/* ---- end ---- */

void
ly_manager_close(struct ly_manager *m)
{
	if (m->closing)
		return;
	m->closing = true;
	if (m->api) {
		ly_api_close(m->api);
		m->api = NULL;
	}
	if (m->tick.data)
		uv_close((uv_handle_t *)&m->tick, NULL);
	if (m->net)
		ly_net_close(m->net);
	m->net = NULL;
}

void
ly_manager_free(struct ly_manager *m)
{
	ly_evacs_free(m);
	ly_moves_fini(m);
	ly_enrol_fini(m);
	ly_asks_fini(m);
	ly_record_free(m);
	ly_store_close(m->store);
	ly_policy_close(m);
	ly_identity_free(m->ids);
	free(m->roster.hosts);
	free(m->roster.vms);
	free(m->roster.by_host);
	if (m->lock >= 0)
		close(m->lock);
	free(m);
}

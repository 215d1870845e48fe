/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The links of the VMs here to their homes: one connection for each home,
 * shared by all VMs bound there, dialled again for as long as one of them
 * wants it; and the local link, for the VMs whose home is this host.
 *
 * A user of a link has a chan on it. Its on_hear gets the messages of that
 * chan, and OUTCOMEs of its VM; on_state says when the link is up or down, and
 * on_lease when the lease the home gives this host has lapsed, or is good again
 * (one lease for the link: its users need not be told of each renewal).
 */
#ifndef LY_AGENT_IO_LINKS_H
#define LY_AGENT_IO_LINKS_H

#include "agent/io/agent.h"

struct ly_link;

struct ly_link_user {
	struct ly_link *link; /* NULL: not on a link */
	uint32_t chan;
	struct ly_id vm;
	void (*on_state)(struct ly_link_user *u, bool up);
	void (*on_hear)(struct ly_link_user *u, unsigned type,
	    const union ly_any *m);
	void (*on_lease)(struct ly_link_user *u);
	struct ly_link_user *next;
};

LY_MUST enum ly_rc ly_links_open(struct ly_agent *agent, struct ly_links **out,
    struct ly_why *why);
/* Those that stand are made again, with the certificate that we have now. */
void ly_links_anew(struct ly_links *links);
void ly_links_close(struct ly_links *links);

/* Joins the link to `home` (a SPIFFE id) at `address`; on_state(true) follows
 * at once when it is up. */
LY_MUST enum ly_rc ly_link_join(struct ly_links *links, const char *home,
    const char *address, struct ly_link_user *u, struct ly_why *why);
void ly_link_leave(struct ly_link_user *u);
bool ly_link_up(const struct ly_link_user *u);
/* The lease is good now. Our own home asks no lease of us. */
bool ly_link_leased(const struct ly_link_user *u);
/* Sends to the home; nothing when the link is down. */
void ly_link_say(struct ly_link_user *u, unsigned type, const void *m);

/* A LINK connection that another agent dialled: a visitor of our homes. */
enum ly_rc ly_links_visit(struct ly_links *links, struct ly_conn *c,
    const struct ly_peer *peer);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The link to this site's manager. Requests are handed to homes and vms; each
 * is answered once, by DONE with its number, over whatever connection is up
 * by then: a manager that was restarted asks again, and every request may be
 * asked again with the same result.
 */
#ifndef LY_AGENT_IO_CONTROL_H
#define LY_AGENT_IO_CONTROL_H

#include "agent/io/agent.h"

LY_MUST enum ly_rc ly_control_open(struct ly_agent *agent,
    struct ly_control **out, struct ly_why *why);
void ly_control_close(struct ly_control *control);
/* Our certificate is another one: the manager is to see it, also if a connection
 * is just being made with the one before. */
void ly_control_again(struct ly_control *control);

/* Answers request `req`; 0 is nobody. */
void ly_control_done(struct ly_control *control, uint32_t req, enum ly_rc rc,
    enum ly_fate fate, uint64_t epoch, const char *why, const char *value);
/* The same, with `data`, which is borrowed. */
void ly_control_answer(struct ly_control *control, const struct ly_done *m);
/* PROGRESS, VMSTATE, ALARM. False: the manager is away, and will not hear of it;
 * VMSTATEs are said anew when it is back. */
bool ly_control_report(struct ly_control *control, unsigned type,
    const void *m);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* What the shells of agents and managers want of one another; part of sim.h. */
#ifndef LY_TESTS_SIM_SHELLS_H
#define LY_TESTS_SIM_SHELLS_H

extern const struct conn_ops visit_ops, link_ops, control_ops, manager_ops,
    source_ops, dest_ops;

void agent_boot(struct agent *a);
/* `keeper`: is killed with it. */
void agent_kill(struct agent *a, bool keeper);
void host_reboot(unsigned host);
enum ly_rc node_accept(struct end *e);

void homes_load(struct agent *a);
/* home.c and visitor.c */
struct door *door_of(struct agent *a, ly_door id);
struct door *door_new(struct agent *a);
void door_free(struct agent *a, struct door *d);
struct home *home_of(struct agent *a, const struct ly_id *vm);
void visitor_say(struct visitor *v, unsigned type, const void *m);
struct visitor *visitor_new(struct agent *a, struct end *e, const char *who,
    bool foreign);
void visitor_free(struct visitor *v);
enum ly_rc visitor_hear(struct visitor *v, unsigned type,
    const union ly_any *m);
void home_feed(struct home *h, const struct ly_home_event *ev,
    const uint8_t *body, size_t len);
void home_bind(struct agent *a, unsigned vm, uint32_t req);
void home_ask(struct agent *a, const struct ly_request *m, bool abort);
void home_show(struct agent *a, unsigned vm, uint32_t req);
void home_tpm_answer(struct home *h, const uint8_t *at, size_t len);
void home_tpm_dead(struct home *h);

void link_join(struct vm *vm);
void link_leave(struct vm *vm);
bool link_leased(const struct vm *vm);
void link_say(struct vm *vm, unsigned type, const void *m);
void link_hear(struct link *l, unsigned type, const union ly_any *m);

void vm_feed(struct vm *vm, const struct ly_away_event *ev, const void *body,
    size_t len);
void vm_cancel(struct vm *vm);
/* What was fed meanwhile, and what that leads to. */
void vm_turn(struct vm *vm);
void vm_hear(struct vm *vm, unsigned type, const union ly_any *m);
void vm_told_move(struct vm *vm, const struct ly_away_todo *t);
void vm_state(struct vm *vm, enum ly_vmstate_kind state);
void vm_report(struct vm *vm);
void vm_alarm(struct vm *vm, const char *text);
void vm_leave(struct vm *vm);
void vm_forget(struct vm *vm);
void vm_mode(struct vm *vm, enum mode mode);
void vm_guard(struct vm *vm, enum ly_guard_kind kind);
void vm_guard_wake(struct vm *vm);
void vm_release_if_idle(struct vm *vm);
struct vm *vm_of(struct agent *a, unsigned vm);
struct vm *vm_of_mig(struct agent *a, const struct ly_id *mig);
/* From QEMU. */
void vm_command(struct vm *vm, const uint8_t *at, size_t len);
void vm_init(struct vm *vm);
bool vm_save(struct vm *vm);
bool vm_restore(struct vm *vm, const uint8_t *token, size_t len);
void vm_take_back(struct vm *vm);
void vm_qemu_ready(struct vm *vm);
void vm_qemu_resumed(struct vm *vm);
void vm_qemu_exit(struct vm *vm);
void vms_request(struct agent *a, unsigned type, const union ly_any *m);
void vms_adopt(struct agent *a);
/* wake.c */
void keep_all(struct agent *a);
void keep_forget(struct agent *a);
void homes_wake(struct agent *a);
void vms_wake(struct agent *a);
void vm_woken(struct vm *vm);
struct vm *vm_blank(struct agent *a, unsigned vm);
struct home *home_add(struct agent *a, unsigned vm,
    const struct ly_record *rec);
void vm_fenced(struct vm *vm);
void move_source_woken(struct vm *vm);
void move_dest_woken(struct vm *vm);
void agent_done(struct agent *a, uint32_t req, enum ly_rc rc, enum ly_fate fate,
    uint64_t epoch, const char *value);
void agent_report(struct agent *a, unsigned vm, unsigned type, const void *m);

/* Often while there is something to be measured; else now and then. */
static inline uint64_t
move_tick_us(bool early)
{
	return early ? 20 * MS : 200 * MS;
}

enum ly_rc move_copy(struct vm *vm);
void move_qemu_event(struct qemu *q, bool gone);
void move_pump(struct source *s, const uint8_t *at, size_t len);
void move_pump_end(struct source *s);
void move_dest_broken(struct dest *d);
void move_dest_start(struct vm *vm);
void move_source_tell(struct source *s, struct ly_source_event ev);
void move_dest_tell(struct dest *d, struct ly_dest_event ev);
void move_give_up(struct vm *vm);
void move_granted(struct dest *d, enum ly_rc rc, uint64_t epoch);
enum ly_rc move_stream(struct agent *a, struct end *e);
void move_source_over(struct source *s);
void move_dest_over(struct dest *d);
void move_remember(struct agent *a, const struct ly_id *mig, enum ly_rc rc,
    enum ly_fate fate, uint64_t epoch);
const struct past *move_past(struct agent *a, const struct ly_id *mig);

/* attest.c: hosts, what the law asks of them, and managers */
bool mig_attested(const struct ly_id *mig);
struct papers *papers_of(struct agent *a, const struct ly_id *mig);
void attest_request(struct agent *a, unsigned type, const union ly_any *m);
bool attest_may_send(struct agent *a, const struct ly_copy *m);
bool attest_may_take(struct agent *a, const struct ly_id *mig);
void attest_call(struct move *mv);
void attest_fill(struct move *mv, struct ask *a, enum ly_step step);
void attest_heard(struct move *mv, enum ly_step step, const struct ly_done *d);
bool attest_appraise(const struct move *mv);

/* manager.c and operator.c */
void mgr_host_place(struct ly_place *p, unsigned host);
unsigned mgr_host_at(const struct ly_place *p);
struct ly_vm *mgr_vm_entry(const struct manager *m, unsigned vm);
bool mgr_save_vm(struct manager *m, unsigned vm);
void mgr_save_vm_later(struct manager *m, unsigned vm);
void mgr_send_ask(struct manager *m, const struct ask *a);
struct ask *mgr_ask_new(struct manager *m, unsigned host, unsigned type,
    uint64_t limit_ms);
struct ly_bytes mgr_mint(struct manager *m, struct ask *a, unsigned vm,
    const struct ly_id *mig, unsigned to, unsigned rights, uint64_t epoch);
void mgr_move_tell(struct move *mv, enum ly_saga_kind kind);
struct move *mgr_move_new(struct manager *m, unsigned vm);
struct ask *mgr_job_ask(struct manager *m, unsigned vm, unsigned host,
    unsigned type, uint64_t limit_ms, enum stage stage);
void mgr_job_done(struct manager *m, const struct ask *a,
    const struct ly_done *d);
struct job *mgr_job_begin(struct manager *m, unsigned vm, enum job_kind kind);
void manager_boot(struct manager *m);
void manager_kill(struct manager *m);
void manager_migrate(unsigned vm, unsigned to);
void manager_start(unsigned vm, unsigned to, bool force);
void manager_stop(unsigned vm, bool force);
void manager_cancel(unsigned vm);
bool manager_quiet(const struct manager *m);
struct manager *manager_of(unsigned vm);

#endif

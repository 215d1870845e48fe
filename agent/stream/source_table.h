/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of source.c, which alone includes this: every cell names a handler
 * there.
 */
#ifndef LY_AGENT_STREAM_SOURCE_TABLE_H
#define LY_AGENT_STREAM_SOURCE_TABLE_H

/*
 * `nothing` means: too late to matter (an answer to what we no longer want),
 * or told again what we know. A STOPPED after its STOPPING was undone is one:
 * the monitor answers in order, so the cont that undoes it comes after.
 */
#define TOO_LATE nothing

static handler *const table[LY_SRC_STATES][LY_SRC_KINDS] = {
	[LY_SRC_DIAL] = {
		[LY_SRC_OPEN] = on_open,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = nothing,
		[LY_SRC_READY] = lost_dialling,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = lost_dialling,	[LY_SRC_GONE] = gone_undoing,
		[LY_SRC_CALLOFF] = calloff_dialling,
		[LY_SRC_TICK] = tick_dial,
		[LY_SRC_HOOKED] = nothing,	[LY_SRC_FENCED] = fenced_resuming,
	},
	[LY_SRC_SETUP] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = on_set,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = on_end,
		[LY_SRC_RELEASED] = nothing,	[LY_SRC_READY] = ready_early,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = on_lost,	[LY_SRC_GONE] = on_gone,
		[LY_SRC_CALLOFF] = on_calloff,	[LY_SRC_TICK] = tick_setup,
		[LY_SRC_HOOKED] = nothing,	[LY_SRC_FENCED] = fenced_before,
	},
	[LY_SRC_COPY] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = on_hint,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = on_end,
		[LY_SRC_RELEASED] = nothing,	[LY_SRC_READY] = ready_early,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = on_lost,	[LY_SRC_GONE] = on_gone,
		[LY_SRC_CALLOFF] = on_calloff,	[LY_SRC_TICK] = tick_copy,
		[LY_SRC_HOOKED] = nothing,	[LY_SRC_FENCED] = fenced_before,
	},
	[LY_SRC_STOPPING] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = on_stopped,	[LY_SRC_END] = on_end,
		[LY_SRC_RELEASED] = nothing,	[LY_SRC_READY] = ready_early,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = on_lost,	[LY_SRC_GONE] = on_gone,
		[LY_SRC_CALLOFF] = on_calloff,
		[LY_SRC_TICK] = tick_stopping,
		[LY_SRC_HOOKED] = nothing,	[LY_SRC_FENCED] = fenced_before,
	},
	[LY_SRC_LETGO] = { /* as FINISH, but nothing is asked yet */
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = on_hint,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = on_end,
		[LY_SRC_RELEASED] = nothing, [LY_SRC_READY] = ready_early,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = on_lost,	[LY_SRC_GONE] = on_gone,
		[LY_SRC_CALLOFF] = on_calloff,	[LY_SRC_TICK] = tick_letgo,
		[LY_SRC_HOOKED] = hooked_letting_go,	[LY_SRC_FENCED] = fenced_before,
	},
	[LY_SRC_FINISH] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = on_hint,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = on_end,
		[LY_SRC_RELEASED] = on_released, [LY_SRC_READY] = ready_early,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = on_lost,	[LY_SRC_GONE] = on_gone,
		[LY_SRC_CALLOFF] = on_calloff,	[LY_SRC_TICK] = tick_finish,
		[LY_SRC_HOOKED] = nothing,	[LY_SRC_FENCED] = fenced_before,
	},
	[LY_SRC_WAIT] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = nothing,	[LY_SRC_READY] = on_ready,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = lost_waiting,	[LY_SRC_GONE] = gone_waiting,
		[LY_SRC_CALLOFF] = calloff_waiting,
		[LY_SRC_TICK] = tick_wait,
		[LY_SRC_HOOKED] = nothing,	[LY_SRC_FENCED] = nothing,
	},
	[LY_SRC_ASK] = {
		[LY_SRC_OPEN] = nothing,	[LY_SRC_SET] = nothing,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = nothing,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = on_ready,
		[LY_SRC_FATE] = on_fate,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = nothing,	[LY_SRC_GONE] = gone_waiting,
		[LY_SRC_CALLOFF] = calloff_waiting,
		[LY_SRC_TICK] = tick_ask,
		[LY_SRC_HOOKED] = nothing,	[LY_SRC_FENCED] = nothing,
	},
	[LY_SRC_UNDO] = {
		[LY_SRC_OPEN] = TOO_LATE,	[LY_SRC_SET] = TOO_LATE,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = on_hint,
		[LY_SRC_STOPPED] = TOO_LATE,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = TOO_LATE,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = nothing,	[LY_SRC_GONE] = gone_undoing,
		[LY_SRC_CALLOFF] = nothing,	[LY_SRC_TICK] = tick_undo,
		[LY_SRC_HOOKED] = hooked_undoing,	[LY_SRC_FENCED] = fenced_undoing,
	},
	[LY_SRC_REGAIN] = {
		[LY_SRC_OPEN] = TOO_LATE,	[LY_SRC_SET] = TOO_LATE,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = TOO_LATE,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = TOO_LATE,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = nothing,	[LY_SRC_GONE] = gone_undoing,
		[LY_SRC_CALLOFF] = nothing,	[LY_SRC_TICK] = tick_regain,
		[LY_SRC_HOOKED] = hooked_regaining,	[LY_SRC_FENCED] = fenced_resuming,
	},
	[LY_SRC_RESUME] = {
		[LY_SRC_OPEN] = TOO_LATE,	[LY_SRC_SET] = TOO_LATE,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = TOO_LATE,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = TOO_LATE,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = on_resumed,
		[LY_SRC_LOST] = nothing,	[LY_SRC_GONE] = gone_undoing,
		[LY_SRC_CALLOFF] = nothing,	[LY_SRC_TICK] = tick_resume,
		[LY_SRC_HOOKED] = nothing,	[LY_SRC_FENCED] = fenced_resuming,
	},
	[LY_SRC_QUIT] = {
		[LY_SRC_OPEN] = TOO_LATE,	[LY_SRC_SET] = TOO_LATE,
		[LY_SRC_STATUS] = on_status,	[LY_SRC_HINT] = nothing,
		[LY_SRC_STOPPED] = TOO_LATE,	[LY_SRC_END] = nothing,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = TOO_LATE,
		[LY_SRC_FATE] = nothing,	[LY_SRC_RESUMED] = nothing,
		[LY_SRC_LOST] = nothing,	[LY_SRC_GONE] = gone_quitting,
		[LY_SRC_CALLOFF] = TOO_LATE,	[LY_SRC_TICK] = nothing,
		[LY_SRC_HOOKED] = nothing,	[LY_SRC_FENCED] = nothing,
	},
	[LY_SRC_OVER] = {
		[LY_SRC_OPEN] = TOO_LATE,	[LY_SRC_SET] = TOO_LATE,
		[LY_SRC_STATUS] = TOO_LATE,	[LY_SRC_HINT] = TOO_LATE,
		[LY_SRC_STOPPED] = TOO_LATE,	[LY_SRC_END] = TOO_LATE,
		[LY_SRC_RELEASED] = TOO_LATE,	[LY_SRC_READY] = TOO_LATE,
		[LY_SRC_FATE] = TOO_LATE,	[LY_SRC_RESUMED] = TOO_LATE,
		[LY_SRC_LOST] = TOO_LATE,	[LY_SRC_GONE] = TOO_LATE,
		[LY_SRC_CALLOFF] = TOO_LATE,	[LY_SRC_TICK] = TOO_LATE,
		[LY_SRC_HOOKED] = TOO_LATE,	[LY_SRC_FENCED] = TOO_LATE,
	},
};

#endif

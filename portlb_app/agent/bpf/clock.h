/* Time in 32 bits: ticks of about a second for ages, moments of about a millisecond for waits. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* A tick is 2^30 ns (1.07 s): a shift instead of a division. */
#define TICK_SHIFT 30
#define TICKS(seconds) ((__u32)((seconds) * 1000000000ULL >> TICK_SHIFT) + 1)

/* The tick when the clock was read last. Reading the clock for every packet would cost too much. The sweep reads it. */
volatile __u32 coarse_tick SEC(".data.clock") = 1;

static __always_inline __u32 set_coarse_tick(__u32 now)
{
	if (coarse_tick != now)
		coarse_tick = now;
	return now;
}

static __always_inline __u32 tick(void)
{
	return set_coarse_tick(bpf_ktime_get_coarse_ns() >> TICK_SHIFT);
}

/* A moment is 2^20 ns (1.05 ms). */
#define MOMENT_SHIFT 20
#define MOMENTS(milliseconds) ((__u32)((milliseconds) * 1000000ULL >> MOMENT_SHIFT))

static __always_inline __u32 moment(void)
{
	return bpf_ktime_get_coarse_ns() >> MOMENT_SHIFT;
}

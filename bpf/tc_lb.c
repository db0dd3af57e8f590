//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The stages on the tc hook. */
#define HOOK_TC
#include "lb.h"

SEC("tc")
int weir_tc(hook_ctx *ctx)
{
	return journey(ctx);
}

char __license[] SEC("license") = "Dual BSD/GPL";

//go:build ignore
/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* The stages on the xdp hook. */
#define HOOK_XDP
#include "lb.h"

SEC("xdp")
int weir_xdp(hook_ctx *ctx)
{
	return journey(ctx);
}

char __license[] SEC("license") = "Dual BSD/GPL";

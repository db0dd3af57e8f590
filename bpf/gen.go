// SPDX-License-Identifier: Apache-2.0

// Package bpf holds the packet programs and their generated Go binding. Only
// packages maps and loader import it.
package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -tags linux -target bpfel -go-package bpf -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu" -type conn -type abi -type limit -type reason -type algorithm -type conn_state -type conn_flag -type role -type adjacency_state LB xdp_lb.c
//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -tags linux -target bpfel -go-package bpf -cflags "-O2 -g -mcpu=v3 -Wall -Wextra -Werror -Wno-unused-parameter -I/usr/include/x86_64-linux-gnu" -no-global-types TC tc_lb.c

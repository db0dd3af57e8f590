# SPDX-License-Identifier: Apache-2.0
GO ?= go

.PHONY: help build deb generate lint test test-kernels bench demo
help: ## print the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/'

build: ## bin/weir
	$(GO) build -o bin/weir ./cmd/weir

demo: build ## weir on real traffic in network namespaces, in 15 seconds (root)
	scripts/setup busybox-static curl iproute2 socat
	scripts/demo

deb: ## bin/weir_VERSION_amd64.deb
	scripts/setup git
	GO="$(GO)" scripts/deb

generate: ## the Go binding and objects of the BPF programs (needs clang-19)
	scripts/setup clang-19 llvm-19 libbpf-dev
	$(GO) generate ./bpf ./test/bench

lint: ## formatting, golangci-lint (its first build takes minutes), and that the committed BPF objects match their sources
	test -z "$$(gofmt -l .)"
	$(GO) tool -modfile=tools/go.mod golangci-lint run ./...
	! grep -rn bpf_printk bpf --include=*.h --include=*.c
	scripts/check-generated

test: lint build ## everything CI runs (root: BPF and network namespaces)
	scripts/setup iproute2 ethtool procps systemd util-linux git passwd
	$(GO) test -race -count=1 ./...
	$(MAKE) --no-print-directory demo
	$(MAKE) --no-print-directory test-kernels

test-kernels: ## the tests that need a kernel on Debian's 6.1 and 6.12, emulated (root: to install what it needs)
	GO="$(GO)" scripts/test-kernels

bench: ## what a packet costs (also bin/bench.json), and the daemon at scale (root; some minutes; an idle machine)
	scripts/setup iproute2 ethtool procps
	mkdir -p bin
	GODEBUG=asyncpreemptoff=1 $(GO) run ./test/bench -json bin/bench.json
	$(GO) test -run '^$$' -bench Scale -benchtime 1x ./test/e2e
	$(GO) test -run '^$$' -bench Probes -benchtime 4x ./healthd

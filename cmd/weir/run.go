// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/daemon"
)

var runCommand = &cli.Command{
	Name:  "run",
	Usage: "balance: load the programs, check the backends, keep the maps right",
	Description: `Runs in the foreground until SIGTERM, which leaves packets forwarding; weir detach
ends that. SIGHUP reads the file again.

Example: weir run -c /etc/weir/weir.yaml`,
	Flags:  []cli.Flag{configFlag},
	Action: runDaemon,
}

func runDaemon(c *cli.Context) error {
	if err := wantArgs(c, 0); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, unix.SIGTERM, os.Interrupt)
	defer stop()
	hangups, reload := make(chan os.Signal, 1), make(chan struct{}, 1)
	signal.Notify(hangups, unix.SIGHUP)
	go func() {
		for range hangups {
			select {
			case reload <- struct{}{}:
			default: // one is to come
			}
		}
	}()
	return daemon.Run(ctx, daemon.Options{
		Config: c.Path("config"), Socket: c.String("socket"), BPFFS: c.String("bpffs"), State: c.String("state"),
		Version: buildVersion(), Log: slog.New(slog.NewTextHandler(c.App.ErrWriter, nil)), Reload: reload,
		Ready: func() { notify("READY=1") },
		Alive: func() { notify("WATCHDOG=1") },
	})
}

// notify tells systemd, where it started weir (sd_notify(3)).
func notify(state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	conn, err := net.Dial("unixgram", socket)
	if err != nil {
		slog.Warn("notify systemd", "err", err)
		return
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprint(conn, state); err != nil {
		slog.Warn("notify systemd", "err", err)
	}
}

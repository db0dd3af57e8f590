// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
)

// Daemon answers the requests. Its methods may be called at once from many
// goroutines.
type Daemon interface {
	Status(ctx context.Context) (*Status, error)
	Maps(ctx context.Context) ([]Map, error)
	// Conns calls do for each connection until it returns an error.
	Conns(ctx context.Context, do func(Conn) error) error
	Reload(ctx context.Context) error
	Drain(ctx context.Context, d Drain) error
}

// Invalid marks an error that is the caller's or the file's.
type Invalid struct{ Err error }

func (e Invalid) Error() string { return e.Err.Error() }
func (e Invalid) Unwrap() error { return e.Err }

// Listen opens the control socket: root:weir 0660, or root:root 0600 where
// there is no group weir. A socket that nobody answers on is replaced.
func Listen(path string) (net.Listener, error) {
	if conn, err := net.Dial("unix", path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("control socket %s: another daemon answers on it; give this one its own --socket", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	mode := os.FileMode(0o600)
	if group, err := user.LookupGroup("weir"); err == nil {
		if gid, err := strconv.Atoi(group.Gid); err == nil && os.Chown(path, 0, gid) == nil {
			mode = 0o660
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), listener.Close())
	}
	return listener, nil
}

// Handler serves a daemon.
func Handler(d Daemon) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		status, err := d.Status(r.Context())
		answer(w, status, err)
	})
	mux.HandleFunc("GET /v1/maps", func(w http.ResponseWriter, r *http.Request) {
		infos, err := d.Maps(r.Context())
		answer(w, infos, err)
	})
	mux.HandleFunc("GET /v1/conns", func(w http.ResponseWriter, r *http.Request) {
		out := bufio.NewWriterSize(w, 1<<16)
		lines := json.NewEncoder(out)
		// An error after the first line can only cut the answer short.
		if err := d.Conns(r.Context(), func(c Conn) error { return lines.Encode(c) }); err == nil {
			_ = out.Flush()
		}
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, d.Reload(r.Context()))
	})
	mux.HandleFunc("POST /v1/drain", func(w http.ResponseWriter, r *http.Request) {
		var request Drain
		if err := json.NewDecoder(io.LimitReader(r.Body, 1<<16)).Decode(&request); err != nil {
			answer(w, nil, Invalid{err})
			return
		}
		answer(w, struct{}{}, d.Drain(r.Context(), request))
	})
	return mux
}

func answer(w http.ResponseWriter, body any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		var invalid Invalid
		failed := Error{Error: err.Error(), Invalid: errors.As(err, &invalid)}
		status := http.StatusInternalServerError
		if failed.Invalid {
			status = http.StatusUnprocessableEntity
		}
		w.WriteHeader(status)
		body = failed
	}
	// The client that went away is the only reader of this error.
	_ = json.NewEncoder(w).Encode(body)
}

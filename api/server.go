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
	// Rows calls do for each row of a map until it returns an error; an
	// unknown map is Invalid.
	Rows(ctx context.Context, name string, do func(row any) error) error
	// Conns calls do for each connection until it returns an error.
	Conns(ctx context.Context, do func(*Conn) error) error
	Reload(ctx context.Context) error
	Plan(ctx context.Context, file File) (*Plan, error)
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
		format := connFormats[r.Header.Get("Accept")]
		if format == nil {
			format = appendJSON
		}
		filter := filterOf(r.URL.Query())
		lines(w, func(out io.Writer) error {
			if _, err := out.Write(connHeads[r.Header.Get("Accept")]); err != nil {
				return err
			}
			var line []byte
			return d.Conns(r.Context(), func(c *Conn) error {
				if !filter.chooses(c) {
					return nil
				}
				line = format(line[:0], c)
				_, err := out.Write(line)
				return err
			})
		})
	})
	mux.HandleFunc("GET /v1/maps/{name}", func(w http.ResponseWriter, r *http.Request) {
		lines(w, func(out io.Writer) error {
			return d.Rows(r.Context(), r.PathValue("name"), json.NewEncoder(out).Encode)
		})
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		answer(w, struct{}{}, d.Reload(r.Context()))
	})
	mux.HandleFunc("POST /v1/plan", func(w http.ResponseWriter, r *http.Request) {
		var file File
		if request(w, r, &file) {
			plan, err := d.Plan(r.Context(), file)
			answer(w, plan, err)
		}
	})
	mux.HandleFunc("POST /v1/drain", func(w http.ResponseWriter, r *http.Request) {
		var drain Drain
		if request(w, r, &drain) {
			answer(w, struct{}{}, d.Drain(r.Context(), drain))
		}
	})
	return mux
}

// maxRequest holds the largest configuration, 8 MiB, encoded.
const maxRequest = 16 << 20

// request reads a request's body; one that cannot be read is answered.
func request(w http.ResponseWriter, r *http.Request, body any) bool {
	err := json.NewDecoder(io.LimitReader(r.Body, maxRequest)).Decode(body)
	if err != nil {
		answer(w, nil, Invalid{fmt.Errorf("read the request: %w", err)})
	}
	return err == nil
}

// lines answers with what is written, line by line. After the first ones have
// left, an error can only break the connection off, which tells the client.
func lines(w http.ResponseWriter, write func(out io.Writer) error) {
	begun := false
	out := bufio.NewWriterSize(writerFunc(func(b []byte) (int, error) {
		begun = true
		return w.Write(b)
	}), 1<<16)
	err := write(out)
	switch {
	case err == nil:
		_ = out.Flush()
	case begun:
		panic(http.ErrAbortHandler)
	default:
		answer(w, nil, err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

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

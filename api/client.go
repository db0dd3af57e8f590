// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// Client asks the daemon behind a control socket.
type Client struct {
	socket string
	http   http.Client
}

// NewClient returns a Client of the socket.
func NewClient(socket string) *Client {
	c := &Client{socket: socket}
	c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	return c
}

// Status asks for one look at everything.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.call(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Maps asks for the BPF maps.
func (c *Client) Maps(ctx context.Context) (all []Map, err error) {
	return all, c.call(ctx, http.MethodGet, "/v1/maps", nil, &all)
}

// Reload has the daemon read its file again; it returns when the maps hold it.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/v1/reload", nil, nil)
}

// Plan asks what a reload of the file would change.
func (c *Client) Plan(ctx context.Context, file File) (plan Plan, err error) {
	return plan, c.call(ctx, http.MethodPost, "/v1/plan", file, &plan)
}

// Drain drains or undrains a backend; it returns when the maps hold it.
func (c *Client) Drain(ctx context.Context, d Drain) error {
	return c.call(ctx, http.MethodPost, "/v1/drain", d, nil)
}

// Conns copies the connections to out as they come, in a media type: JSONLines
// or Text.
func (c *Client) Conns(ctx context.Context, filter ConnFilter, mediaType string, out io.Writer) error {
	response, err := c.ask(ctx, http.MethodGet, "/v1/conns?"+filter.query(), mediaType, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(out, response.Body); err != nil {
		return fmt.Errorf("copy the connections: %w", err)
	}
	return nil
}

// Rows streams a map's rows, each a flat object.
func (c *Client) Rows(ctx context.Context, name string, do func(json.RawMessage) error) error {
	return stream(ctx, c, "/v1/maps/"+url.PathEscape(name), do)
}

func stream[T any](ctx context.Context, c *Client, path string, do func(T) error) error {
	response, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	for lines := json.NewDecoder(response.Body); ; {
		var value T
		if err := lines.Decode(&value); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read the daemon's answer: %w", err)
		}
		if err := do(value); err != nil {
			return err
		}
	}
}

func (c *Client) call(ctx context.Context, method, path string, request, result any) error {
	response, err := c.send(ctx, method, path, request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if result == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(result); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	return c.ask(ctx, method, path, "application/json", body)
}

// ask returns an answer of the media type; one that is an error becomes one.
func (c *Client) ask(ctx context.Context, method, path, mediaType string, body any) (*http.Response, error) {
	encoded, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://weir"+path, bytes.NewReader(encoded))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", mediaType)
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no daemon answers on %s (start it with: weir run, or name its --socket): %w", c.socket, errors.Unwrap(err))
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer func() { _ = response.Body.Close() }()
	var failed Error
	if err := json.NewDecoder(response.Body).Decode(&failed); err != nil {
		return nil, fmt.Errorf("the daemon answers %s", response.Status)
	}
	if failed.Invalid {
		return nil, Invalid{errors.New(failed.Error)}
	}
	return nil, errors.New(failed.Error)
}

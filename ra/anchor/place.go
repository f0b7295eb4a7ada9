// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	lookEvery  = time.Second
	fetchEvery = 10 * time.Minute
)

// listTypes are the media types under which servers have CRLs: that of RFC
// 5280 section 4.2.1.13, and what servers say of files they don't know. What
// comes is judged by its signature.
var listTypes = []string{
	"application/pkix-crl", "application/x-pkix-crl", "application/x-pkcs7-crl", "application/x-x509-crl",
	"application/x-pem-file", "application/octet-stream", "binary/octet-stream", "text/plain", "",
}

// OnDisk is a CRL file that somebody else keeps current.
func OnDisk(name string) Place { return &onDisk{name: name} }

// onDisk is a file that is read when it has changed.
type onDisk struct {
	name string

	mu          sync.Mutex
	taken, read stamp
}

// A stamp tells one content of a file from the next.
type stamp struct {
	changed time.Time
	size    int64
}

func (f *onDisk) Every() time.Duration { return lookEvery }
func (f *onDisk) Ours() bool           { return true }

// Read implements Place.
func (f *onDisk) Read(context.Context) (data []byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data, f.read, err = readChanged(f.name, f.taken, MaxList)
	return data, err
}

// Took implements Place.
func (f *onDisk) Took() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken = f.read
}

// readChanged reads a file whose stamp isn't the one that was seen.
func readChanged(name string, seen stamp, most int64) ([]byte, stamp, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, stamp{}, err
	}
	now := stamp{info.ModTime(), info.Size()}
	if now == seen {
		return nil, seen, nil
	}
	if info.Size() > most {
		return nil, stamp{}, fmt.Errorf("%s: the file has more than %d MiB", name, most>>20)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, stamp{}, err
	}
	return data, now, nil
}

// At is a CRL at an address.
func At(url string, client Client) Place { return &atURL{url: url, client: client} }

type atURL struct {
	url    string
	client Client

	mu          sync.Mutex
	taken, read validators
}

// validators are what an HTTP server calls a version by (RFC 9110 section 8.8).
type validators struct{ etag, modified string }

func (u *atURL) Every() time.Duration { return fetchEvery }
func (u *atURL) Ours() bool           { return false }

// Read implements Place.
func (u *atURL) Read(ctx context.Context) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.url, nil)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	if u.taken.etag != "" {
		request.Header.Set("If-None-Match", u.taken.etag)
	} else if u.taken.modified != "" {
		request.Header.Set("If-Modified-Since", u.taken.modified)
	}
	u.mu.Unlock()
	body, header, err := receive(u.client, request, MaxList, listTypes)
	if err != nil || body == nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.read = validators{header.Get("ETag"), header.Get("Last-Modified")}
	return body, nil
}

// Took implements Place.
func (u *atURL) Took() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.taken = u.read
}

// receive sends a request and reads its answer, up to a size and of some types.
// Of an answer 304 there is no body.
func receive(client Client, request *http.Request, most int64, types []string) ([]byte, http.Header, error) {
	if client == nil {
		return nil, nil, errors.New("there is no HTTP client")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	conditional := request.Header.Get("If-None-Match") + request.Header.Get("If-Modified-Since")
	switch {
	case response.StatusCode == http.StatusNotModified && conditional != "":
		return nil, response.Header, nil
	case response.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("the server answers with status %d", response.StatusCode)
	}
	written := response.Header.Get("Content-Type")
	kind, _, err := mime.ParseMediaType(written)
	if err != nil && written != "" || !slices.Contains(types, kind) {
		return nil, nil, fmt.Errorf("the server answers with the type %q, and not %s", strings.ToValidUTF8(written, "?"), types[0])
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, most+1))
	if err != nil {
		return nil, nil, err
	}
	if int64(len(body)) > most {
		return nil, nil, fmt.Errorf("the server's answer has more than %d KiB", most>>10)
	}
	return body, response.Header, nil
}

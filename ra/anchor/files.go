// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"context"
	"crypto/x509"
	"slices"
	"sync"
	"time"
)

// maxTrustFile bounds a file of trust anchors.
const maxTrustFile = 4 << 20

// Files is a source of PEM files that are read again when they change, so that
// an anchor which is taken away, or added, acts on the next request: no reload,
// and no new connection. While one of them is missing, or holds anything else
// than certificates, there are none. It is safe for concurrent use.
type Files struct {
	names []string
	now   func() time.Time

	mu      sync.Mutex
	looked  time.Time
	seen    []stamp
	files   [][]*x509.Certificate
	all     []*x509.Certificate
	failure error
}

// NewFiles reads the files. One that is missing or wrong must stop the start.
func NewFiles(names []string) (*Files, error) {
	f := &Files{names: names, now: time.Now, seen: make([]stamp, len(names)), files: make([][]*x509.Certificate, len(names))}
	if _, _, err := f.Certificates(context.Background()); err != nil {
		return nil, err
	}
	return f, nil
}

// Certificates implements Source.
func (f *Files) Certificates(context.Context) (anchors, intermediates []*x509.Certificate, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.now(); f.looked.IsZero() || now.Sub(f.looked) >= lookEvery || now.Before(f.looked) {
		f.looked, f.failure = now, f.look()
	}
	if f.failure != nil {
		return nil, nil, f.failure
	}
	return f.all, nil, nil
}

func (f *Files) look() error {
	changed := f.failure != nil
	for i, name := range f.names {
		data, seen, err := readChanged(name, f.seen[i], maxTrustFile)
		if err != nil {
			return err
		}
		if data == nil {
			continue
		}
		certs, err := ParsePEM(name, data)
		if err != nil {
			return err
		}
		f.seen[i], f.files[i], changed = seen, certs, true
	}
	if changed {
		f.all = slices.Concat(f.files...)
	}
	return nil
}

// Accepts implements Source.
func (f *Files) Accepts(context.Context, *x509.Certificate, []*x509.Certificate) error { return nil }

var _ Source = (*Files)(nil)

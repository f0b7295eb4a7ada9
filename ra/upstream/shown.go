// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"bytes"
	"crypto/tls"
	"sync"
)

// shown is the client certificate that connections show.
type shown struct {
	certificate func() (*tls.Certificate, error) // nil: none is

	mu   sync.Mutex
	leaf []byte // of those that are kept, DER; nil: none is known
}

// renew gives up the connections that show another certificate than that of now.
// Where there is none, the handshake says why.
func (s *shown) renew(all []*address) {
	if s.certificate == nil {
		return
	}
	now, err := s.certificate()
	if err != nil || len(now.Certificate) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if bytes.Equal(s.leaf, now.Certificate[0]) {
		return
	}
	if s.leaf != nil {
		for _, a := range all {
			a.reconnect()
		}
	}
	s.leaf = now.Certificate[0]
}

// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// A changing is what files say, such as a credential, and is read again when one
// of them has changed, without a new configuration. While what they say can't be
// taken, such as between the writing of a certificate and that of its key, what
// they said before counts.
type changing[T any] struct {
	files []string
	read  func(texts [][]byte) (T, error)

	mu     sync.Mutex
	stamps []fileStamp
	value  T
}

// A fileStamp tells a file from what it was before.
type fileStamp struct {
	changed time.Time
	size    int64
}

// newChanging reads for the first time, where a mistake is an error.
func newChanging[T any](read func(texts [][]byte) (T, error), files ...string) (*changing[T], error) {
	c := &changing[T]{files: files, read: read}
	stamps, err := c.look()
	if err != nil {
		return nil, err
	}
	if err := c.load(stamps); err != nil {
		return nil, err
	}
	return c, nil
}

// now is what the files say.
func (c *changing[T]) now() T {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stamps, err := c.look(); err == nil && !slices.Equal(stamps, c.stamps) {
		_ = c.load(stamps) // else it is tried again
	}
	return c.value
}

func (c *changing[T]) look() ([]fileStamp, error) {
	stamps := make([]fileStamp, len(c.files))
	for i, name := range c.files {
		info, err := os.Stat(name)
		if err != nil {
			return nil, err
		}
		stamps[i] = fileStamp{info.ModTime(), info.Size()}
	}
	return stamps, nil
}

func (c *changing[T]) load(stamps []fileStamp) error {
	texts := make([][]byte, len(c.files))
	for i, name := range c.files {
		var err error
		if texts[i], err = os.ReadFile(name); err != nil {
			return err
		}
	}
	value, err := c.read(texts)
	if err != nil {
		return err
	}
	c.stamps, c.value = stamps, value
	return nil
}

// A clientPair is a certificate that we show to a CA, with its key.
type clientPair struct {
	tls   tls.Certificate
	chain []*x509.Certificate
}

// loadClientPair follows the files of a client certificate and its key; nil where
// there are none. fits says what is wrong with the certificate; nil: nothing is.
func loadClientPair(certificate, key string, fits func(*x509.Certificate) error) (*changing[clientPair], error) {
	switch {
	case certificate == "" && key == "":
		return nil, nil
	case certificate == "" || key == "":
		return nil, fmt.Errorf("our client certificate is `certificate FILE` and `key FILE`: write both, or none")
	}
	pair, err := newChanging(func(texts [][]byte) (clientPair, error) {
		p, err := tls.X509KeyPair(texts[0], texts[1])
		if err != nil {
			return clientPair{}, err
		}
		chain := make([]*x509.Certificate, len(p.Certificate))
		for i, der := range p.Certificate {
			if chain[i], err = x509.ParseCertificate(der); err != nil {
				return clientPair{}, err
			}
		}
		if fits != nil {
			err = fits(chain[0])
		}
		return clientPair{p, chain}, err
	}, certificate, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s, key %s: %w", certificate, key, err)
	}
	return pair, nil
}

// credentialOf is a credential that stands in one of two options: as a text, best
// a placeholder, or in the file of `OPTION_file`. What a placeholder stands for, such
// as {file.X}, may change as the file may.
func credentialOf[T any](option, text, file string, parse func(string) (T, error)) (func() T, error) {
	switch {
	case (text == "") == (file == ""):
		return nil, fmt.Errorf("%s or %s_file is needed: write one of the two", option, option)
	case file != "":
		c, err := newChanging(func(texts [][]byte) (T, error) { return parse(string(texts[0])) }, file)
		if err != nil {
			return nil, fmt.Errorf("%s_file %s: %w", option, file, err)
		}
		return c.now, nil
	}
	read := func() (value T, err error) {
		said, err := expand(option, text)
		if err != nil {
			return value, err
		}
		if value, err = parse(said); err != nil {
			return value, fmt.Errorf("%s: %w", option, err)
		}
		return value, nil
	}
	value, err := read()
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	return func() T {
		mu.Lock()
		defer mu.Unlock()
		if now, err := read(); err == nil {
			value = now
		}
		return value
	}, nil
}

// onlyPlaceholder refuses a secret itself. env and file are for the example.
func onlyPlaceholder(title, option, value, env, file string) error {
	if strings.HasPrefix(value, "{") && strings.HasSuffix(value, "}") {
		return nil
	}
	return fmt.Errorf("%s: `%s` takes a placeholder such as {env.%s} or {file./run/secrets/%s}: what is written here, Caddy shows at /config/", title, option, env, file)
}

// placeholder gives what a placeholder stands for whenever it is asked.
func placeholder[T any](option, value string, parse func([]byte) (T, error)) (func() (T, error), error) {
	get := func() (T, error) {
		text, err := expand(option, value)
		if err != nil {
			var none T
			return none, err
		}
		parsed, err := parse([]byte(text))
		if err != nil {
			return parsed, fmt.Errorf("%s: %w", option, err)
		}
		return parsed, nil
	}
	_, err := get()
	return get, err
}

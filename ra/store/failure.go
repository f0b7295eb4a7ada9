// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/caddy-est/estra/ra/srp"
)

// mostRepeated is for how long something is tried again that found a broken
// connection, or gave way to another node.
const mostRepeated = 3 * time.Second

// conflict: two nodes wanted the same rows in another order, and this one
// gave way.
func conflict(answer *pgconn.PgError) bool {
	return answer.Code == "40P01" || answer.Code == "40001"
}

// transient tells errors that pass: a conflict, and what a server says or does
// that restarts or is replaced by another.
func transient(err error) bool {
	var answer *pgconn.PgError
	switch {
	case errors.As(err, &answer):
		class := answer.Code[:min(2, len(answer.Code))]
		return conflict(answer) || class == "57" && answer.Code != "57014" || class == "08" || answer.Code == "25006"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return false
	case errors.Is(err, ErrTaken), errors.Is(err, ErrUnknown), errors.Is(err, srp.ErrTaken), errors.Is(err, srp.ErrUnknown), errors.Is(err, sql.ErrNoRows):
		return false
	default:
		return broken(err)
	}
}

// broken tells that there is no connection, or none any more.
func broken(err error) bool {
	for _, known := range []error{driver.ErrBadConn, sql.ErrConnDone, pgconn.ErrConnClosed, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, known) {
			return true
		}
	}
	var refused *pgconn.ConnectError
	var network *net.OpError
	return errors.As(err, &refused) || errors.As(err, &network) || pgconn.SafeToRetry(err)
}

// A cleaner makes errors of the driver such that they may be shown: on one
// line, and without the password.
type cleaner struct{ password string }

func (c cleaner) error(err error) error {
	if err == nil {
		return nil
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if c.password != "" {
		text = strings.ReplaceAll(text, c.password, "(secret)")
	}
	if text == err.Error() {
		return err
	}
	return cleaned{text, err}
}

// cleaned is an error in other words.
type cleaned struct {
	text string
	err  error
}

func (c cleaned) Error() string { return c.text }

// Is finds the errors that callers ask for; the driver's own stay hidden.
func (c cleaned) Is(target error) bool { return errors.Is(c.err, target) }

// repeat tries again, as long as it may, what fails and says that another
// attempt may go well.
func (c cleaner) repeat(ctx context.Context, attempt func() (again bool, err error)) error {
	began := time.Now()
	for {
		again, err := attempt()
		if err == nil || !again || time.Since(began) > mostRepeated {
			return c.error(err)
		}
		select {
		case <-time.After(time.Duration(5+rand.IntN(45)) * time.Millisecond): //nolint:gosec // no secret: nodes must not repeat in step
		case <-ctx.Done():
			return c.error(err)
		}
	}
}

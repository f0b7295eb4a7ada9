// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// Made are the certificates of keys that were made for devices, as long as a
// repeat of the request supersedes them. The store has nothing of the keys.
type Made interface {
	// Issued remembers a certificate, and gives those that the same request had
	// before and that weren't settled, oldest first.
	Issued(ctx context.Context, m MadeCertificate) (earlier [][]byte, err error)
	// Settled forgets a certificate that was superseded.
	Settled(ctx context.Context, request [32]byte, certificate []byte) error
}

// A MadeCertificate is one certificate.
type MadeCertificate struct {
	// Request is what the request is, and stays when it is repeated.
	Request     [32]byte
	Certificate []byte // DER
	Now         time.Time
	// Since: what was issued before is forgotten.
	Since time.Time
}

type made struct{ s *sqlStore }

// turn stands in the place of a certificate in the row that gives each request
// its turn. It is none.
var turn = []byte{0}

// Issued implements Made.
func (m made) Issued(ctx context.Context, c MadeCertificate) (earlier [][]byte, err error) {
	err = m.s.writer.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		// Of several nodes that have a certificate for one request, each but the
		// first waits here, and then sees what the others had.
		if _, err := tx.ExecContext(ctx, `INSERT INTO made_certificates (request, certificate, issued) VALUES ($1, $2, $3)
			ON CONFLICT (request, certificate) DO UPDATE SET issued = excluded.issued`, c.Request[:], turn, millis(c.Now)); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM made_certificates WHERE issued < $1`, millis(c.Since)); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT certificate FROM made_certificates WHERE request = $1 AND certificate <> $2 AND certificate <> $3 ORDER BY issued`,
			c.Request[:], c.Certificate, turn)
		if err != nil {
			return err
		}
		earlier, err = collect(rows, func(r scanner) (der []byte, err error) { return der, r.Scan(&der) })
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO made_certificates (request, certificate, issued) VALUES ($1, $2, $3)
			ON CONFLICT (request, certificate) DO NOTHING`, c.Request[:], c.Certificate, millis(c.Now))
		return err
	})
	return earlier, err
}

// Settled implements Made.
func (m made) Settled(ctx context.Context, request [32]byte, certificate []byte) error {
	return m.s.writer.write(ctx, func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM made_certificates WHERE request = $1 AND certificate = $2`, request[:], certificate)
		return err
	})
}

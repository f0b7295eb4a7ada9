// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/sha256"
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
	err = m.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		// Of several nodes that have a certificate for one request, each but the
		// first waits here, and then sees what the others had.
		if err := c.insert(ctx, tx, insertMade+`DO UPDATE SET issued = excluded.issued`, turn); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM made_certificates WHERE issued < $1`, millis(c.Since)); err != nil {
			return err
		}
		mine, none := sha256.Sum256(c.Certificate), sha256.Sum256(turn)
		rows, err := tx.QueryContext(ctx, `SELECT certificate FROM made_certificates WHERE request = $1 AND sha256 <> $2 AND sha256 <> $3 ORDER BY issued`,
			c.Request[:], mine[:], none[:])
		if err != nil {
			return err
		}
		earlier, err = collect(rows, func(r scanner) (der []byte, err error) { return der, r.Scan(&der) })
		if err != nil {
			return err
		}
		return c.insert(ctx, tx, insertMade+`DO NOTHING`, c.Certificate)
	})
	return earlier, err
}

// insertMade lacks what is done where the row is there.
const insertMade = `INSERT INTO made_certificates (request, sha256, certificate, issued) VALUES ($1, $2, $3, $4)
	ON CONFLICT (request, sha256) `

func (m MadeCertificate) insert(ctx context.Context, tx transaction, statement string, certificate []byte) error {
	sum := sha256.Sum256(certificate)
	_, err := tx.ExecContext(ctx, statement, m.Request[:], sum[:], certificate, millis(m.Now))
	return err
}

// Settled implements Made.
func (m made) Settled(ctx context.Context, request [32]byte, certificate []byte) error {
	return m.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		sum := sha256.Sum256(certificate)
		_, err := tx.ExecContext(ctx, `DELETE FROM made_certificates WHERE request = $1 AND sha256 = $2`, request[:], sum[:])
		return err
	})
}

// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/ra"
)

// The modules here end the process, as by kill -9, at a step of an enrolment. They
// are in this binary alone. mortalVar says where, and at which enrolment:
// "STEP N".
const mortalVar = "ESTRA_TEST_DIES"

// The steps.
const (
	diesIntended = "intended" // the intent is written, and the CA wasn't asked
	diesSigned   = "signed"   // the CA has issued, and nobody knows
	diesIssued   = "issued"   // it is written down, without a record and an answer
	diesRecorded = "recorded" // there is a record, and no answer
)

// mortalLog has what the CA has issued and revoked, as a line for each: who was
// killed can't tell.
const mortalLog = "ca.log"

var mortalSteps atomic.Int64

// dies ends the process where it is the time.
func dies(at string) {
	step, n, _ := strings.Cut(os.Getenv(mortalVar), " ")
	if most, err := strconv.Atoi(n); step != at || err != nil || mortalSteps.Add(1) < int64(most) {
		return
	}
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {}
}

func noteCA(format string, args ...any) error {
	file, err := os.OpenFile(mortalLog, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = fmt.Fprintf(file, format+"\n", args...)
	return err
}

func mortalIssue(ctx context.Context, o ra.Order, issue func(context.Context, ra.Order) (ra.Issued, error)) (ra.Issued, error) {
	if o.Self() {
		return issue(ctx, o)
	}
	dies(diesIntended)
	issued, err := issue(ctx, o)
	if err != nil {
		return issued, err
	}
	cert := issued.Certificate
	if err := noteCA("issued %x %x", cert.SerialNumber.Bytes(), sha256.Sum256(cert.RawSubjectPublicKeyInfo)); err != nil {
		return ra.Issued{}, err
	}
	dies(diesSigned)
	return issued, nil
}

// mortalStepCA is a step-ca.
type mortalStepCA struct{ module.StepCA }

func (*mortalStepCA) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.mortal_step_ca", New: func() caddy.Module { return new(mortalStepCA) }}
}

func (m *mortalStepCA) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	return mortalIssue(ctx, o, m.StepCA.Issue)
}

func (m *mortalStepCA) RevokeSerial(ctx context.Context, serial *big.Int, issuer *x509.Certificate, notAfter time.Time, reason int) error {
	if err := m.StepCA.RevokeSerial(ctx, serial, issuer, notAfter, reason); err != nil {
		return err
	}
	return noteCA("revoked %x", serial.Bytes())
}

// mortalInternal is the CA in the process.
type mortalInternal struct{ module.Internal }

func (*mortalInternal) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.mortal_internal", New: func() caddy.Module { return new(mortalInternal) }}
}

func (m *mortalInternal) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	return mortalIssue(ctx, o, m.Internal.Issue)
}

func (m *mortalInternal) Revoke(ctx context.Context, cert *x509.Certificate, reason int) error {
	if err := m.Internal.Revoke(ctx, cert, reason); err != nil {
		return err
	}
	return noteCA("revoked %x", cert.SerialNumber.Bytes())
}

// mortalWriter writes a log.
type mortalWriter struct {
	File string `json:"file"`
}

func (mortalWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.mortal", New: func() caddy.Module { return new(mortalWriter) }}
}

func (w *mortalWriter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&w.File) {
		return d.ArgErr()
	}
	return nil
}

func (w mortalWriter) String() string    { return w.File }
func (w mortalWriter) WriterKey() string { return "mortal:" + w.File }

func (w mortalWriter) OpenWriter() (io.WriteCloser, error) {
	file, err := os.OpenFile(w.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return mortalFile{file}, err
}

type mortalFile struct{ *os.File }

func (f mortalFile) Write(p []byte) (int, error) {
	issued := strings.Contains(string(p), `"outcome":"issued"`)
	if issued {
		dies(diesIssued)
	}
	n, err := f.File.Write(p)
	if issued {
		dies(diesRecorded)
	}
	return n, err
}

func init() {
	if os.Getenv(asCaddy) != "1" { // in the server alone
		return
	}
	caddy.RegisterModule(new(mortalStepCA))
	caddy.RegisterModule(new(mortalInternal))
	caddy.RegisterModule(mortalWriter{})
}

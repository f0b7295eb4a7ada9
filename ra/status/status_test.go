// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/status"
	"github.com/caddy-est/estra/ra/store"
)

var begin = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// A fixture is a CA with two keys of one name, of which the first one issues.
type fixture struct {
	*status.CA
	now    time.Time
	first  ratest.Signer
	former ratest.Signer
	keys   []status.Key
	broken error
	ledger store.Ledger
}

func (f *fixture) Current() (status.Key, error) { return f.keys[0], f.broken }

func (f *fixture) All(context.Context) ([]status.Key, error) { return f.keys, f.broken }

func keyOf(s ratest.Signer) status.Key { return status.Key{Certificate: s.Certificate, Signer: s.Key} }

func start(t testing.TB) *fixture {
	t.Helper()
	opened, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"), store.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	f := with(t, opened.Authorities())
	f.ledger = opened.Certificates()
	return f
}

func with(t testing.TB, s status.Store) *fixture {
	root := ratest.NewRoot(t, "Root")
	f := &fixture{now: begin, first: root.Sub(t, "Issuing CA"), former: root.Sub(t, "Issuing CA")}
	f.keys = []status.Key{keyOf(f.first), keyOf(f.former)}
	f.CA = &status.CA{Name: "est", Store: s, Keys: f, Now: func() time.Time { return f.now }}
	return f
}

// write writes down that a serial number is used.
func (f *fixture) write(t testing.TB, by ratest.Signer, serial *big.Int) error {
	t.Helper()
	id := rand.Text()
	_, err := f.ledger.Intend(t.Context(), store.Certificate{
		ID: id, Request: sha256.Sum256([]byte(id)), State: store.CertificateIssued, Changed: f.now, Asked: f.now, NotAfter: f.now.Add(time.Hour),
		Serial: hex.EncodeToString(serial.Bytes()), Issuer: status.Key{Certificate: by.Certificate}.ID(),
	}, f.now)
	return err
}

// issue writes down and signs a certificate that ends in an hour.
func (f *fixture) issue(t testing.TB, by ratest.Signer, serial int64) *x509.Certificate {
	t.Helper()
	cert := by.Sign(t, &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: f.now, NotAfter: f.now.Add(time.Hour)}, ratest.NewKey(t).Public())
	if err := f.write(t, by, cert.SerialNumber); err != nil {
		t.Fatal(err)
	}
	return cert
}

func (f *fixture) revoke(t testing.TB, cert *x509.Certificate, reason int) {
	t.Helper()
	if err := f.Revoke(t.Context(), cert, reason); err != nil {
		t.Fatal(err)
	}
}

// list reads the CRL of a key, and verifies it.
func (f *fixture) list(t testing.TB, by ratest.Signer) *x509.RevocationList {
	t.Helper()
	made, err := f.List(t.Context(), keyOf(by).ID())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(made.DER)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(by.Certificate); err != nil {
		t.Fatal(err)
	}
	if list.Number.Int64() != made.Number || !list.NextUpdate.Equal(made.NextUpdate) {
		t.Errorf("the list is number %s until %s, and the store says %d until %s", list.Number, list.NextUpdate, made.Number, made.NextUpdate)
	}
	return list
}

// listed are serial numbers and reasons.
func listed(list *x509.RevocationList) string {
	var texts []string
	for _, e := range list.RevokedCertificateEntries {
		texts = append(texts, e.SerialNumber.String()+":"+big.NewInt(int64(e.ReasonCode)).String())
	}
	return strings.Join(texts, " ")
}

func TestEachKeyHasItsOwnListAndARevocationIsInItAtOnce(t *testing.T) {
	f := start(t)
	now, old := f.issue(t, f.first, 1), f.issue(t, f.former, 2)
	empty := f.list(t, f.first)
	if got := listed(empty); got != "" {
		t.Errorf("the first list has %q", got)
	}
	f.revoke(t, now, 4)
	f.now = f.now.Add(time.Minute)
	f.revoke(t, old, 0)
	f.revoke(t, now, 1)
	for signer, want := range map[*ratest.Signer]string{&f.first: "1:4", &f.former: "2:0"} {
		list := f.list(t, *signer)
		if got := listed(list); got != want {
			t.Errorf("the list has %q, want %q", got, want)
		}
	}
	if later := f.list(t, f.first); later.Number.Cmp(empty.Number) <= 0 {
		t.Errorf("the list after %s is number %s", empty.Number, later.Number)
	}
	for cert, want := range map[*x509.Certificate]bool{now: true, old: true, f.issue(t, f.first, 3): false} {
		if revoked, err := f.Revoked(t.Context(), cert); err != nil || revoked != want {
			t.Errorf("serial %v: revoked %v, %v", cert.SerialNumber, revoked, err)
		}
	}
}

func TestAListIsMadeAnewAtHalfOfItsLife(t *testing.T) {
	f := start(t)
	first := f.list(t, f.first)
	if life := first.NextUpdate.Sub(first.ThisUpdate); life != status.DefaultLifetime {
		t.Errorf("it counts for %s", life)
	}
	for _, step := range []struct {
		after time.Duration
		same  bool
	}{{time.Hour, true}, {status.DefaultLifetime/2 - time.Second, true}, {status.DefaultLifetime / 2, false}} {
		f.now = begin.Add(step.after)
		if got := f.list(t, f.first); (got.Number.Cmp(first.Number) == 0) != step.same {
			t.Errorf("after %s the list is number %s, and the first was %s", step.after, got.Number, first.Number)
		}
	}
}

func TestWhatExpiredStaysListedWhileItsIssuerLives(t *testing.T) {
	f := start(t)
	cert := f.issue(t, f.first, 1)
	f.revoke(t, cert, 1)
	f.now = f.now.Add(30 * 24 * time.Hour)
	list := f.list(t, f.first)
	if got := listed(list); got != "1:1" {
		t.Errorf("after it expired the list has %q", got)
	}
	if f.first.Certificate.NotAfter.Before(f.now) {
		t.Fatal("the issuer has ended too")
	}
}

func TestASerialNumberIsRevokedWithItsIssuerOrBeforeItIsUsed(t *testing.T) {
	f := start(t)
	old := f.issue(t, f.former, 7)
	if err := f.RevokeSerial(t.Context(), old.SerialNumber, nil, old.NotAfter, 5); err != nil {
		t.Fatal(err)
	}
	if got := listed(f.list(t, f.former)); got != "7:5" {
		t.Errorf("the issuer wasn't found: its list has %q", got)
	}
	if err := f.RevokeSerial(t.Context(), big.NewInt(8), nil, time.Time{}, 5); err != nil {
		t.Fatal(err)
	}
	if err := f.RevokeSerial(t.Context(), big.NewInt(9), f.former.Certificate, time.Time{}, 5); err != nil {
		t.Fatal(err)
	}
	if got := listed(f.list(t, f.first)); got != "8:5" {
		t.Errorf("what is in doubt isn't revoked with the key that issues: %q", got)
	}
	if got := listed(f.list(t, f.former)); got != "7:5 9:5" {
		t.Errorf("what is in doubt isn't revoked with the key that was named: %q", got)
	}
	if err := f.write(t, f.first, big.NewInt(8)); !errors.Is(err, store.ErrTaken) {
		t.Errorf("it was issued after it was revoked: %v", err)
	}
	for _, serial := range []*big.Int{nil, {}, big.NewInt(-1)} {
		if f.RevokeSerial(t.Context(), serial, nil, time.Time{}, 0) == nil {
			t.Errorf("the serial number %v was revoked", serial)
		}
	}
	if f.Revoke(t.Context(), nil, 0) == nil || f.Revoke(t.Context(), &x509.Certificate{SerialNumber: big.NewInt(1)}, 0) == nil {
		t.Error("a certificate of nobody was revoked")
	}
}

func TestOnlyReasonsThatRevokeForGoodAreTaken(t *testing.T) {
	f := start(t)
	for reason, want := range map[int]string{
		0: "", 1: "", 2: "", 3: "", 4: "", 5: "", 9: "", 10: "",
		6: "certificateHold", 7: "no CRLReason", 8: "removeFromCRL", 11: "no CRLReason", -1: "no CRLReason",
	} {
		err := f.Revoke(t.Context(), f.issue(t, f.first, int64(100+reason)), reason)
		if want == "" && err != nil || want != "" && (!errors.Is(err, status.ErrReason) || !strings.Contains(err.Error(), want)) {
			t.Errorf("reason %d: %v, want %q", reason, err, want)
		}
	}
}

func TestWithoutItsKeyTheLastListGoesOnUntilItEnds(t *testing.T) {
	f := start(t)
	cert := f.issue(t, f.former, 1)
	list, id := f.list(t, f.former), keyOf(f.former).ID()
	f.keys = f.keys[:1]
	if err := f.Revoke(t.Context(), cert, 1); err != nil {
		t.Fatal(err)
	}
	if revoked, err := f.Revoked(t.Context(), cert); err != nil || !revoked {
		t.Errorf("revoked without its key: %v, %v", revoked, err)
	}
	if last, err := f.List(t.Context(), id); err != nil || last.Number != list.Number.Int64() {
		t.Errorf("the last list is %+v, %v", last, err)
	}
	f.now = list.NextUpdate
	if _, err := f.List(t.Context(), id); !errors.Is(err, status.ErrNoKey) {
		t.Errorf("after it ended: %v", err)
	}
	if _, err := f.List(t.Context(), "00"); !errors.Is(err, status.ErrNoKey) {
		t.Errorf("a key that there never was: %v", err)
	}
}

func TestRefreshMakesTheListsOfAllKeys(t *testing.T) {
	f := start(t)
	if err := f.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, key := range f.keys {
		if _, err := f.Store.List(t.Context(), key.ID(), 0); err != nil {
			t.Errorf("%s: %v", key.ID(), err)
		}
	}
	der, err := f.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if list, err := x509.ParseRevocationList(der); err != nil || list.CheckSignatureFrom(f.first.Certificate) != nil {
		t.Errorf("the CRL isn't that of the key that issues: %v", err)
	}
	f.broken = errors.New("no storage")
	if f.Refresh(t.Context()) == nil {
		t.Error("no error without keys")
	}
}

// That of an old CA is: OpenSSL makes such by default.
func TestAnIssuerWithoutKeyUsagesSignsLists(t *testing.T) {
	f := start(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: f.first.Certificate.Subject, NotBefore: begin, NotAfter: begin.Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	old := ratest.Signer{Certificate: f.first.Sign(t, template, f.first.Key.Public()), Key: f.first.Key}
	f.keys[0] = keyOf(old)
	if err := f.keys[0].Check(); err != nil || old.Certificate.KeyUsage != 0 {
		t.Fatalf("%v, key usages %b", err, old.Certificate.KeyUsage)
	}
	f.list(t, old)
}

func TestAKeyThatCannotSignListsIsFound(t *testing.T) {
	f := start(t)
	for want, change := range map[string]func(*x509.Certificate){
		"":                     func(*x509.Certificate) {},
		"subjectKeyIdentifier": func(c *x509.Certificate) { c.SubjectKeyId = nil },
		"cRLSign":              func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCertSign },
	} {
		cert := *f.first.Certificate
		change(&cert)
		err := status.Key{Certificate: &cert}.Check()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

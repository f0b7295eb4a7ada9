// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/store"
)

// certs is /est/certs: GET gives a page of the inventory.
func (a *Admin) certs(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return wrongMethod(r)
	}
	return a.stored(w, r, func(_ *App, s store.Store) (json.Marshaler, error) {
		q, err := ParseCertificateQuery(r.URL.Query())
		if err != nil {
			return nil, err
		}
		list, err := s.Certificates().List(r.Context(), q)
		if r.URL.Query().Get("der") == "" {
			for i := range list {
				list[i].DER = nil // a page of them would be long
			}
		}
		return store.CertificatesJSON(list), err
	})
}

// CertificateValues is a query as the admin API takes it.
func CertificateValues(q store.CertificateQuery) url.Values {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("state", string(q.State))
	set("upstream", q.Upstream)
	set("profile", q.Profile)
	set("name", q.Name)
	set("serial", q.Serial)
	set("before", q.Before)
	for name, at := range map[string]time.Time{"ends_from": q.EndsFrom, "ends_before": q.EndsBefore} {
		if !at.IsZero() {
			v.Set(name, at.UTC().Format(time.RFC3339))
		}
	}
	for name, yes := range map[string]bool{"doubtful": q.Doubtful, "revoked": q.Revoked, "blocked": q.Blocked} {
		if yes {
			v.Set(name, "true")
		}
	}
	if q.Most > 0 {
		v.Set("most", strconv.Itoa(q.Most))
	}
	return v
}

// ParseCertificateQuery reads what CertificateValues gives.
func ParseCertificateQuery(v url.Values) (q store.CertificateQuery, err error) {
	q = store.CertificateQuery{
		State: store.CertificateState(v.Get("state")), Upstream: v.Get("upstream"), Profile: v.Get("profile"), Name: v.Get("name"),
		Serial: v.Get("serial"), Before: v.Get("before"), Now: time.Now(),
	}
	for name, into := range map[string]*time.Time{"ends_from": &q.EndsFrom, "ends_before": &q.EndsBefore} {
		if text := v.Get(name); text != "" {
			if *into, err = time.Parse(time.RFC3339, text); err != nil {
				return q, fmt.Errorf("%s: want a time such as 2026-12-31T00:00:00Z", name)
			}
		}
	}
	for name, into := range map[string]*bool{"doubtful": &q.Doubtful, "revoked": &q.Revoked, "blocked": &q.Blocked} {
		if text := v.Get(name); text != "" {
			if *into, err = strconv.ParseBool(text); err != nil {
				return q, fmt.Errorf("%s: want true or false", name)
			}
		}
	}
	if text := v.Get("most"); text != "" {
		if q.Most, err = strconv.Atoi(text); err != nil || q.Most < 1 || q.Most > 10_000 {
			return q, errors.New("most: want a number from 1 to 10000")
		}
	}
	return q, nil
}

// FindCertificates gives the entries that somebody may mean: that with an id or a
// SHA-256, or those with a serial number. store.ErrUnknown: there is none.
func FindCertificates(ctx context.Context, inventory store.Inventory, which string) ([]store.Certificate, error) {
	found, err := findCertificates(ctx, inventory, which)
	if errors.Is(err, store.ErrUnknown) || err == nil && len(found) == 0 {
		return nil, fmt.Errorf("no certificate of the inventory has the id, the serial number or the SHA-256 %q: %w", which, store.ErrUnknown)
	}
	return found, err
}

func findCertificates(ctx context.Context, inventory store.Inventory, which string) ([]store.Certificate, error) {
	one, err := inventory.Get(ctx, which)
	if err == nil || !errors.Is(err, store.ErrUnknown) {
		return []store.Certificate{one}, err
	}
	digits := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(which))
	if sum, err := hex.DecodeString(digits); err == nil && len(sum) == 32 {
		one, err := inventory.BySHA256(ctx, "", [32]byte(sum))
		return []store.Certificate{one}, err
	}
	return inventory.BySerial(ctx, strings.TrimLeft(strings.TrimPrefix(digits, "0x"), "0"))
}

// cert is GET /est/certs/WHICH, POST /est/certs/import, and POST
// /est/certs/WHICH/revoke, block and unblock.
func (a *Admin) cert(w http.ResponseWriter, r *http.Request) error {
	which, verb, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/est/certs/"), "/")
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return wrongMethod(r)
	}
	return a.stored(w, r, func(app *App, s store.Store) (json.Marshaler, error) {
		switch {
		case r.Method == http.MethodGet && verb == "":
			found, err := FindCertificates(r.Context(), s.Certificates(), which)
			return store.CertificatesJSON(found), err
		case r.Method == http.MethodPost && which == "import":
			return app.importCertificates(r, s)
		case r.Method == http.MethodPost && verb == "revoke":
			return app.revokeCertificate(r, s, which)
		case r.Method == http.MethodPost && (verb == "block" || verb == "unblock"):
			return json.RawMessage("{}"), BlockCertificate(r.Context(), s.Certificates(), which, verb == "block", r.URL.Query().Get("as"))
		default:
			return nil, errors.New("want GET /est/certs/WHICH, POST /est/certs/WHICH/revoke, block or unblock, or POST /est/certs/import?upstream=NAME")
		}
	})
}

// BlockCertificate has a certificate never renewed, or takes that back. As is who
// says so.
func BlockCertificate(ctx context.Context, inventory store.Inventory, which string, block bool, as string) error {
	found, err := FindCertificates(ctx, inventory, which)
	if err != nil {
		return err
	}
	if len(found) > 1 {
		return several(found)
	}
	if !block {
		return inventory.Unblock(ctx, found[0].ID)
	}
	return inventory.Block(ctx, found[0].ID, store.Mark{At: time.Now(), By: as})
}

// several asks for a name that is one's alone.
func several(found []store.Certificate) error {
	ids := make([]string, len(found))
	for i, c := range found {
		ids[i] = c.ID + " of " + c.Upstream
	}
	return fmt.Errorf("%d certificates have this serial number: name one by its id: %s", len(found), strings.Join(ids, ", "))
}

// importCertificates takes certificates that the upstream has issued.
func (a *App) importCertificates(r *http.Request, s store.Store) (json.Marshaler, error) {
	query := r.URL.Query()
	upstream, profile := query.Get("upstream"), query.Get("profile")
	list, err := readJSON[[][]byte](r)
	if err != nil {
		return nil, err
	}
	known := a.authorities()
	at := slices.IndexFunc(known, func(k *authority) bool { return k.ca.Name == upstream })
	if at < 0 {
		return nil, fmt.Errorf("no upstream is named %q", upstream)
	}
	if h, _ := a.profileFor(known[at], profile); profile != "" && h == nil {
		return nil, fmt.Errorf("no profile %q issues from the upstream %q", profile, upstream)
	}
	entries := make([]store.Certificate, 0, len(list))
	var done ImportedCertificates
	for i, der := range list {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d can't be read: %w", i+1, err)
		}
		issued, err := known[at].ca.Issued(r.Context(), cert)
		if err != nil {
			return nil, err
		}
		if !issued {
			done.Foreign = append(done.Foreign, i)
			continue
		}
		entry := ra.InventoryEntry(cert, upstream, time.Now())
		entry.Profile = profile
		entries = append(entries, entry)
	}
	done.Added, done.Known, err = s.Certificates().Import(r.Context(), entries, time.Now())
	return done, err
}

// ImportedCertificates says what became of those that were to be imported.
type ImportedCertificates struct {
	Added int
	Known int // were there already
	// Foreign are the places in the list, from 0, of those that another CA has
	// issued, and that were left out.
	Foreign []int
}

type importedCertificates struct {
	Added   int   `json:"added"`
	Known   int   `json:"known"`
	Foreign []int `json:"foreign,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (i ImportedCertificates) MarshalJSON() ([]byte, error) {
	return json.Marshal(importedCertificates(i))
}

// UnmarshalJSON implements json.Unmarshaler.
func (i *ImportedCertificates) UnmarshalJSON(data []byte) error {
	var in importedCertificates
	err := json.Unmarshal(data, &in)
	*i = ImportedCertificates(in)
	return err
}

// certRoutes are those of the inventory.
func (a *Admin) certRoutes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: "/est/certs", Handler: caddy.AdminHandlerFunc(a.certs)},
		{Pattern: "/est/certs/", Handler: caddy.AdminHandlerFunc(a.cert)},
	}
}

// A CertificateRevocation is what POST /est/certs/WHICH/revoke takes.
type CertificateRevocation struct {
	// Reason is a CRLReason (RFC 5280 section 5.3.1).
	Reason int `json:"reason"`
	// As is who revokes, on a socket of this machine; over the remote admin API it is
	// the client certificate.
	As string `json:"as,omitempty"`
}

// revokeCertificate has a CA revoke a certificate of the inventory, and records it.
func (a *App) revokeCertificate(r *http.Request, s store.Store, which string) (json.Marshaler, error) {
	ask, err := readJSON[CertificateRevocation](r)
	if err != nil {
		return nil, err
	}
	by, err := approver(r, ask.As)
	if err != nil {
		return nil, err
	}
	if ask.Reason < 0 || ask.Reason > 10 || ask.Reason == 7 || ask.Reason == 8 {
		return nil, fmt.Errorf("%d is no CRLReason with which a certificate is revoked (RFC 5280 section 5.3.1)", ask.Reason)
	}
	found, err := FindCertificates(r.Context(), s.Certificates(), which)
	switch {
	case err != nil:
		return nil, err
	case len(found) > 1:
		return nil, several(found)
	case !found[0].Revoked.IsZero():
		return nil, fmt.Errorf("it is revoked since %s", found[0].Revoked.Format(time.RFC3339))
	}
	known := a.authorities()
	at := slices.IndexFunc(known, func(k *authority) bool { return k.ca.Name == found[0].Upstream })
	if at < 0 {
		return nil, fmt.Errorf("its upstream %q isn't in the configuration", found[0].Upstream)
	}
	h, _ := a.profileFor(known[at], "")
	if h == nil {
		return nil, fmt.Errorf("no profile issues from the upstream %q", found[0].Upstream)
	}
	return json.RawMessage("{}"), h.revokeEntry(r.Context(), known[at].ca, ra.EntryRevocation{Entry: found[0], Reason: ask.Reason, By: by})
}

// revokeEntry revokes, and writes the record.
func (h *Handler) revokeEntry(ctx context.Context, ca *ra.CA, ask ra.EntryRevocation) error {
	begin := time.Now()
	if keeper, must := h.server.Sink.(audit.Keeper); must {
		if err := keeper.Ready(ctx); err != nil {
			return err
		}
	}
	out, err := h.server.Authority.RevokeEntry(ctx, ca, ask)
	var fail *ra.Error
	errors.As(err, &fail)
	record := audit.New(rand.Text(), audit.OpRevoke, begin)
	record.Node, record.Profile, record.Who = audit.Text(h.server.Node), audit.Text(out.Profile), ask.By.Audit()
	record.Outcome, record.RevokesSerial, record.MS = audit.Text(out.Status), ask.Entry.Serial, time.Since(begin).Milliseconds()
	if fail != nil {
		record.Kind, record.Reason = audit.Text(fail.Kind.String()), audit.Text(fail.Text())
		err = errors.New(fail.Text())
	}
	if out.Unsettled != nil {
		h.log.Error("the inventory could not be told of a revocation", zap.String("serial", ask.Entry.Serial), zap.Error(out.Unsettled))
	}
	if kept := h.server.Sink.Write(context.WithoutCancel(ctx), record); kept != nil {
		h.log.Error("the audit record could not be written", zap.String("request_id", string(record.ID)), zap.Error(kept))
	}
	return err
}

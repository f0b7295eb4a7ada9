// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"context"
	"encoding/asn1"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/est"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

func batches(wait time.Duration) func(*est.Config) {
	return func(c *est.Config) { c.FullCMC, c.Batch = true, wait }
}

func TestBatchesPassTheSuiteOfUpstreams(t *testing.T) {
	upstreamtest.Run(t, subject(t, batches(5*time.Millisecond)))
}

// orders are for keys of their own.
func orders(t testing.TB, n int) []ra.Order {
	var all []ra.Order
	for range n {
		request := csrtest.New(t, csrtest.Signer(ratest.NewKey(t)), csrtest.Subject(csrtest.CN("device.example")))
		all = append(all, ratest.Order(t, ratest.Case{CSR: request, Now: time.Now(), OwnSerials: true}))
	}
	return all
}

// atOnce asks for all orders.
func atOnce(t testing.TB, up *est.Upstream, all []ra.Order) (issued []ra.Issued, errs []error) {
	t.Helper()
	issued, errs = make([]ra.Issued, len(all)), make([]error, len(all))
	var wait sync.WaitGroup
	for i, o := range all {
		wait.Go(func() { issued[i], errs[i] = up.Issue(t.Context(), o) })
	}
	wait.Wait()
	return issued, errs
}

func TestRequestsThatComeTogetherShareAMessage(t *testing.T) {
	s := serve(t)
	up := s.open(batches(300 * time.Millisecond))
	all := orders(t, 40)
	issued, errs := atOnce(t, up, all)
	for i, o := range all {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		if !slices.Equal(issued[i].Certificate.RawSubjectPublicKeyInfo, o.CSR().RawSPKI) {
			t.Errorf("order %d got the certificate of another", i)
		}
	}
	most := 0
	for _, data := range s.requests {
		most = max(most, len(data.Requests))
	}
	if s.posts >= 20 || most != 16 {
		t.Errorf("40 requests went in %d messages with at most %d requests, want fewer, and 16 at most", s.posts, most)
	}
}

func TestWhatBecomesOfOneInABatchSaysNothingOfAnother(t *testing.T) {
	s := serve(t)
	s.spoil(func(r *reply) {
		if len(r.certificates) != 3 {
			return
		}
		r.certificates = slices.Delete(r.certificates, 1, 2)
		r.response.Controls = r.response.Controls[:4] // up to the first success
		r.tell(cmc.FailedWith(cmc.BadRequest, "refused by policy (r-7)", 2))
		r.tell(cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(3)})
	})
	issued, errs := atOnce(t, s.open(batches(300*time.Millisecond)), orders(t, 3))
	refused := 0
	for i, err := range errs {
		if err != nil {
			refused++
			fails(t, err, ra.UpstreamRefused, "refused by policy (r-7)")
		} else if issued[i].Certificate == nil {
			t.Error("neither a certificate nor an error")
		}
	}
	if refused != 1 {
		t.Errorf("%d were refused, want one", refused)
	}
	s.spoil(func(r *reply) { r.status = http.StatusServiceUnavailable; r.tell(cmc.FailedWith(cmc.TryLater, "", 0)) })
	_, errs = atOnce(t, s.open(batches(300*time.Millisecond)), orders(t, 3))
	for _, err := range errs {
		fails(t, err, ra.UpstreamDown, "503")
	}
}

func TestOneKeyIsInAMessageOnce(t *testing.T) {
	s := serve(t)
	one := orders(t, 1)[0]
	_, errs := atOnce(t, s.open(batches(200*time.Millisecond)), []ra.Order{one, one, one})
	for _, err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	if s.posts != 3 {
		t.Errorf("%d messages, want 3", s.posts)
	}
}

// The others of a message don't depend on the one that began it.
func TestOneThatGivesUpLeavesTheBatchAlone(t *testing.T) {
	s := serve(t)
	up := s.open(batches(300 * time.Millisecond))
	all := orders(t, 2)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var gone error
	var wait sync.WaitGroup
	wait.Go(func() { _, gone = up.Issue(ctx, all[0]) })
	time.Sleep(20 * time.Millisecond) // so that it is the first
	if _, err := up.Issue(t.Context(), all[1]); err != nil {
		t.Error(err)
	}
	wait.Wait()
	fails(t, gone, ra.UpstreamTimeout, "may have issued")
}

// RFC 5272 section 3.2.3: what goes along unsigned moves up, to the request's place
// in the message around it.
func TestWhatGoesAlongUnsignedMovesUp(t *testing.T) {
	s := serve(t)
	client := &estclient.Client{URL: s.url}
	kind := asn1.ObjectIdentifier{1, 2, 3}
	note := cmc.UnsignedData{Path: []cmc.BodyPartID{77, 5}, Type: kind, Content: []byte{5, 0}}
	var wishes []estclient.Wish
	for _, o := range orders(t, 2) {
		wishes = append(wishes, estclient.Wish{CSR: o.CSR().Raw})
	}
	wishes[1].Unsigned = []cmc.UnsignedData{note}
	message, err := client.Seal(estclient.FullRequest{Wishes: wishes, Signer: &s.ra, Registrar: true})
	if err != nil {
		t.Fatal(err)
	}
	along := unsignedIn(t, message.DER)
	if len(along) != 1 || !slices.Equal(along[0].Path, []cmc.BodyPartID{2, 5}) || !along[0].Type.Equal(kind) {
		t.Errorf("%+v", along)
	}
	if note.Path[0] != 77 {
		t.Error("the caller's own was changed")
	}
}

// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/cmc"
)

// anchorsOf is the value of publishTrustAnchors.
func anchorsOf(t *testing.T, change func(*cmc.TrustAnchors), certs ...*x509.Certificate) []byte {
	t.Helper()
	a := cmc.TrustAnchors{Sequence: big.NewInt(7), Hash: cmc.OIDSHA256}
	for _, c := range certs {
		sum := sha256.Sum256(c.Raw)
		a.Hashes = append(a.Hashes, sum[:])
	}
	if change != nil {
		change(&a)
	}
	return must(t, a.Marshal)
}

func TestFullCMCGivesTheTrustAnchorsThatAnAnswerPublishes(t *testing.T) {
	x := serveCMC(t)
	next := newAuthority(t, "Next").root
	for name, test := range map[string]struct {
		edit func(*cmcReply)
		want int
		why  string
	}{
		"none": {func(*cmcReply) {}, 0, ""},
		"one that is in the answer": {func(r *cmcReply) {
			r.put(cmc.OIDTrustedAnchors, anchorsOf(t, nil, next))
			r.certs = append(r.certs, next)
		}, 1, ""},
		"one that is in /cacerts alone, and one in the answer": {func(r *cmcReply) {
			r.put(cmc.OIDTrustedAnchors, anchorsOf(t, nil, x.ca.root, next))
			r.certs = append(r.certs, next)
		}, 2, ""},
		"one that is nowhere": {func(r *cmcReply) { r.put(cmc.OIDTrustedAnchors, anchorsOf(t, nil, next)) }, 0, "is not in the answer"},
		"one that is no CA":   {func(r *cmcReply) { r.put(cmc.OIDTrustedAnchors, anchorsOf(t, nil, r.certs[0])) }, 0, "is no CA: CN=a.example"},
		"an empty list":       {func(r *cmcReply) { r.put(cmc.OIDTrustedAnchors, anchorsOf(t, nil)) }, 0, "is empty"},
		"by SHA-1": {func(r *cmcReply) {
			r.put(cmc.OIDTrustedAnchors, anchorsOf(t, func(a *cmc.TrustAnchors) { a.Hash = []int{1, 3, 14, 3, 2, 26} }, next))
		}, 0, "want SHA-256"},
		"more than a hundred": {func(r *cmcReply) {
			r.put(cmc.OIDTrustedAnchors, anchorsOf(t, func(a *cmc.TrustAnchors) { a.Hashes = make([][]byte, 101) }))
		}, 0, "more than 100"},
		"what isn't a list": {func(r *cmcReply) { r.put(cmc.OIDTrustedAnchors, cmc.Octets(nil)) }, 0, "PublishTrustAnchors"},
		"two lists": {func(r *cmcReply) {
			r.put(cmc.OIDTrustedAnchors, anchorsOf(t, nil, x.ca.root))
			r.controls = append(r.controls, cmc.NewControl(999, cmc.OIDTrustedAnchors, anchorsOf(t, nil, x.ca.root)))
		}, 0, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			x.edit = test.edit
			done, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: newKey(t), Template: device(t, "a.example")}}})
			if err != nil || done.Parts[0].Enrolled == nil {
				t.Fatalf("%+v, %v", done, err) // what was issued counts in any case
			}
			got := 0
			if done.Anchors != nil {
				got = len(done.Anchors.Certificates)
			}
			if got != test.want || got > 0 && done.Anchors.Sequence.Int64() != 7 {
				t.Errorf("%+v, want %d", done.Anchors, test.want)
			}
			if why := done.AnchorsRefused; (why == nil) != (test.why == "") || why != nil && !strings.Contains(why.Error(), test.why) {
				t.Errorf("refused by %v, want %q", why, test.why)
			}
		})
	}
}

func TestThreat_TrustAnchorsOfAStrangerAreNone(t *testing.T) {
	x := serveCMC(t)
	stranger := newAuthority(t, "Stranger")
	put := func(r *cmcReply) {
		r.put(cmc.OIDTrustedAnchors, anchorsOf(t, nil, stranger.root))
		r.certs = append(r.certs, stranger.root)
	}
	for name, edit := range map[string]func(*cmcReply){
		"signed by a stranger": func(r *cmcReply) { put(r); r.signedBy(t, stranger.server(withUsage(cmcRA))) },
		"in a refusal by a stranger": func(r *cmcReply) {
			put(r)
			r.signedBy(t, stranger.server(withUsage(cmcRA)))
			x.status = http.StatusForbidden
		},
		"in a refusal, which is no update": func(r *cmcReply) { put(r); x.status = http.StatusForbidden },
		"under a MAC by another secret":    func(r *cmcReply) { put(r); r.mac, r.certs = []byte("another"), nil },
	} {
		t.Run(name, func(t *testing.T) {
			x.status, x.edit = 0, edit
			done, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: newKey(t), Template: device(t, "a.example")}}, Secret: otpSecret()})
			if err == nil || done != nil && done.Anchors != nil {
				t.Errorf("%+v, %v", done, err)
			}
		})
	}
}

func TestFullCMCReadsAnswersWithBothVersionsOfStatus(t *testing.T) {
	failed, success := cmc.FailedWith(cmc.BadRequest, "not yours", 1), cmc.StatusInfo{Bodies: cmc.To(1)}
	whole := cmc.FailedWith(cmc.BadRequest, "not yours", 0)
	for name, test := range map[string]struct {
		second, first cmc.StatusInfo
		words         string
	}{
		"granted":                         {success, success, ""},
		"refused":                         {failed, failed, "request 1 (CN=a.example): refused"},
		"refused as a whole":              {whole, whole, "request 1 (CN=a.example): refused"},
		"refused, whatever the first has": {failed, success, "request 1 (CN=a.example): refused"},
		"granted, whatever the first has": {success, failed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := serveCMC(t)
			x.edit = func(r *cmcReply) {
				r.say(t, test.second)
				r.put(cmc.OIDStatusInfo, must(t, test.first.MarshalV1))
			}
			done, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: newKey(t), Template: device(t, "a.example")}}})
			if (err == nil) != (test.words == "") || err != nil && !strings.Contains(err.Error(), test.words) {
				t.Fatalf("error %v, want %q", err, test.words)
			}
			if done == nil || len(done.Parts) != 1 || (done.Parts[0].Enrolled != nil) != (test.words == "") {
				t.Errorf("%+v", done)
			}
		})
	}
}

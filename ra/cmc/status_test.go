// SPDX-License-Identifier: Apache-2.0

package cmc_test

import (
	"bytes"
	"encoding/asn1"
	"reflect"
	"testing"
	"time"

	. "github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
)

var pendTime = time.Date(2026, 11, 25, 21, 0, 0, 0, time.UTC)

func TestStatusInfo(t *testing.T) {
	fail := cmc.BadIdentity
	token := SEQ(cmc.Octets([]byte("t")), Text(24, "20261125210000Z"))
	extended := &cmc.ExtendedFail{Type: asn1.ObjectIdentifier{1, 2, 3}, Value: INTEGER(5)}
	tests := map[string]struct {
		value []byte
		want  cmc.StatusInfo
	}{
		"success": {
			SEQ(INTEGER(0), SEQ(INTEGER(1), INTEGER(2))), cmc.StatusInfo{Bodies: cmc.To(1, 2)},
		},
		"failed, with a text": {
			SEQ(INTEGER(2), SEQ(INTEGER(0)), UTF8("nö"), INTEGER(7)), cmc.StatusInfo{Status: cmc.Failed, Bodies: cmc.To(0), Text: "nö", Fail: &fail},
		},
		"pending, with the way to ask again": {
			SEQ(INTEGER(3), SEQ(INTEGER(1)), token),
			cmc.StatusInfo{Status: cmc.Pending, Bodies: cmc.To(1), Pend: &cmc.PendInfo{Token: []byte("t"), Time: pendTime}},
		},
		"a path": {
			SEQ(INTEGER(4), SEQ(SEQ(INTEGER(1), INTEGER(9)))),
			cmc.StatusInfo{Status: cmc.NoSupport, Bodies: []cmc.Reference{{Path: []cmc.BodyPartID{1, 9}}}},
		},
		"an extended reason": {
			SEQ(INTEGER(2), SEQ(INTEGER(1)), ConstructedName(1, OID("1.2.3"), INTEGER(5))),
			cmc.StatusInfo{Status: cmc.Failed, Bodies: cmc.To(1), Extended: extended},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := cmc.ParseStatusInfo(test.value)
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
			if der := must(test.want.Marshal()); !bytes.Equal(der, test.value) {
				t.Errorf("encoded as %x, want %x", der, test.value)
			}
		})
	}
	// RFC 5272's module has no tag there.
	untagged := SEQ(INTEGER(2), SEQ(INTEGER(1)), SEQ(OID("1.2.3"), INTEGER(5)))
	if got, err := cmc.ParseStatusInfo(untagged); err != nil || !reflect.DeepEqual(got.Extended, extended) {
		t.Errorf("an untagged extendedFailInfo is %+v, %v", got, err)
	}
}

func TestStatusInfoOfTheFirstVersion(t *testing.T) {
	s := cmc.FailedWith(cmc.BadAlg, "x", 3)
	s.Bodies = append(s.Bodies, cmc.Reference{Path: []cmc.BodyPartID{4, 5}})
	if got, want := must(s.MarshalV1()), SEQ(INTEGER(2), SEQ(INTEGER(3), INTEGER(4)), UTF8("x"), INTEGER(0)); !bytes.Equal(got, want) {
		t.Errorf("encoded as %x, want %x", got, want)
	}
	s.Fail, s.Extended = nil, &cmc.ExtendedFail{Type: asn1.ObjectIdentifier{1, 2}, Value: INTEGER(1)}
	if got, want := must(s.MarshalV1()), SEQ(INTEGER(2), SEQ(INTEGER(3), INTEGER(4)), UTF8("x")); !bytes.Equal(got, want) {
		t.Errorf("with an extended reason encoded as %x, want %x", got, want)
	}
}

func TestTheFirstVersionHasNeitherPathsNorReasonsOfOthers(t *testing.T) {
	failed := cmc.FailedWith(cmc.BadAlg, "x", 0, 3)
	path, other := failed, failed
	path.Bodies = []cmc.Reference{{ID: 3}, {Path: []cmc.BodyPartID{4, 5}}}
	other.Fail, other.Extended = nil, &cmc.ExtendedFail{Type: asn1.ObjectIdentifier{1, 2}, Value: INTEGER(1)}
	for name, test := range map[string]struct {
		s    cmc.StatusInfo
		fits bool
	}{
		"a reason of RFC 5272":  {failed, true},
		"what is pending":       {cmc.StatusInfo{Status: cmc.Pending, Bodies: cmc.To(1), Pend: &cmc.PendInfo{Token: []byte("t")}}, true},
		"success":               {cmc.StatusInfo{Bodies: cmc.To(1)}, true},
		"a path":                {path, false},
		"a reason of another's": {other, false},
	} {
		if got := test.s.FitsV1(); got != test.fits {
			t.Errorf("%s: %t", name, got)
		}
		v2, v1 := must(test.s.Marshal()), must(test.s.MarshalV1())
		if bytes.Equal(v1, v2) != test.fits {
			t.Errorf("%s: %x and %x", name, v1, v2)
		}
	}
}

func TestStatusInfoThatIsRefused(t *testing.T) {
	one := SEQ(INTEGER(1))
	tests := map[string]struct {
		value []byte
		want  string
	}{
		"nothing":               {nil, "statusInfo: not a CMCStatusInfo in DER"},
		"no status":             {SEQ(one), "statusInfo: no cMCStatus"},
		"a negative status":     {SEQ(INTEGER(-1), one), "statusInfo: no cMCStatus"},
		"no bodies":             {SEQ(INTEGER(0), SEQ()), "statusInfo: an empty bodyList"},
		"an empty path":         {SEQ(INTEGER(0), SEQ(SEQ())), "statusInfo: bodyList: reference 1: no body part id"},
		"text that isn't UTF-8": {SEQ(INTEGER(0), one, Text(12, "\xff")), "statusInfo: statusString: not a UTF8String"},
		"a boolean at the end":  {SEQ(INTEGER(0), one, []byte{1, 1, 0xff}), "statusInfo: otherInfo: neither failInfo, pendInfo nor extendedFailInfo"},
		"two reasons":           {SEQ(INTEGER(2), one, INTEGER(1), INTEGER(1)), "statusInfo: 3 bytes after otherInfo"},
		"a token without time":  {SEQ(INTEGER(3), one, SEQ(cmc.Octets(nil))), "statusInfo: otherInfo: not a PendInfo"},
		"a reason beyond all":   {SEQ(INTEGER(2), one, INTEGER(70000)), "statusInfo: otherInfo: not a CMCFailInfo"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := cmc.ParseStatusInfo(test.value)
			wantError(t, err, test.want, cmc.BadRequest)
		})
	}
	if _, err := (cmc.StatusInfo{}).Marshal(); err == nil {
		t.Error("a status about nothing is written")
	}
}

// RFC 5272 sections 6.1.3 and 6.1.4.
func TestTheTableOfReasons(t *testing.T) {
	words := []string{
		"badAlg", "badMessageCheck", "badRequest", "badTime", "badCertId", "unsupportedExt", "mustArchiveKeys",
		"badIdentity", "popRequired", "popFailed", "noKeyReuse", "internalCAError", "tryLater", "authDataFail",
	}
	for i, word := range words {
		if f, ok := cmc.ParseFailInfo(word); !ok || int(f) != i || f.String() != word {
			t.Errorf("%s is %d, %t, %s; want %d", word, f, ok, f, i)
		}
	}
	if _, ok := cmc.ParseFailInfo("success"); ok {
		t.Error("success is a reason to fail")
	}
	if got := cmc.FailInfo(1000).String(); got != "failInfo 1000" {
		t.Errorf("1000 is %s", got)
	}
	for i, word := range []string{"success", "status 1", "failed", "pending", "noSupport", "confirmRequired", "popRequired", "partial", "status 8"} {
		if got := cmc.Status(i).String(); got != word {
			t.Errorf("%d is %s, want %s", i, got, word)
		}
	}
}

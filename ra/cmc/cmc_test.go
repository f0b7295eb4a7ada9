// SPDX-License-Identifier: Apache-2.0

package cmc_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"math/big"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	. "github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
)

// must gives the value of what can't fail here.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func readBase64(t testing.TB, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	der, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// whole is a request with every kind of element.
func whole(t testing.TB) *cmc.PKIData {
	t.Helper()
	name := Name(CN("ca"))
	return &cmc.PKIData{
		Controls: cmc.Controls{
			cmc.NewControl(1, cmc.OIDTransactionID, cmc.Integer(big.NewInt(-5))),
			cmc.NewControl(2, cmc.OIDSenderNonce, cmc.Octets([]byte("nonce"))),
			cmc.NewControl(3, cmc.OIDIdentification, cmc.UTF8("rtr-1")),
			cmc.NewControl(4, cmc.OIDGetCert, must(cmc.CertID{Issuer: name, Serial: big.NewInt(77)}.MarshalGetCert())),
		},
		Requests: []cmc.Request{
			must(cmc.NewPKCS10(10, New(t))),
			must(cmc.NewCRMF(must(certRequest(11).Challenged(true)))),
			must(cmc.NewOther(12, asn1.ObjectIdentifier{1, 2, 3}, UTF8("x"))),
		},
		Contents: []cmc.Content{{ID: 20, Raw: SEQ(OID("1.2.840.113549.1.7.1"))}},
		Others:   []cmc.OtherMsg{{ID: 4294967295, Type: asn1.ObjectIdentifier{1, 2}, Value: INTEGER(1)}},
	}
}

func TestAMessageIsReadAsItWasWritten(t *testing.T) {
	wrote := whole(t)
	der := must(wrote.Marshal())
	read, err := cmc.ParsePKIData(der)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read.RawRequests, must(wrote.MarshalRequests())) {
		t.Errorf("reqSequence is %x", read.RawRequests)
	}
	read.RawRequests = nil
	if !reflect.DeepEqual(wrote, read) {
		t.Errorf("wrote %+v\nread  %+v", wrote, read)
	}
	if again := must(read.Marshal()); !bytes.Equal(again, der) {
		t.Errorf("encoded again it is %x, it was %x", again, der)
	}
	if r, ok := read.Request(12); !ok || r.Format != cmc.Other {
		t.Errorf("request 12 is %+v, %t", r, ok)
	}
	if _, ok := read.Request(20); ok {
		t.Error("a content is found among the requests")
	}
	if c, ok := read.Content(20); !ok || !bytes.Equal(c.Raw, wrote.Contents[0].Raw) {
		t.Errorf("content 20 is %+v, %t", c, ok)
	}
}

func TestAResponseIsReadAsItWasWritten(t *testing.T) {
	d := whole(t)
	wrote := &cmc.PKIResponse{Controls: d.Controls, Contents: d.Contents, Others: d.Others}
	der := must(wrote.Marshal())
	read, err := cmc.ParsePKIResponse(der)
	if err != nil || !reflect.DeepEqual(wrote, read) {
		t.Fatalf("wrote %+v\nread  %+v, %v", wrote, read, err)
	}
	if _, err := cmc.ParsePKIData(der); err == nil {
		t.Error("a response is read as a request")
	}
	if c, ok := read.Content(20); !ok || c.ID != 20 {
		t.Errorf("content 20 is %+v, %t", c, ok)
	}
}

// id is a BodyPartID in the order of fields of a control.
func control(id []byte, more ...[]byte) []byte {
	return SEQ(append([][]byte{id, OID("1.3.6.1.5.5.7.7.6"), SET(cmc.Octets([]byte("n")))}, more...)...)
}

func data(parts ...[]byte) []byte { return SEQ(parts...) }

func TestMessagesThatAreRefused(t *testing.T) {
	none := SEQ()
	nonce := func(id int64) []byte { return control(INTEGER(id)) }
	tcr := func(id int64) []byte { return ConstructedName(0, INTEGER(id), New(t)) }
	content := func(id int64) []byte { return SEQ(INTEGER(id), SEQ(OID("1.2"))) }
	other := func(id int64) []byte { return SEQ(INTEGER(id), OID("1.2"), INTEGER(0)) }
	tests := map[string]struct {
		der  []byte
		want string
		body cmc.BodyPartID
	}{
		"nothing":                               {nil, "not a PKIData in DER", 0},
		"a SET":                                 {SET(none, none, none, none), "not a PKIData in DER", 0},
		"bytes after it":                        {append(data(none, none, none, none), 0), "1 bytes after the PKIData", 0},
		"three sequences":                       {data(none, none, none), "otherMsgSequence: not a SEQUENCE in DER", 0},
		"five sequences":                        {data(none, none, none, none, none), "2 bytes after the otherMsgSequence", 0},
		"no sequence":                           {data(), "controlSequence: not a SEQUENCE in DER", 0},
		"an id twice among controls":            {data(SEQ(nonce(1), nonce(1)), none, none, none), "body part id 1 occurs twice", 1},
		"an id of a control and a request":      {data(SEQ(nonce(7)), SEQ(tcr(7)), none, none), "body part id 7 occurs twice", 7},
		"an id of a content and other data":     {data(none, none, SEQ(content(3)), SEQ(other(3))), "body part id 3 occurs twice", 3},
		"an id that is 0":                       {data(SEQ(nonce(0)), none, none, none), "body part id 0, which stands for the whole, is an element's", 0},
		"an id below 0":                         {data(SEQ(nonce(-1)), none, none, none), "controlSequence: control 1: no body part id, which is an INTEGER of 0 to 4294967295", 0},
		"an id that is too large":               {data(SEQ(nonce(4294967296)), none, none, none), "controlSequence: control 1: no body part id, which is an INTEGER of 0 to 4294967295", 0},
		"a control with a fourth field":         {data(SEQ(control(INTEGER(9), INTEGER(1))), none, none, none), "controlSequence: control 1: not a TaggedAttribute", 9},
		"a control whose value is not DER":      {data(SEQ(SEQ(INTEGER(9), OID("1.3.6.1.5.5.7.7.6"), SET([]byte{4, 9, 1}))), none, none, none), "controlSequence: control 1: senderNonce: value 1: not DER", 9},
		"a request without a tag":               {data(none, SEQ(New(t)), none, none), "reqSequence: request 1: tag 0x30, where a TaggedRequest has [0], [1] or [2]", 0},
		"a request with another tag":            {data(none, SEQ(ConstructedName(3)), none, none), "reqSequence: request 1: tag 0xa3, where a TaggedRequest has [0], [1] or [2]", 0},
		"a request that is primitive":           {data(none, SEQ(GeneralName(0, nil)), none, none), "reqSequence: request 1: tag 0x80, where a TaggedRequest has [0], [1] or [2]", 0},
		"a PKCS #10 with something after it":    {data(none, SEQ(ConstructedName(0, INTEGER(5), New(t), INTEGER(0))), none, none), "reqSequence: request 1: tcr: not one CertificationRequest", 5},
		"a content without ContentInfo":         {data(none, none, SEQ(SEQ(INTEGER(5), INTEGER(1))), none), "cmsSequence: content 1: not one ContentInfo", 5},
		"other data of two values":              {data(none, none, none, SEQ(SEQ(INTEGER(5), OID("1.2"), INTEGER(0), INTEGER(0)))), "otherMsgSequence: message 1: not one value in DER", 5},
		"an indefinite length":                  {[]byte{0x30, 0x80, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0, 0, 0}, "not a PKIData in DER", 0},
		"a length that is longer than need be":  {[]byte{0x30, 0x81, 8, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0}, "not a PKIData in DER", 0},
		"a length beyond the end":               {[]byte{0x30, 0x0a, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0}, "not a PKIData in DER", 0},
		"an inner length beyond the outer":      {[]byte{0x30, 8, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 1}, "otherMsgSequence: not a SEQUENCE in DER", 0},
		"an inner length that takes its sister": {[]byte{0x30, 8, 0x30, 2, 0x30, 0, 0x30, 0, 0x30, 0}, "controlSequence: control 1: no body part id, which is an INTEGER of 0 to 4294967295", 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := cmc.ParsePKIData(test.der)
			wantError(t, err, test.want, cmc.BadRequest)
			if got != nil && err == nil {
				t.Errorf("read as %+v", got)
			}
			if e := new(cmc.Error); errors.As(err, &e) && e.Body != test.body {
				t.Errorf("body is %d, want %d", e.Body, test.body)
			}
		})
	}
}

func wantError(t *testing.T, err error, want string, fail cmc.FailInfo) {
	t.Helper()
	var e *cmc.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v, want %q", err, want)
	}
	if err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
	if e.Fail != fail {
		t.Errorf("failInfo is %v, want %v", e.Fail, fail)
	}
}

// hostile are messages that are made to cost something.
func hostile(t testing.TB) map[string][]byte {
	t.Helper()
	none := SEQ()
	controls := make([][]byte, 10000)
	for i := range controls {
		controls[i] = control(INTEGER(int64(i + 1)))
	}
	contents := make([][]byte, 10000)
	for i := range contents {
		contents[i] = SEQ(INTEGER(int64(i+1)), SEQ())
	}
	nested := SEQ()
	for len(nested) < 64<<10 {
		nested = SEQ(nested)
	}
	return map[string][]byte{
		"64 KiB of empty sequences":       data(SEQ(bytes.Repeat(none, 32<<10)), none, none, none),
		"empty sequences among requests":  data(none, SEQ(bytes.Repeat(none, 32<<10)), none, none),
		"empty sequences among contents":  data(none, none, SEQ(bytes.Repeat(none, 32<<10)), none),
		"10,000 controls":                 data(SEQ(controls...), none, none, none),
		"10,000 contents":                 data(none, none, SEQ(contents...), none),
		"10,000 values":                   data(SEQ(SEQ(INTEGER(1), OID("1.2"), SET(bytes.Repeat(INTEGER(1), 10000)))), none, none, none),
		"64 KiB of nested sequences":      nested,
		"nested sequences for a control":  data(SEQ(nested), none, none, none),
		"nested sequences for a request":  data(none, SEQ(ConstructedName(0, INTEGER(1), nested)), none, none),
		"nested sequences for a template": data(none, SEQ(ConstructedName(1, SEQ(INTEGER(1), nested))), none, none),
	}
}

func TestHostileMessagesAreReadInBoundedTime(t *testing.T) {
	for name, der := range hostile(t) {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			d, err := cmc.ParsePKIData(der)
			if took := time.Since(start); took > 100*time.Millisecond {
				t.Errorf("%d bytes took %s", len(der), took)
			}
			if name == "nested sequences for a request" { // csr.Parse is to refuse it
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.Requests[0].CSR(); err == nil {
					t.Error("nested sequences are a certification request")
				}
				return
			}
			if err == nil {
				t.Errorf("read as %d controls, %d requests, %d contents", len(d.Controls), len(d.Requests), len(d.Contents))
			}
		})
	}
}

func TestAMessageHasAtMost256Parts(t *testing.T) {
	d := &cmc.PKIData{}
	for id := range cmc.BodyPartID(200) {
		d.Controls = append(d.Controls, cmc.NewControl(id+1, cmc.OIDRegInfo, cmc.Octets(nil)))
	}
	for id := range cmc.BodyPartID(57) {
		d.Contents = append(d.Contents, cmc.Content{ID: id + 1000, Raw: SEQ()})
	}
	if _, err := d.Marshal(); err == nil || err.Error() != "more than 256 body parts" {
		t.Errorf("257 parts are written: %v", err)
	}
	d.Contents = d.Contents[1:]
	if _, err := cmc.ParsePKIData(must(d.Marshal())); err != nil {
		t.Errorf("256 parts are refused: %v", err)
	}
}

func TestAControlThatMayOccurOnce(t *testing.T) {
	once := cmc.NewControl(1, cmc.OIDSenderNonce, cmc.Octets([]byte("a")))
	tests := map[string]struct {
		controls cmc.Controls
		want     string
		present  bool
		err      string
	}{
		"absent":                   {nil, "", false, ""},
		"once":                     {cmc.Controls{once}, "a", true, ""},
		"beside others":            {cmc.Controls{cmc.NewControl(2, cmc.OIDRegInfo, cmc.Octets(nil)), once}, "a", true, ""},
		"twice":                    {cmc.Controls{once, cmc.NewControl(2, cmc.OIDSenderNonce, cmc.Octets([]byte("a")))}, "", true, "senderNonce: occurs twice"},
		"without a value":          {cmc.Controls{cmc.NewControl(1, cmc.OIDSenderNonce)}, "", true, "senderNonce: 0 values, where there is one"},
		"with two values":          {cmc.Controls{cmc.NewControl(1, cmc.OIDSenderNonce, cmc.Octets(nil), cmc.Octets(nil))}, "", true, "senderNonce: 2 values, where there is one"},
		"with a value of its type": {cmc.Controls{cmc.NewControl(1, cmc.OIDSenderNonce, INTEGER(1))}, "", true, "senderNonce: not an OCTET STRING in DER"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, present, err := test.controls.Octets(cmc.OIDSenderNonce)
			if test.err != "" {
				wantError(t, err, test.err, cmc.BadRequest)
			} else if err != nil {
				t.Error(err)
			}
			if string(got) != test.want || present != test.present {
				t.Errorf("got %q, %t", got, present)
			}
		})
	}
}

func TestTransactionIDsAndIdentifications(t *testing.T) {
	d := whole(t)
	if n, present, err := d.Controls.TransactionID(); err != nil || !present || n.Int64() != -5 {
		t.Errorf("transactionId is %v, %t, %v", n, present, err)
	}
	if text, present, err := d.Controls.Identification(); err != nil || !present || text != "rtr-1" {
		t.Errorf("identification is %q, %t, %v", text, present, err)
	}
	bad := cmc.Controls{
		cmc.NewControl(1, cmc.OIDTransactionID, cmc.Integer(new(big.Int).Lsh(big.NewInt(1), 600))),
		cmc.NewControl(2, cmc.OIDIdentification, Text(12, "\xff")),
	}
	_, _, err := bad.TransactionID()
	wantError(t, err, "transactionId: not an INTEGER of at most 64 bytes", cmc.BadRequest)
	_, _, err = bad.Identification()
	wantError(t, err, "identification: not a UTF8String", cmc.BadRequest)
}

// Trap of the texts: RFC 6402's 2008 module swaps these two.
func TestIdentityProofV2Is34AndPopLinkWitnessV2Is33(t *testing.T) {
	for oid, want := range map[string]string{
		"1.3.6.1.5.5.7.7.33": "popLinkWitnessV2", "1.3.6.1.5.5.7.7.34": "identityProofV2", "1.3.6.1.5.5.7.7.99": "1.3.6.1.5.5.7.7.99",
	} {
		if got := cmc.Name(cmc.NewControl(1, oid).Type); got != want {
			t.Errorf("%s is %s, want %s", oid, got, want)
		}
	}
}

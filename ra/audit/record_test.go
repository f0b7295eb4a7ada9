// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
)

// full is a record with every field in it.
func full() *Record {
	at := time.Date(2026, 11, 24, 5, 0, 0, 0, time.FixedZone("CET", 3600))
	yes := true
	r := New("0123", policy.SimpleReenroll, at)
	r.Node, r.Label, r.Profile = "ra1", "routers", "routers"
	r.Policy = &Policy{Name: "RA-POL-007", SHA256: "aa"}
	r.Who = &Who{Method: "client_cert", ID: "CN=a", Anchor: "ours", CertSerial: "0a", CertSHA256: "bb", Role: "ra"}
	r.Remote = netip.MustParseAddr("2001:db8::1")
	r.TLS = OfTLS(0x0303, policy.Matched)
	r.CSR = &CSR{SHA256: "cc", SPKISHA256: "dd", Key: "rsa 3072", Sig: "1.2", Subject: "CN=a", SAN: []Text{"dns:a"}, ExtOIDs: []Text{"2.5.29.17"}}
	r.Decision = &Decision{Verdict: "allow", Findings: []Finding{{Path: "p", Line: 3, Effect: "warned", Got: "g", Want: "w", Check: "c"}}, FindingsMore: 1}
	r.Plan = &Plan{
		Subject: "CN=a", SAN: []Text{"dns:a"}, SANCritical: true, KeyUsage: []string{"digitalSignature"}, ExtKeyUsage: []Text{"1.3"},
		Extensions: []Extension{{OID: "1.4", Critical: true, Value: []byte{5, 0}}}, Validity: 60, NotBefore: at.UTC(), NotAfter: at.UTC(), Upstream: "u",
	}
	r.Upstream = &Upstream{Name: "u", Ref: "f", MS: 7, Error: "e"}
	r.Input = &Input{
		Time: at.UTC(), Cert: []byte{1}, Anchors: []string{"ours"}, AnchorEnds: []time.Time{at.UTC()}, Accounts: []Account{{"http_basic", "u"}}, Linking: "matched", Renews: []byte{2}, KeyHolder: &KeyHolder{"ff", "0c"},
		CSR: &InputCSR{
			Bytes: 700, Subject: []byte{3}, SPKI: []byte{4}, Extensions: []Extension{{OID: "1.4", Value: []byte{6}}},
			Attributes: []string{"1.5"}, Values: []AttributeValues{{OID: "1.5", Values: [][]byte{{5, 0}}}}, Sig: "1.2",
		},
	}
	r.Cert = &Cert{Serial: "0b", SHA256: "ee", Issuer: "CN=ca", NotBefore: at.UTC(), NotAfter: at.UTC()}
	r.Outcome, r.Serial, r.Conforms, r.Status = "issued", "0b", &yes, 200
	r.Kind, r.FailInfo, r.Reason, r.MS, r.ReplacesSerial = "fault", "internalCAError", "why", 12, "0a"
	return r
}

// schema is version 1 of the record. A change here that isn't an addition
// needs another Version.
const schema = `{"v":1,"ts":"2026-11-24T04:00:00Z","node":"ra1","id":"0123","op":"simplereenroll","label":"routers","profile":"routers",
"policy":{"name":"RA-POL-007","sha256":"aa"},
"who":{"method":"client_cert","id":"CN=a","anchor":"ours","cert_serial":"0a","cert_sha256":"bb","role":"ra"},
"remote":"2001:db8::1","tls":{"version":"1.2","linked":"matched"},
"csr":{"sha256":"cc","spki_sha256":"dd","key":"rsa 3072","sig":"1.2","subject":"CN=a","san":["dns:a"],"ext_oids":["2.5.29.17"]},
"decision":{"verdict":"allow","findings":[{"path":"p","line":3,"effect":"warned","got":"g","want":"w","check":"c"}],"findings_more":1},
"plan":{"subject":"CN=a","san":["dns:a"],"san_critical":true,"key_usage":["digitalSignature"],"ext_key_usage":["1.3"],
"extensions":[{"oid":"1.4","critical":true,"value":"BQA="}],"validity":60,"not_before":"2026-11-24T04:00:00Z","not_after":"2026-11-24T04:00:00Z","upstream":"u"},
"upstream":{"name":"u","ref":"f","ms":7,"error":"e"},
"input":{"time":"2026-11-24T04:00:00Z","csr":{"version":0,"bytes":700,"subject":"Aw==","spki":"BA==","extensions":[{"oid":"1.4","value":"Bg=="}],"attributes":["1.5"],
"values":[{"oid":"1.5","values":["BQA="]}],"sig":"1.2"},
"cert":"AQ==","anchors":["ours"],"anchor_ends":["2026-11-24T04:00:00Z"],"accounts":[{"method":"http_basic","user":"u"}],"linking":"matched","renews":"Ag==","key_holder":{"names":"ff","serial":"0c"}},
"cert":{"serial":"0b","sha256":"ee","issuer":"CN=ca","not_before":"2026-11-24T04:00:00Z","not_after":"2026-11-24T04:00:00Z"},
"outcome":"issued","serial":"0b","conforms":true,"status":200,"kind":"fault","fail_info":"internalCAError","reason":"why","ms":12,"replaces_serial":"0a"}`

func TestRecordHasTheSchemaOfVersion1(t *testing.T) {
	got, err := json.Marshal(full())
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.ReplaceAll(schema, "\n", ""); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	var back Record
	decoder := json.NewDecoder(bytes.NewReader(got))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&back); err != nil || !reflect.DeepEqual(&back, full()) {
		t.Errorf("does not come back: %v", err)
	}
}

func TestRecordOfARefusalBeforeTheBodyIsShort(t *testing.T) {
	r := New("0123", policy.SimpleEnroll, time.Unix(0, 0))
	r.Outcome, r.Status = "refused", 401
	got, err := json.Marshal(r)
	want := `{"v":1,"ts":"1970-01-01T00:00:00Z","id":"0123","op":"simpleenroll","label":"","outcome":"refused","status":401,"ms":0}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v", got, err)
	}
}

func TestTextIsCutWhenWritten(t *testing.T) {
	long := strings.Repeat("é", MaxText)
	cases := []struct{ name, in, want string }{
		{"short", "abc", "abc"},
		{"as long as may be", strings.Repeat("a", MaxText), strings.Repeat("a", MaxText)},
		{"one byte longer", strings.Repeat("a", MaxText+1), strings.Repeat("a", MaxText-3) + "…"},
		{"cut inside a character", long, strings.Repeat("é", (MaxText-3)/2) + "…"},
		{"invalid UTF-8", "a\xff\xfeb", "a\ufffdb"},
		{"control characters, which JSON escapes", "a\n\x00", "a\n\x00"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			raw, err := json.Marshal(Text(c.in))
			var got string
			if err != nil || json.Unmarshal(raw, &got) != nil || got != c.want {
				t.Errorf("%.40q…, %v", got, err)
			}
			if bytes.ContainsAny(raw, "\n\x00") {
				t.Error("a control character is written as it is")
			}
		})
	}
}

func FuzzText(f *testing.F) {
	f.Add("abc", 1)
	f.Add("\xff\xc3", 700)
	f.Add("é\n", 900)
	f.Fuzz(func(t *testing.T, s string, times int) {
		text := Text(strings.Repeat(s, min(max(times, 0), 2000)))
		got := text.String()
		if len(got) > 3*MaxText || len(text) > MaxText && len(got) > MaxText {
			t.Fatalf("%d bytes of %d", len(got), len(text))
		}
		raw, err := json.Marshal(text)
		var back string
		if err != nil || json.Unmarshal(raw, &back) != nil || back != got {
			t.Fatalf("%q comes back as %q, %v", got, back, err)
		}
	})
}

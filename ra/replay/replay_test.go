// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/audit"
)

const before = `version: 1
name: before
default: devices
profiles:
  devices:
    labels: [devices]
    enroll:
      who: [{http_basic: {users: [one]}}]
      linking: if_present
    subject:
      CN: {allow: ["*.example.net"]}
      O: {set: Example}
    san: {dns: {allow: ["*.example.net"]}}
    attributes: {allow: [macAddress, friendlyName]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
    checks:
      - {id: mac, rule: "csr.attribute('macAddress').all(m, m.size() == 12)", message: twelve digits}
`

func compiled(t testing.TB, text string) *policy.Policy {
	t.Helper()
	file, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(t testing.TB, opts ...csrtest.Option) policy.Arrival {
	t.Helper()
	parsed, err := csr.Parse(csrtest.New(t, opts...))
	if err != nil {
		t.Fatal(err)
	}
	return policy.Arrival{Request: policy.Request{
		Op: policy.SimpleEnroll, CSR: parsed, Linking: policy.Matched,
		Now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
		Who: policy.Identity{Accounts: []policy.Account{{Method: "http_basic", User: "one"}}},
	}}
}

// recorded is the line that the server would have logged.
func recorded(t testing.TB, p *policy.Policy, req policy.Arrival, id string) []byte {
	t.Helper()
	profile, ok := p.Profile(req.Label)
	if !ok {
		t.Fatal("no profile")
	}
	r := audit.New(id, req.Op, req.Now)
	r.Label = audit.Text(req.Label)
	r.Policy = &audit.Policy{Name: audit.Text(p.Name()), SHA256: p.SHA256()}
	r.Decision = audit.OfDecision(req.Decide(profile))
	r.Input = audit.OfInput(req, profile.NeedsValue)
	line, err := json.Marshal(map[string]any{"level": "info", "msg": "request", "record": r})
	if err != nil {
		t.Fatal(err)
	}
	return append(line, '\n')
}

func mac(text string) csrtest.Option {
	return csrtest.Attribute("1.3.6.1.1.1.1.22", csrtest.IA5(text))
}

func TestARecordDecidesAsTheRequestDid(t *testing.T) {
	p := compiled(t, before)
	profile, _ := p.Profile("")
	for name, req := range map[string]policy.Arrival{
		"allowed":         request(t, csrtest.Subject(csrtest.CN("a.example.net")), csrtest.SAN(csrtest.DNS("a.example.net")), mac("001122334455")),
		"a check refuses": request(t, csrtest.Subject(csrtest.CN("a.example.net")), mac("00")),
		"a name":          request(t, csrtest.Subject(csrtest.CN("a.example.org"))),
		"an attribute":    request(t, csrtest.Subject(csrtest.CN("a.example.net")), csrtest.Attribute("1.2.3.4", csrtest.UTF8("x"))),
		"a large one":     request(t, csrtest.Subject(csrtest.CN("a.example.net")), csrtest.Attribute("1.2.840.113549.1.9.20", csrtest.UTF8(strings.Repeat("x", 17<<10)))),
		"a secret":        request(t, csrtest.Subject(csrtest.CN("a.example.net")), csrtest.Attribute("1.2.840.113549.1.9.7", csrtest.UTF8("secret-word"))),
	} {
		t.Run(name, func(t *testing.T) {
			line := recorded(t, p, req, "id")
			if bytes.Contains(line, []byte("secret-word")) {
				t.Error("the record has the secret")
			}
			record, err := Record(line)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Request(record)
			if err != nil {
				t.Fatal(err)
			}
			want := policy.ExplainText(req.Decide(profile), policy.Gate{})
			if got := policy.ExplainText(again.Decide(profile), policy.Gate{}); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func TestTheSummaryCountsEachLineOnce(t *testing.T) {
	p := compiled(t, before)
	after := compiled(t, strings.NewReplacer(
		`CN: {allow: ["*.example.net"]}`, `CN: {allow: ["a*.example.net"]}`, "default: 30d", "default: 30d", "{set: Example}", "{set: Example GmbH}",
		"allow: [macAddress, friendlyName]", "allow: [macAddress, {name: friendlyName, into: subjectDirectoryAttributes}]").Replace(before))
	var log bytes.Buffer
	add := func(id string, opts ...csrtest.Option) { log.Write(recorded(t, p, request(t, opts...), id)) }
	add("plan", csrtest.Subject(csrtest.CN("a.example.net")))
	add("refused", csrtest.Subject(csrtest.CN("b.example.net")))
	add("both-refuse", csrtest.Subject(csrtest.CN("b.example.org")))
	add("undecidable", csrtest.Subject(csrtest.CN("a.example.net")), csrtest.Attribute("1.2.840.113549.1.9.20", csrtest.UTF8("x")))
	log.WriteString(`{"level":"info","msg":"server running"}` + "\n\n" + `{"record":{"v":1,"op":"cacerts"}}` + "\n")
	log.WriteString("not JSON\n" + `{"record":{"v":7}}` + "\n")
	var read int64
	all := int64(log.Len())
	s, err := Policies{p, after}.Run(t.Context(), bytes.NewReader(log.Bytes()), func(n int64) { read = n })
	if err != nil {
		t.Fatal(err)
	}
	if read != all {
		t.Errorf("progress says %d of %d bytes", read, all)
	}
	const want = `3 requests decided anew, 2 otherwise
  3 lines without a request that a policy was asked about
  1 not decidable: values that the new policy asks were not recorded
  2 lines that can't be read
    line 8: no JSON
    line 9: an audit record of version 7, and this reads version 1

BY PROFILE AND REASON
       1  devices: allow -> deny
          profiles.devices.subject.CN.allow
          such as refused
       1  devices: another certificate
          subject
          such as plan

REQUESTS
  2026-11-01T12:00:00Z  devices  plan
    CN=a.example.net
    subject: CN=a.example.net, O=Example
      -> CN=a.example.net, O=Example GmbH
  and 1 more (--most 2 shows all)
`
	if got := s.Text(1); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if found, err := Find(bytes.NewReader(log.Bytes()), "refused"); err != nil || found == nil || found.ID != "refused" {
		t.Errorf("Find: %v, %v", found, err)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"record":{"v":1,"input":{"csr":{"subject":"MAA="}}}}`))
	f.Add(recorded(f, compiled(f, before), request(f, csrtest.Subject(csrtest.CN("a.example.net"))), "id"))
	p := compiled(f, before)
	f.Fuzz(func(t *testing.T, line []byte) {
		record, err := Record(line)
		if err != nil || record == nil {
			return
		}
		if req, err := Request(record); err == nil {
			decide(p, req)
		}
	})
}

// An operation is 1,000 recorded requests.
func BenchmarkRun(b *testing.B) {
	p := compiled(b, before)
	after := compiled(b, strings.Replace(before, "30d", "31d", 1))
	var log bytes.Buffer
	for i := range 1000 {
		name := fmt.Sprintf("d%d.example.net", i)
		log.Write(recorded(b, p, request(b, csrtest.Subject(csrtest.CN(name)), csrtest.SAN(csrtest.DNS(name))), name))
	}
	b.SetBytes(int64(log.Len()))
	for b.Loop() {
		s, err := Policies{p, after}.Run(b.Context(), io.Reader(bytes.NewReader(log.Bytes())), nil)
		if err != nil || s.Differ != 1000 {
			b.Fatalf("%+v, %v", s, err)
		}
	}
}

// Of a request to /serverkeygen a record has neither key nor signature, and all
// that decides.
func TestARequestForAKeyIsDecidedAnew(t *testing.T) {
	text := strings.Replace(before, "    subject:\n", "    serverkeygen: {enabled: true, who: [{http_basic: {users: [one]}}], encryption: ENCRYPTION}\n    subject:\n", 1)
	old := compiled(t, strings.Replace(text, "ENCRYPTION", "required", 1))
	req := request(t)
	for name, opts := range map[string][]csrtest.Option{
		"in clear": {csrtest.Subject(csrtest.CN("a.example.net"))},
		"encrypted": {csrtest.Subject(csrtest.CN("a.example.net")), csrtest.Attribute(csr.OIDDecryptKeyID, csrtest.Text(4, "k")),
			csrtest.Attribute(csr.OIDSMIMECapabilities, csrtest.SEQ())},
	} {
		keyless, err := csr.ParseKeyless(csrtest.New(t, opts...))
		if err != nil {
			t.Fatal(err)
		}
		req.Op, req.CSR, req.Keyless, req.Linking = policy.ServerKeygen, nil, keyless, policy.Unproven
		record, err := Find(bytes.NewReader(recorded(t, old, req, "r")), "r")
		if err != nil || record == nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := Request(record)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		profile, _ := old.Profile("")
		want, got := req.Decide(profile), again.Decide(profile)
		if got.Verdict != want.Verdict || (got.Verdict == policy.Allow) != (name == "encrypted") || fmt.Sprint(got.Keygen) != fmt.Sprint(want.Keygen) {
			t.Errorf("%s: %s, %v; at first %s, %v; %v", name, got.Verdict, got.Keygen, want.Verdict, want.Keygen, got.Findings)
		}
	}
}

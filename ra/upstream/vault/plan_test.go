// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
	"github.com/caddy-est/estra/ra/upstream/vault"
	"github.com/caddy-est/estra/ra/upstream/vault/vaulttest"
)

// planned is a policy whose names and extensions are those of a test.
func planned(t testing.TB, subject, san, rest string, opts ...csrtest.Option) ra.Order {
	t.Helper()
	text := `
version: 1
name: policy of a plan
default: any
profiles:
  any:
    enroll: {who: [{http_basic: {users: [ratest]}}], linking: if_present}
    subject: {` + subject + `}
    san: {` + san + `}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
` + rest
	return ratest.Order(t, ratest.Case{Policy: text, CSR: csrtest.New(t, opts...), Now: time.Now(), OwnSerials: true})
}

const anyCN, anyDNS = `CN: {allow: ["**"]}`, `dns: {allow: ["**"]}`

var (
	cn  = csrtest.Subject(csrtest.CN("rtr-7.example"))
	dns = csrtest.SAN(csrtest.DNS("rtr-7.example"))
)

// What each mode is told, and what it refuses before anything is sent.
func TestPlansThatTravel(t *testing.T) {
	const (
		notSign     = "sign"
		notVerbatim = "verbatim"
		notCEL      = "cel"
	)
	serial := csrtest.RDN(csrtest.ATV("2.5.4.5", csrtest.Printable("SN-7")))
	uid := csrtest.RDN(csrtest.ATV("0.9.2342.19200300.100.1.1", csrtest.UTF8("anna")))
	upn := csrtest.OtherName(csr.OIDUserPrincipalName, csrtest.UTF8("anna@example.net"))
	other := csrtest.OtherName("1.3.6.1.5.5.7.8.9", csrtest.UTF8("jörg@example.net"))
	for name, c := range map[string]struct {
		order ra.Order
		not   map[string]string // the modes that can't, and why
	}{
		"one name": {planned(t, anyCN, anyDNS, "", cn, dns), nil},
		"a serial number": {
			planned(t, anyCN+`, serialNumber: {allow: ["**"]}`, anyDNS, "", csrtest.Subject(csrtest.CN("a.example"), serial), dns), nil,
		},
		"a serial number before the CN": {
			planned(t, anyCN+`, serialNumber: {allow: ["**"]}`, anyDNS, "", csrtest.Subject(serial, csrtest.CN("a.example")), dns), nil,
		},
		"a serial number that is set": {
			planned(t, anyCN+`, serialNumber: {set: "SN-8"}`, anyDNS, "", cn, dns), map[string]string{notVerbatim: "has rewritten the names"},
		},
		"users": {
			planned(t, anyCN+`, UID: {allow: ["**"]}`, anyDNS, "", csrtest.Subject(csrtest.CN("a.example"), uid), dns),
			map[string]string{notCEL: "the attribute UID, and OpenBao's template has no field"},
		},
		"an organization": {planned(t, anyCN+`, O: {set: "Example Ltd"}`, anyDNS, "", cn, dns), map[string]string{notVerbatim: "has rewritten the names"}},
		"a title": {
			planned(t, anyCN+`, title: {set: "Dr"}`, anyDNS, "", cn, dns),
			map[string]string{notSign: "the attribute title, and sign/:role has no field", notVerbatim: "rewritten", notCEL: "the attribute title"},
		},
		"two units": {
			planned(t, anyCN+`, OU: {set: [A, B]}`, anyDNS, "", cn, dns),
			map[string]string{notSign: "several attributes OU", notVerbatim: "rewritten", notCEL: "several attributes OU"},
		},
		"several attributes in one RDN": {
			planned(t, anyCN+`, serialNumber: {allow: ["**"], beside: CN}`, anyDNS, "",
				csrtest.Subject(csrtest.RDN(csrtest.ATV("2.5.4.3", csrtest.UTF8("a.example")), csrtest.ATV("2.5.4.5", csrtest.Printable("SN-7")))), dns),
			map[string]string{notSign: "one RDN", notVerbatim: "one RDN", notCEL: "one RDN"},
		},
		"every form that has a field": {
			planned(t, anyCN, `dns: {allow: ["*.rtr.example"], wildcard: true}, ip: {allow: ["::/0", "0.0.0.0/0"]}, email: {allow: ["**@**"]}, uri: {allow: ["https://**/**"]}, upn: {allow: ["**@**"]}, other_name: {"1.3.6.1.5.5.7.8.9": {allow: ["utf8:**"]}}`, "",
				cn, csrtest.SAN(csrtest.DNS("*.rtr.example"), csrtest.IP("192.0.2.7"), csrtest.IP("2001:db8::7"), csrtest.Email("dev@example.net"), csrtest.URI("https://a.example/b/c"), upn, other)), nil,
		},
		"names without a field": {
			planned(t, anyCN, `directory_name: {allow: ["CN=**"]}, registered_id: {allow: ["**"]}`, "", cn, csrtest.SAN(csrtest.DirectoryName(csrtest.CN("x")), csrtest.RegisteredID("1.2.3"))),
			map[string]string{notSign: "would not give the name"},
		},
		"no subject": {planned(t, ``, `dns: {set: "a.example"}`, "", csrtest.Subject()), map[string]string{notVerbatim: "rewritten"}},
		"no subject, and an otherName": {
			planned(t, ``, `upn: {set: "anna@example.net"}`, "", csrtest.Subject()), map[string]string{notSign: "the SAN is critical", notVerbatim: "rewritten"},
		},
		"extensions of the policy's": {
			planned(t, anyCN, anyDNS, `    extensions: {set: {"1.3.6.1.4.1.32473.1.2": {utf8: "depot 7"}}}`, cn, dns),
			map[string]string{notSign: "the extension 1.3.6.1.4.1.32473.1.2, and sign/:role can't be told", notVerbatim: "the request doesn't: sign-verbatim can't be told"},
		},
		"extensions of the request": {
			planned(t, anyCN, anyDNS, `    extensions: {allow: ["1.3.6.1.4.1.32473.1.8"]}`, cn, dns, csrtest.Extension("1.3.6.1.4.1.32473.1.8", true, csrtest.UTF8("x"))),
			map[string]string{notSign: "can't be told"},
		},
		"an extension that the policy drops": {
			planned(t, anyCN, anyDNS, `    extensions: {ignore: ["1.3.6.1.4.1.311.20.2"]}`, cn, dns, csrtest.Extension("1.3.6.1.4.1.311.20.2", false, csrtest.UTF8("x"))),
			map[string]string{notVerbatim: "the policy drops the extension 1.3.6.1.4.1.311.20.2"},
		},
		"usages that the request has, too": {
			planned(t, anyCN, anyDNS, "", cn, dns, csrtest.Extension("2.5.29.15", true, csrtest.BITS(7, 0x80)), csrtest.Extension("2.5.29.37", false, csrtest.SEQ(csrtest.OID("1.3.6.1.5.5.7.3.2")))), nil,
		},
	} {
		for word, mode := range map[string]vault.Mode{notSign: vault.Sign, notVerbatim: vault.Verbatim, notCEL: vault.CEL} {
			t.Run(name+" by "+word, func(t *testing.T) {
				f, up := fake(t, mode)
				options := roleOptions(c.order)
				for _, rdn := range c.order.Plan().Names.Subject {
					if slices.Contains(vault.Carries(vault.Sign).Fixed, rdn[0].Type.String()) && len(options.Subject) == 0 {
						options.Subject = append(options.Subject, rdn)
					}
				}
				server(f).WriteRole(roleText(t, options))
				if reason, cannot := c.not[word]; cannot {
					_, err := up.Issue(t.Context(), c.order)
					fails(t, err, ra.UpstreamRefused, reason)
					if len(f.Calls()) != 0 {
						t.Errorf("something was sent: %v", f.Calls())
					}
					return
				}
				upstreamtest.Issue(t, up, c.order)
			})
		}
	}
}

// Vault takes these from the request where the field is missing.
func TestWhatIsReplacedIsNotTakenFromTheRequest(t *testing.T) {
	_, up := fake(t, vault.Sign)
	maker := ratest.NewRoot(t, "Maker")
	change := csrtest.SEQ(csrtest.Name(csrtest.CN("new.example")), csrtest.SEQ(csrtest.DNS("new.example")))
	for what, rdn := range map[string][]byte{
		"serialNumber": csrtest.RDN(csrtest.ATV("2.5.4.5", csrtest.Printable("SN-7"))),
		"UID":          csrtest.RDN(csrtest.ATV("0.9.2342.19200300.100.1.1", csrtest.UTF8("root"))),
	} {
		device := maker.Device(t, "a.example", func(c *x509.Certificate) {
			c.RawSubject, c.DNSNames = csrtest.Name(csrtest.CN("a.example"), rdn), []string{"rtr-7.example"}
		})
		o := ratest.Order(t, ratest.Case{
			Policy: strings.Replace(renaming, "WHAT", what, 1), Now: time.Now(), OwnSerials: true,
			CSR: csrtest.New(t, csrtest.Subject(csrtest.CN("a.example"), rdn), dns, csrtest.Attribute(csr.OIDChangeSubjectName, change)),
			Who: policy.Identity{Cert: device.Leaf, Anchors: []string{"idevid"}, AnchorEnds: []time.Time{maker.Certificate.NotAfter}},
		})
		if len(o.Plan().Names.Subject) != 1 {
			t.Fatalf("nothing is dropped: %s", o.Plan().Names.Subject)
		}
		_, err := up.Issue(t.Context(), o)
		fails(t, err, ra.UpstreamRefused, "has dropped the "+what+" of the request")
	}
}

const renaming = `
version: 1
name: policy of devices that change their names
default: any
profiles:
  any:
    enroll: {who: [{client_cert: {anchor: idevid}}], linking: if_present}
    subject: {CN: {allow: ["**"]}, WHAT: {allow: ["**"]}}
    san: {dns: {allow: ["**"]}}
    attributes: {allow: [changeSubjectName]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
`

// A request with every field that rewrites, as it goes out.
func TestEveryFieldThatRewritesIsSent(t *testing.T) {
	f, up := fake(t, vault.Sign)
	var sent map[string]any
	instead(f, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || json.Unmarshal(body, &sent) != nil {
			t.Errorf("%s: %v", body, err)
		}
		w.WriteHeader(http.StatusBadRequest)
	})
	o := planned(t, `CN: {set: "new.example"}, serialNumber: {set: "SN-7"}, UID: {set: "anna"}`,
		`dns: {set: ["a.example", "b.example"]}, email: {set: "dev@example.net"}, ip: {set: "192.0.2.7"}, uri: {set: "https://a.example/7"}, upn: {set: "anna@example.net"}`, "", cn)
	_, err := up.Issue(t.Context(), o)
	fails(t, err, ra.UpstreamRefused, "400")
	for field, want := range map[string]string{
		"common_name": `"new.example"`, "alt_names": `"a.example,b.example,dev@example.net"`, "ip_sans": `["192.0.2.7"]`,
		"uri_sans": `["https://a.example/7"]`, "other_sans": `["1.3.6.1.4.1.311.20.2.3;utf8:anna@example.net"]`, "serial_number": `"SN-7"`,
		"user_ids": `["anna"]`, "not_after": `"` + o.NotAfter().Format(time.RFC3339) + `"`, "exclude_cn_from_sans": "true",
	} {
		if got, err := json.Marshal(sent[field]); err != nil || string(got) != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
}

// The CEL role that we print is the operator's last word.
func TestTheCELRoleRefuses(t *testing.T) {
	f, up := fake(t, vault.CEL)
	write := func(longest time.Duration, issuer string) {
		text, err := vault.CELRole(longest, issuer)
		if err != nil {
			t.Fatal(err)
		}
		server(f).WriteCELRole(text)
	}
	write(23*time.Hour, "")
	_, err := up.Issue(t.Context(), order(t))
	fails(t, err, ra.UpstreamRefused, "estra refuses: the certificate would live longer than 82800s")
	write(24*time.Hour, "other")
	_, err = up.Issue(t.Context(), order(t))
	fails(t, err, ra.UpstreamDown, "unable to find PKI issuer for reference: other")
	write(24*time.Hour, "")
	upstreamtest.Issue(t, up, order(t))

	for name, body := range map[string]string{
		"no plan":              `{"csr": CSR}`,
		"a plan of before":     `{"csr": CSR, "estra": {"version": "0"}}`,
		"a key usage of a CA":  `{"csr": CSR, "estra": {"version": "1", "not_after": "2026-01-01T00:00:00Z", "key_usage": "33", "extensions": []}}`,
		"a key usage for CRLs": `{"csr": CSR, "estra": {"version": "1", "not_after": "2026-01-01T00:00:00Z", "key_usage": "64", "extensions": []}}`,
		"basicConstraints":     `{"csr": CSR, "estra": {"version": "1", "not_after": "2026-01-01T00:00:00Z", "key_usage": "1", "extensions": [{"id": ["2", "5", "29", "19"]}]}}`,
	} {
		status, answer := f.Post(t, "pki/cel/sign/"+vaulttest.Role, strings.Replace(body, "CSR", pemOf(order(t)), 1))
		if status != http.StatusInternalServerError || !strings.Contains(answer, "estra refuses: ") {
			t.Errorf("%s: %d %s", name, status, answer)
		}
	}
	for _, c := range []struct {
		longest time.Duration
		issuer  string
	}{{0, ""}, {time.Hour, "a' + 'b"}} {
		if text, err := vault.CELRole(c.longest, c.issuer); err == nil {
			t.Errorf("%s", text)
		}
	}
}

func pemOf(o ra.Order) string {
	text, err := json.Marshal("-----BEGIN CERTIFICATE REQUEST-----\n" + encoded(o.CSR().Raw) + "\n-----END CERTIFICATE REQUEST-----\n")
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestRolesThatMakeNoSense(t *testing.T) {
	o := planned(t, anyCN+`, title: {set: "Dr"}`, anyDNS, "", cn, dns)
	for want, options := range map[string]vault.RoleOptions{
		"longest lifetime of 0s": {},
		"the issuer":             {Longest: time.Hour, Issuer: "a b"},
		"the attribute CN":       {Longest: time.Hour, Subject: o.Plan().Names.Subject[:1]},
		"the attribute title":    {Longest: time.Hour, Subject: o.Plan().Names.Subject[1:]},
	} {
		if text, err := vault.Role(options); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

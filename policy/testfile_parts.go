// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/base64"
	"regexp"

	"github.com/caddy-est/estra/policy/csr"
)

// What a case names is looked at when its file is read, so that each mistake
// has its own place, and the nearest name.

func (r *testReader) subject(n node) {
	if !n.isText() || n.value() == "" {
		return
	}
	if _, err := csr.ParseName(n.value()); err != nil {
		r.add(n.at, "`%s` wants a name such as CN=a,O=b, and %s is none: %s", n.path, quote(n.value()), show(err.Error()))
	}
}

// names looks at subject and SAN.
func (r *testReader) names(n node) {
	r.subject(n.get("subject"))
	for _, item := range n.get("san").texts() {
		if _, err := csr.ParseGeneralName(item.value()); err != nil {
			r.add(item.at, "`%s` wants names such as dns:a.example.net, and %s is none: %s", item.path, quote(item.value()), show(err.Error()))
		}
	}
}

var (
	testKey  = regexp.MustCompile(`^(P-256|P-384|P-521|ed25519|rsa[1-9][0-9]{2,4})$`)
	testKeys = []string{"P-256", "P-384", "P-521", "ed25519", "rsa2048", "rsa3072", "rsa4096"}
)

// parts looks at what a request is made of.
func (r *testReader) parts(n node) {
	r.names(n)
	if key := n.get("key"); key.isText() && !testKey.MatchString(key.value()) {
		r.add(key.at, "`%s` wants P-256, P-384, P-521, ed25519, or rsa and a length such as rsa3072, and this is %s%s",
			key.path, quote(key.value()), didYouMean(key.value(), testKeys))
	}
	r.usages(n)
	for _, member := range n.get("attributes").members() {
		if _, ok := attributeOID(member.name); !ok {
			r.add(member.at, "%s is neither a name known here nor an OID%s", quote(member.name), didYouMean(member.name, knownAttributes()))
		}
	}
	for _, member := range n.get("extensions").members() {
		if _, ok := extensionOID(member.name); !ok {
			r.add(member.at, "%s is neither a name known here nor an OID%s", quote(member.name), didYouMean(member.name, knownExtensions()))
		}
		if _, err := base64.StdEncoding.DecodeString(member.value()); err != nil && member.isText() {
			r.add(member.at, "`%s` wants DER in base64", member.path)
		}
	}
	for name, own := range map[string]string{"subjectAltName": "san", "keyUsage": "key_usage", "extKeyUsage": "ext_key_usage", "basicConstraints": "ca"} {
		if x := n.get("extensions").get(name); x.present() && n.get(own).present() {
			r.add(x.at, "`%s` and `%s` are the same extension", x.path, own)
		}
	}
}

func (r *testReader) usages(n node) {
	for _, item := range n.get("key_usage").texts() {
		if _, ok := keyUsageBit(item.value()); !ok {
			r.add(item.at, "%s is no key usage of RFC 5280%s", quote(item.value()), otherUsage(item.value(), "ext_key_usage", extKeyUsageNames(), knownKeyUsages()))
		}
	}
	for _, item := range n.get("ext_key_usage").texts() {
		if _, ok := extKeyUsageOID(item.value()); !ok {
			r.add(item.at, "%s is neither a known extended key usage nor an OID%s", quote(item.value()),
				otherUsage(item.value(), "key_usage", knownKeyUsages(), extKeyUsageNames()))
		}
	}
}

// planned looks at the parts of a certificate.
func (r *testReader) planned(n node) {
	r.names(n)
	r.usages(n)
	for _, item := range n.get("extensions").texts() {
		if _, ok := extensionOID(item.value()); !ok {
			r.add(item.at, "%s is neither a name known here nor an OID%s", quote(item.value()), didYouMean(item.value(), knownExtensions()))
		}
	}
}

// spelled gives a value of a part of a plan as the tools print it: of the
// several spellings of one thing, the one that is compared.
func spelled(part, value string) string {
	switch part {
	case "subject":
		if name, err := csr.ParseName(value); err == nil {
			return name.String()
		}
	case "san":
		if name, err := csr.ParseGeneralName(value); err == nil {
			return name.String()
		}
	case "key_usage":
		if bit, ok := keyUsageBit(value); ok {
			return keyUsageText(bit)
		}
	case "ext_key_usage":
		if oid, ok := extKeyUsageOID(value); ok {
			return extKeyUsageName(oid)
		}
	case "extensions":
		if oid, ok := extensionOID(value); ok {
			return extensionName(oid)
		}
	}
	return value
}

// accounts reads what proves somebody beside certificates and passwords.
func (r *testReader) accounts(w *TestWho, n node) {
	if user := n.get("basic"); user.present() {
		w.Accounts = append(w.Accounts, Account{httpBasic, user.value()})
	}
	if user := n.get("digest"); user.present() {
		w.Accounts = append(w.Accounts, Account{httpDigest, user.value()})
	}
	if provider := n.get("provider"); provider.present() {
		w.Accounts = append(w.Accounts, Account{provider.get("name").value(), provider.get("user").value()})
	}
	if token := n.get("bearer"); token.present() {
		w.Accounts = append(w.Accounts, Account{BearerMethod(token.get("name").value()), token.get("subject").value()})
		w.Claims = r.facts(token.get("claims"))
	}
	if user := n.get("srp"); user.present() {
		w.Accounts = append(w.Accounts, SRPAccount(user.get("realm").value(), user.get("user").value()))
	}
}

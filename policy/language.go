// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// The policy language: every key, what it takes, what holds without it.
// Nothing else in the package knows which keys exist.

var (
	text    = &shape{kind: aText}
	boolean = &shape{kind: aBool}
	number  = &shape{kind: aNumber}
	period  = &shape{kind: aDuration}
	texts   = &shape{kind: aList, each: text}
	numbers = &shape{kind: aList, each: number}

	keyUsageTexts = &shape{kind: aList, each: &shape{kind: aText, suggest: knownKeyUsages}}
	extUsageTexts = &shape{kind: aList, each: &shape{kind: aText, suggest: extKeyUsageNames}}
)

var policyFile = &shape{kind: aMap, keys: []key{
	{name: "version", is: number, required: true, doc: "the version of the language, 1"},
	{name: "name", is: text, required: true, doc: "goes with the file's SHA-256 into every audit record"},
	{name: "default", is: text, initial: "none: then one profile has label \"\"", doc: "the profile that serves the path without a label"},
	{name: "guardrails", is: guardrailsShape, doc: "outer fence for every profile; it can only refuse"},
	{name: "profiles", is: &shape{kind: anyMap, each: profileShape}, required: true, doc: "the profiles by name"},
}}

var guardrailsShape = &shape{kind: aMap, keys: []key{
	{name: "keys", is: keysShape, initial: "rsa 2048 to 8192, P-256, P-384, P-521, ed25519", doc: "keys that any profile may accept"},
	{name: "hygiene", is: hygieneShape, doc: "keys that nobody should have certified"},
	{name: "validity", is: &shape{kind: aMap, keys: []key{
		{name: "max", is: period, required: true, doc: "the longest validity that any profile may give"},
	}}, initial: "none", doc: "bound of every profile's validity"},
	{name: "limits", is: &shape{kind: aMap, keys: []key{
		{name: "csr_bytes", is: &shape{kind: aSize}, initial: "16KiB", doc: "the largest certification request, in DER"},
		{name: "names", is: number, initial: "20", doc: "the most subject attributes and SAN entries together"},
	}}, doc: "bounds on a request"},
	{name: "never", is: texts, initial: "CA:TRUE, keyCertSign, cRLSign, cmcRA, cmcCA, OCSPSigning, anyExtendedKeyUsage",
		doc: "what may be neither asked for nor issued"},
	{name: "deny", is: sanShape(texts), initial: "none", doc: "patterns of names that no certificate may have"},
}}

var keysShape = &shape{kind: aMap, keys: []key{
	{name: "rsa", is: numbers, doc: "RSA modulus lengths in bits, such as [3072, 4096]"},
	{name: "ecdsa", is: &shape{kind: aList, each: &shape{kind: aWord, words: []string{"P-256", "P-384", "P-521"}}},
		doc: "ECDSA curves"},
	{name: "ed25519", is: boolean, initial: "false", doc: "whether Ed25519 keys are accepted"},
	{name: "rsa_exponents", is: numbers, initial: anyExponent, doc: "RSA public exponents, such as [65537]"},
	{name: "signatures", is: &shape{kind: aList, each: &shape{kind: aWord, words: signatureWords()}},
		initial: anySignature, doc: "signature algorithms of the request, the preferred one first"},
}}

// fileNames are files beside the policy file.
var fileNames = &shape{kind: oneKind, alts: []*shape{text, texts}}

var hygieneShape = &shape{kind: aMap, keys: []key{
	{name: "roca", is: boolean, initial: "true", doc: "refuses RSA keys of the generators of CVE-2017-15361 (ROCA)"},
	{name: "close_primes", is: boolean, initial: "true", doc: "refuses RSA keys that Fermat's method factors in 100 rounds (CVE-2022-26320)"},
	{name: "small_factors", is: boolean, initial: "true", doc: "refuses RSA keys with a prime factor below 752"},
	{name: "debian_weak", is: fileNames, doc: "lists of keys that Debian's OpenSSL made (CVE-2008-0166), as openssl-blacklist has them"},
	{name: "blocked", is: fileNames, doc: "lists of keys that are never certified: the SHA-256 of a SubjectPublicKeyInfo on each line"},
	{name: "reuse", is: &shape{kind: aWord, words: []string{"forbid", "allow"}},
		initial: "forbid", doc: "whether a key may be certified that was certified for other names"},
}}

var profileShape = &shape{kind: aMap, keys: []key{
	{name: "labels", is: texts, doc: "the path labels that lead here: /.well-known/est/LABEL/…"},
	{name: "about", is: text, doc: "what the profile is for"},
	{name: "owner", is: text, doc: "who answers for it"},
	{name: "issues", is: &shape{kind: aWord, words: []string{RoleRA}}, initial: "devices", doc: "ra: certificates of registration authorities, with cmcRA in `usage.ext`; each operation then has `approval: manual`"},
	{name: "enroll", is: enrollShape, initial: "not offered", doc: "/simpleenroll"},
	{name: "reenroll", is: reenrollShape, initial: "not offered", doc: "/simplereenroll"},
	{name: "on_behalf", is: onBehalfShape, initial: "not offered", doc: "/simpleenroll by an RA that brings it for others (RFC 7030 section 3.7)"},
	{name: "serverkeygen", is: serverKeygenShape, initial: "not offered", doc: "/serverkeygen: the key is made for the device (RFC 7030 section 4.4)"},
	{name: "fullcmc", is: fullCMCShape, initial: "not offered", doc: "/fullcmc: requests inside CMC messages, which prove themselves who asks (RFC 7030 section 4.3)"},
	{name: "subject", is: &shape{kind: anyMap, each: attributeShape, suggest: subjectNames}, doc: "subject attributes by name or OID; any other is refused"},
	{name: "san", is: sanShape(namesShape), doc: "SAN entries by form; any other is refused"},
	{name: "attributes", is: attributesShape, initial: "Microsoft's bookkeeping attributes ignored", doc: "PKCS #10 attributes other than extensionRequest; any other is refused"},
	{name: "key", is: keysShape, initial: "the guardrail's", doc: "accepted keys, the preferred one first"},
	{name: "usage", is: &shape{kind: aMap, keys: []key{
		{name: "key", is: keyUsageTexts, required: true, doc: "key usage bits of every certificate (RFC 5280 section 4.2.1.3)"},
		{name: "ext", is: extUsageTexts, required: true, doc: "extended key usages of every certificate, by name or OID"},
	}}, required: true, doc: "key usage and extended key usage, which are never copied from a request"},
	{name: "extensions", is: extensionsShape, doc: "requested extensions; any other is refused"},
	{name: "validity", is: &shape{kind: aMap, keys: []key{
		{name: "default", is: period, required: true, doc: "how long a certificate is valid, such as 90d"},
		{name: "max", is: period, initial: "the default", doc: "the longest validity of the profile"},
		{name: "set", is: celShape, doc: "an expression of the type duration, in the place of the default and at most max"},
		{name: "within", is: &shape{kind: aList, each: &shape{kind: aWord, words: []string{"anchor", "client_cert"}}},
			doc: "certificates that a new one may not outlive: that of the anchor, and the client's own"},
	}}, required: true, doc: "how long a certificate is valid"},
	{name: "checks", is: checksShape, doc: "rules in CEL; they can only refuse"},
	{name: "csrattrs", is: &shape{kind: aMap, keys: []key{
		{name: "format", is: &shape{kind: aWord, words: []string{
			"template", "legacy", "both", "off",
		}}, initial: "both", doc: "how /csrattrs answers: the template of RFC 9908, the list of RFC 7030, both in one answer, or 404"},
		{name: "linking", is: &shape{kind: aWord, words: []string{
			"challengePassword", "estIdentityLinking", "both",
		}}, initial: "both", doc: "which attributes for the channel binding are asked for, where an operation requires linking"},
	}}, initial: "both", doc: "what /csrattrs says"},
	{name: "upstream", is: text, initial: "the only one", doc: "the upstream of the Caddyfile that issues"},
}}

// operation gives the keys that the operations share.
func operation(linking key) []key {
	return append([]key{{name: "who", is: &shape{kind: aList, each: whoShape}, required: true, doc: "who may ask; any one line is enough"}, linking}, further...)
}

var (
	linkingKey = key{name: "linking", is: &shape{kind: aWord, words: []string{"required", "if_present"}}, required: true,
		doc: "linking of identity and proof of possession (RFC 7030 section 3.5): required or if_present"}
	trustedKey = key{name: "linking", is: &shape{kind: aWord, words: []string{"trusted"}}, required: true,
		doc: "linking of identity and proof of possession: trusted, since the RA has verified it (RFC 7030 section 3.7)"}
)

var further = []key{
	{name: "approval", is: &shape{kind: aWord, words: []string{"auto", "manual"}},
		initial: "auto", doc: "manual: each request waits until an operator has approved it (`caddy est pending`)"},
	{name: "approve_when", is: text, doc: "an expression in CEL, in the place of `approval`: requests for which it is true wait until an operator has approved them"},
	{name: "approvals", is: number, initial: "1", doc: "how many operators have to approve, 1 or 2, each another one"},
	{name: "set", is: setShape, doc: "values of this operation alone, in the place of those of the profile"},
	{name: "checks", is: checksShape, doc: "rules in CEL of this operation alone"},
}

var enrollShape = &shape{kind: aMap, keys: operation(linkingKey)}

// serverKeygenShape: a request proves no key, so that linking says little.
var serverKeygenShape = &shape{kind: aMap, keys: append([]key{
	{name: "enabled", is: boolean, required: true, doc: "whether the operation is offered"},
	{name: "who", is: &shape{kind: aList, each: whoShape}, initial: "that of enroll", doc: "who may ask; any one line is enough"},
	{name: "linking", is: &shape{kind: aWord, words: []string{"required", "if_present"}}, initial: "if_present",
		doc: "linking of identity and request; it is compared, and recorded as unproven"},
	{name: "key", is: &shape{kind: aWord, words: madeKeyWords()}, initial: "the first of the profile's `key`; P-256 where no key is written",
		doc: "the key that is made"},
	{name: "encryption", is: &shape{kind: aWord, words: []string{"required", "if_asked"}}, initial: "required",
		doc: "whether the private key goes out encrypted for a key of the client's, beside TLS"},
	{name: "form", is: &shape{kind: aWord, words: []string{"parts", "pkcs12"}}, initial: "parts",
		doc: "how key and certificate go out: in two parts (RFC 7030), or in one PKCS #12 under a password of the client's (RFC 8295)"},
	{name: "made_by", is: &shape{kind: aWord, words: []string{"ra", "upstream"}}, initial: "ra",
		doc: "who makes the key: this server, or the upstream where it can"},
}, further...)}

var onBehalfShape = &shape{kind: aMap, keys: operation(trustedKey)}

// fullCMCShape has the operations that come by CMC, each with the keys that it
// has beside them.
var fullCMCShape = &shape{kind: aMap, keys: []key{
	{name: "enroll", is: enrollShape, initial: "not offered", doc: "requests signed by the key that they ask for, with an identity proof, or by a certificate of another CA"},
	{name: "reenroll", is: reenrollShape, initial: "not offered", doc: "requests signed by the certificate of this CA that they renew"},
	{name: "on_behalf", is: onBehalfShape, initial: "not offered", doc: "requests signed by an RA, which brings them for others"},
	{name: "revoke", is: &shape{kind: aMap, keys: []key{
		{name: "own", is: boolean, initial: "false", doc: "whether a certificate may ask for its own revocation"},
		{name: "by_ra", is: boolean, initial: "false", doc: "whether an RA of on_behalf may ask for the revocation of certificates with the names of its line"},
	}}, initial: "not offered", doc: "revocation requests (RFC 5272 section 6.11)"},
	{name: "status_info", is: &shape{kind: aWord, words: []string{"v2", bothStatuses}}, initial: "v2",
		doc: "the status controls of an answer: CMCStatusInfoV2 alone, or CMCStatusInfo of RFC 2797 beside it"},
	{name: "pending", is: &shape{kind: aWord, words: []string{"cmc", byHTTP}}, initial: "cmc",
		doc: "how a message of which all waits is answered: by the status pending (RFC 5272 section 6.1), or by 202 as on other operations"},
	{name: "publish_anchors", is: boolean, initial: "false", doc: "whether answers have the roots of the CA (publishTrustAnchors, RFC 5272 section 6.15)"},
}}

var reenrollShape = &shape{kind: aMap, keys: append(operation(linkingKey),
	key{name: "same_names", is: &shape{kind: aWord, words: []string{"equal", "exact"}},
		initial: "equal", doc: "how the names must agree with those of the certificate being renewed (RFC 7030 section 4.2.2)"},
	key{name: "same_key", is: &shape{kind: aWord, words: []string{"forbid", "allow"}},
		initial: "forbid", doc: "whether the old key may be certified again"},
	key{name: "window", is: &shape{kind: aShare}, initial: "100%", doc: "the last share of the lifetime, in which renewal is allowed"},
	key{name: "expired", is: period, initial: "0s", doc: "how long after notAfter renewal is still allowed"},
	key{name: "renewals", is: number, initial: "none", doc: "the most renewals in a row since an enrolment by other credentials than a certificate of this CA"},
	key{name: "enrolled_within", is: period, initial: "none", doc: "how long after such an enrolment renewal is still allowed"},
)}

var whoShape = &shape{kind: aMap, keys: slices.Concat([]key{
	{name: "all", is: &shape{kind: aList, each: &shape{kind: aMap, keys: proofs}}, doc: "several proofs at once"},
}, proofs, lineKeys)}

// lineKeys are the keys of a who line beside its proof.
var lineKeys = []key{
	{name: "set", is: setShape, doc: "values where this line decides, in the place of those of operation and profile"},
	{name: "checks", is: checksShape, doc: "rules in CEL where this line decides"},
	{name: "names", is: boundsShape, doc: "on on_behalf: patterns of the names for which the RA may ask"},
}

// proofs are the ways to show who asks.
var proofs = []key{
	{name: "client_cert", is: &shape{kind: aMap, keys: []key{
		{name: "anchor", is: text, required: true, doc: "the anchor of the Caddyfile under which the TLS client certificate verifies"},
		{name: "subject", is: &shape{kind: anyMap, each: text}, doc: "subject attributes that the certificate has, compared exactly"},
		{name: "issuer", is: &shape{kind: anyMap, each: text}, doc: "attributes that the certificate's issuer has, compared exactly"},
		{name: "san", is: sanShape(texts), doc: "patterns by form: the certificate has names of the form, and each is of a pattern"},
		{name: "serial", is: &shape{kind: oneKind, alts: []*shape{text, texts}}, doc: "the certificate's serial number in hexadecimal, or a list of those that will do"},
		{name: "spki_sha256", is: text, doc: "SHA-256 of the certificate's SubjectPublicKeyInfo, in hexadecimal"},
		{name: "cert_sha256", is: text, doc: "SHA-256 of the whole certificate, in hexadecimal"},
		{name: "matches", is: &shape{kind: aWord, words: []string{"names"}},
			doc: "names: this profile would accept every name of the certificate"},
		{name: "profile", is: text, initial: "any, and none", doc: "the profile under which the inventory has the certificate"},
		{name: "registry", is: text, initial: "none", doc: "the `registry` of the Caddyfile that lists the device"},
		{name: "role", is: &shape{kind: aWord, words: []string{"ra"}}, doc: "ra: the certificate is that of a registration authority; on on_behalf only"},
	}}, doc: "a TLS client certificate"},
	{name: "http_basic", is: &shape{kind: aMap, keys: []key{
		{name: "users", is: texts, required: true, doc: "accounts of the Caddyfile's `basic`"},
		{name: "shared", is: boolean, initial: "false", doc: "the accounts stand for many devices each"},
	}}, doc: "HTTP Basic authentication"},
	{name: "digest", is: &shape{kind: aMap, keys: []key{
		{name: "users", is: texts, required: true, doc: "accounts of the Caddyfile's `digest`"},
		{name: "shared", is: boolean, initial: "false", doc: "the accounts stand for many devices each"},
	}}, doc: "HTTP Digest authentication (RFC 7616)"},
	{name: "provider", is: &shape{kind: aMap, keys: []key{
		{name: "name", is: text, required: true, doc: "a `provider` of the Caddyfile"},
		{name: "users", is: texts, initial: "any user", doc: "the users that count"},
	}}, doc: "an http.authentication provider of Caddy"},
	{name: "one_time_password", is: &shape{kind: aMap, keys: []key{
		{name: "via", is: &shape{kind: aWord, words: []string{ViaBasic, ViaChallenge, ViaProof}}, initial: ViaBasic + "; under fullcmc " + ViaProof,
			doc: "basic: as the password of HTTP Basic; otp_challenge: as the attribute otpChallenge (RFC 7894); identity_proof: as the secret of an identity proof in a CMC message (RFC 5272)"},
		{name: "v1", is: boolean, initial: "false", doc: "under fullcmc: whether the identity proof may be of the first version, which is made with SHA-1 (RFC 5272 section 6.2.2)"},
	}}, doc: "a password of `caddy est otp create` that is good for one certificate"},
	{name: "bearer", is: &shape{kind: aMap, keys: []key{
		{name: "name", is: text, required: true, doc: "a `bearer` of the Caddyfile"},
		{name: "subjects", is: texts, initial: "any subject", doc: "patterns of the subjects that count"},
	}}, doc: "a bearer token (RFC 6750), a JWT"},
	{name: "srp", is: &shape{kind: aMap, keys: []key{
		{name: "realm", is: text, required: true, doc: "the realm of an `est_srp` of the Caddyfile"},
		{name: "user", is: &shape{kind: oneKind, alts: []*shape{text, texts}}, initial: "any user", doc: "a pattern of the users that count, or a list"},
	}}, doc: "a user of certificate-less TLS by SRP (RFC 5054)"},
}

var (
	nameValue      = &shape{kind: oneKind, alts: []*shape{text, texts, celShape}}
	attributeShape = ruleShape(nameValue, key{name: "beside", is: text, doc: "the attribute in whose RDN this one stands"})
	namesShape     = ruleShape(nameValue)
)

// sanShape has what stands for each kind of SAN entry.
func sanShape(each *shape) *shape {
	return &shape{kind: aMap, keys: []key{
		{name: "dns", is: each, doc: "dNSName"},
		{name: "ip", is: each, doc: "iPAddress; patterns are addresses and CIDR ranges"},
		{name: "email", is: each, doc: "rfc822Name"},
		{name: "uri", is: each, doc: "uniformResourceIdentifier"},
		{name: "upn", is: each, doc: "otherName with a user principal name of Windows, such as anna@corp.example"},
		{name: "directory_name", is: each, doc: "directoryName, such as O=Example,CN=device"},
		{name: "registered_id", is: each, doc: "registeredID, a dotted OID"},
		{name: "permanent_identifier", is: each, doc: "otherName of RFC 4043: ASSIGNER/VALUE"},
		{name: "hardware_module_name", is: each, doc: "otherName of RFC 4108: TYPE/SERIAL"},
		{name: "other_name", is: &shape{kind: anyMap, each: each}, doc: "any other otherName by the OID of its type: utf8:TEXT, ia5:TEXT, oid:OID or der:BASE64"},
	}}
}

// boundsShape are patterns of dNSNames and of CN, or patterns by form.
var boundsShape = &shape{kind: oneKind, alts: []*shape{texts, {kind: aMap, keys: append([]key{
	{name: "cn", is: texts, initial: "those of dns", doc: "CN"},
}, sanShape(texts).keys...)}}}

// setShape is what an operation or a who line sets.
var setShape = &shape{kind: aMap, keys: []key{
	{name: "subject", is: &shape{kind: anyMap, each: nameValue}, doc: "subject attributes by name or OID"},
	{name: "san", is: sanShape(nameValue), doc: "SAN entries by form"},
}}

var celShape = &shape{kind: aMap, keys: []key{
	{name: "cel", is: text, required: true, doc: "an expression in CEL"},
}}

var checksShape = &shape{kind: aList, each: &shape{kind: aMap, keys: []key{
	{name: "id", is: text, required: true, doc: "names the check in records, once in a profile"},
	{name: "when", is: text, initial: "always", doc: "an expression in CEL: the rule is asked where it is true"},
	{name: "rule", is: text, required: true, doc: "an expression in CEL that must be true"},
	{name: "message", is: text, required: true, doc: "what is said where the rule is not true"},
	{name: "enforce", is: &shape{kind: aWord, words: []string{"refuse", "warn"}}, initial: "refuse", doc: "warn: recorded, not enforced"},
	{name: "disclose", is: boolean, initial: "false", doc: "whether the client may be told the message"},
}}}

func ruleShape(set *shape, more ...key) *shape {
	return &shape{kind: aMap, keys: append([]key{
		{name: "allow", is: texts, doc: "patterns; any other value is refused"},
		{name: "require", is: &shape{kind: oneKind, alts: []*shape{boolean, texts}},
			doc: "true: there must be a value that allow takes; without allow: any. A list: each pattern must have a value"},
		{name: "max", is: number, initial: mostValues, doc: "the most values"},
		{name: "set", is: set, doc: "what the certificate has, whatever was asked"},
		{name: "wildcard", is: boolean, initial: "false", doc: "a pattern that begins with `*.` also takes the name `*.` itself"},
	}, more...)}
}

// Defaults that other code knows by their words.
const (
	mostValues   = "1 for CN and beside another attribute, else limits.names" // of max
	anyExponent  = "any odd number from 65537"                                // of rsa_exponents
	anySignature = "all"                                                      // of signatures
)

// An attribute is listed by name, or with where its values go.
var attributeEntries = &shape{kind: aList, each: &shape{kind: oneKind, alts: []*shape{
	{kind: aText, suggest: knownAttributes},
	{kind: aMap, keys: []key{
		{name: "name", is: &shape{kind: aText, suggest: knownAttributes}, required: true, doc: "the attribute, by name or OID"},
		{name: "into", is: &shape{kind: aWord, words: []string{"subject", "subjectDirectoryAttributes"}},
			required: true, doc: "where its values go in the certificate"},
		{name: "allow", is: texts, initial: "any value", doc: "patterns of the values that may go into the subjectDirectoryAttributes"},
	}},
}}}

var attributesShape = &shape{kind: aMap, keys: []key{
	{name: "require", is: attributeEntries, doc: "must be in the request"},
	{name: "allow", is: attributeEntries, doc: "may be in the request"},
	{name: "ignore", is: &shape{kind: aList, each: &shape{kind: aText, suggest: knownAttributes}}, doc: "are dropped, and recorded"},
}}

var extensionTexts = &shape{kind: aList, each: &shape{kind: aText, suggest: knownExtensions}}

var extensionsShape = &shape{kind: aMap, keys: []key{
	{name: "require", is: extensionTexts, doc: "must be in the request, and are copied"},
	{name: "allow", is: extensionTexts, doc: "may be in the request, and are copied"},
	{name: "ignore", is: extensionTexts, doc: "are dropped, and recorded"},
	{name: "set", is: &shape{kind: anyMap, each: extensionValueShape, suggest: knownExtensions}, doc: "what every certificate has, whatever was asked"},
}}

var textOrCEL = &shape{kind: oneKind, alts: []*shape{text, celShape}}

// extensionValueShape: the value stands in exactly one of the forms.
var extensionValueShape = &shape{kind: aMap, keys: []key{
	{name: "critical", is: boolean, initial: "false", doc: "who doesn't know the extension must refuse the certificate"},
	{name: "der", is: textOrCEL, doc: "the value as base64 of one value in DER, or an expression that gives its bytes"},
	{name: "utf8", is: textOrCEL, doc: "the text of a UTF8String"},
	{name: "ia5", is: textOrCEL, doc: "the text of an IA5String"},
	{name: "oid", is: textOrCEL, doc: "an OBJECT IDENTIFIER"},
	{name: "policies", is: &shape{kind: oneKind, alts: []*shape{texts, celShape}}, doc: "the OIDs of certificatePolicies"},
}}

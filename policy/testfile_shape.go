// SPDX-License-Identifier: Apache-2.0

package policy

// What may stand in a file of cases.
var (
	instant   = &shape{kind: aTime}
	certShape = &shape{kind: aMap, keys: []key{
		{name: "anchor", is: &shape{kind: oneKind, alts: []*shape{text, texts}}, doc: "the anchors under which it verified"},
		{name: "file", is: text, doc: "a file with the certificate, PEM or DER, beside this one"},
		{name: "subject", is: text, doc: "its subject, such as CN=a,O=b"},
		{name: "issuer", is: text, doc: "its issuer"},
		{name: "serial", is: text, initial: "01", doc: "its serial number, in hexadecimal"},
		{name: "san", is: texts, doc: "its names, such as dns:a.example.net"},
		{name: "role", is: &shape{kind: aWord, words: []string{RoleRA}}, doc: "ra: it has id-kp-cmcRA, and its anchors are issuers of registration authorities"},
		{name: "not_before", is: instant, initial: "90 days before the request", doc: "when it begins"},
		{name: "not_after", is: instant, initial: "10 days after the request", doc: "when it ends"},
		{name: "anchor_ends", is: instant, initial: "100 years after the request", doc: "when the anchor's own certificate ends"},
	}}
	testCaseShape = &shape{kind: aMap, keys: []key{
		{name: "name", is: text, required: true, doc: "what the case shows, once in a file"},
		{name: "label", is: text, doc: "the label of the path"},
		{name: "op", is: &shape{kind: aWord, words: []string{string(SimpleEnroll), string(SimpleReenroll), string(ServerKeygen),
			string(CMCEnroll), string(CMCReenroll)}}, initial: string(SimpleEnroll), doc: "the operation"},
		{name: "at", is: instant, initial: "2026-01-01T00:00:00Z", doc: "when the request comes"},
		{name: "linking", is: &shape{kind: aWord, words: []string{"absent", "matched", "mismatched", "uncomputable", "unproven"}}, initial: "absent", doc: "what the check of the linking value found"},
		{name: "who", is: &shape{kind: aMap, keys: []key{
			{name: "cert", is: certShape, doc: "a client certificate"},
			{name: "basic", is: text, doc: "an account of HTTP Basic"},
			{name: "digest", is: text, doc: "an account of HTTP Digest"},
			{name: "one_time_password", is: &shape{kind: aMap, keys: []key{
				{name: "via", is: &shape{kind: aWord, words: []string{ViaBasic, ViaChallenge, ViaProof, ViaProofV1}}, initial: ViaBasic, doc: "how it came"},
				{name: "subject", is: text, doc: "the subject that it was made for; without it any"},
				{name: "san", is: texts, doc: "the names that it was made for; without them any"},
			}}, doc: "a one-time password that is good"},
			{name: "device", is: &shape{kind: aMap, keys: []key{
				{name: "registry", is: text, required: true, doc: "the registry that lists the client certificate"},
				{name: "identity", is: text, initial: "serialNumber:1", doc: "the device's identity"},
				{name: "state", is: &shape{kind: aWord, words: []string{string(Expected), string(Enrolled), string(Blocked)}},
					initial: string(Expected), doc: "its state"},
			}}, doc: "the device that the client certificate is of"},
			{name: "inventory", is: text, initial: "none", doc: "the profile under which the inventory has the client certificate"},
			{name: "provider", is: &shape{kind: aMap, keys: []key{
				{name: "name", is: text, required: true, doc: "the provider"},
				{name: "user", is: text, required: true, doc: "its user"},
			}}, doc: "an account of a provider"},
			{name: "bearer", is: &shape{kind: aMap, keys: []key{
				{name: "name", is: text, required: true, doc: "the `bearer`"},
				{name: "subject", is: text, required: true, doc: "the subject of its token"},
				{name: "claims", is: text, initial: "none", doc: "the claims of the token, a JSON object as text"},
			}}, doc: "a bearer token"},
			{name: "srp", is: &shape{kind: aMap, keys: []key{
				{name: "realm", is: text, required: true, doc: "the realm"},
				{name: "user", is: text, required: true, doc: "its user"},
			}}, doc: "a user of certificate-less TLS"},
			{name: "data", is: text, initial: "none", doc: "what the webhook says, a JSON object as text"},
		}}, initial: "nobody", doc: "who asks, taken as proven"},
		{name: "csr", is: &shape{kind: aMap, keys: []key{
			{name: "file", is: text, doc: "a file with the request, beside this one"},
			{name: "subject", is: text, doc: "the subject, such as CN=a,O=b"},
			{name: "san", is: texts, doc: "the names, such as dns:a.example.net"},
			{name: "key", is: text, initial: "P-256", doc: "P-256, P-384, P-521, ed25519, rsa2048, …"},
			{name: "same_key", is: boolean, initial: "false", doc: "the key of the certificate that is renewed, or of the client's"},
			{name: "attributes", is: &shape{kind: anyMap, each: text, suggest: knownAttributes}, doc: "PKCS #10 attributes with a text each; decryptKeyID and asymmDecryptKeyID take hexadecimal, smimeCapabilities dotted OIDs"},
			{name: "extensions", is: &shape{kind: anyMap, each: text, suggest: knownExtensions}, doc: "requested extensions, DER in base64"},
			{name: "key_usage", is: keyUsageTexts, doc: "requested key usages"},
			{name: "ext_key_usage", is: extUsageTexts, doc: "requested extended key usages"},
			{name: "ca", is: boolean, initial: "not requested", doc: "requested basicConstraints"},
			{name: "signature", is: &shape{kind: aWord, words: signatureWords()}, initial: "the usual one for the key", doc: "the signature algorithm"},
			{name: "size", is: &shape{kind: aSize}, initial: "what the parts need", doc: "the size of the request in DER"},
		}}, required: true, doc: "the request"},
		{name: "renews", is: certShape, initial: "the client certificate", doc: "the certificate that a reenroll renews"},
		{name: "renewed", is: number, initial: "0", doc: "how many renewals in a row lie between the client certificate and the enrolment, itself among them"},
		{name: "enrolled", is: instant, initial: "when the client certificate begins", doc: "when that enrolment was"},
		{name: "key_held_by", is: text, doc: "the subject of another certificate that has the request's key"},
		{name: "want", is: &shape{kind: aMap, keys: []key{
			{name: "verdict", is: &shape{kind: aWord, words: []string{"allow", "defer", "deny", "fault"}}, required: true, doc: "what the policy is to say"},
			{name: "gate", is: &shape{kind: aWord, words: []string{"open", "challenge", "shut"}}, doc: "what is said before the body is read: shut is 403, challenge 401"},
			{name: "findings", is: &shape{kind: aList, each: &shape{kind: oneKind, alts: []*shape{text, {kind: aMap, keys: []key{
				{name: "path", is: text, required: true, doc: "a policy path, or its end"},
				{name: "effect", is: &shape{kind: aWord, words: []string{string(Refused), string(Required), string(Rewritten), string(Dropped), string(Warned)}}, doc: "what it does"},
			}}}}}, doc: "findings that must be there, by path"},
			{name: "only", is: boolean, initial: "false", doc: "no other line may refuse"},
			{name: "plan", is: &shape{kind: aMap, keys: []key{
				{name: "subject", is: text, doc: "the subject of the certificate"},
				{name: "san", is: texts, doc: "its names"},
				{name: "key_usage", is: keyUsageTexts, doc: "its key usages"},
				{name: "ext_key_usage", is: extUsageTexts, doc: "its extended key usages"},
				{name: "extensions", is: texts, doc: "its further extensions, by name or OID"},
				{name: "validity", is: period, doc: "how long it is valid"},
				{name: "upstream", is: text, doc: "the upstream that issues"},
				{name: "made_key", is: &shape{kind: aWord, words: madeKeyWords()}, doc: "the key that is made for /serverkeygen"},
			}}, doc: "the certificate that is planned"},
		}}, required: true, doc: "what the policy is to say"},
	}}
	testFileShape = &shape{kind: aMap, keys: []key{
		{name: "version", is: number, required: true, doc: "the version of the form, 1"},
		{name: "cases", is: &shape{kind: aList, each: testCaseShape}, required: true, doc: "the cases"},
	}}
)

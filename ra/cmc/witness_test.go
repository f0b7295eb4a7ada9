// SPDX-License-Identifier: Apache-2.0

package cmc_test

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"testing"

	. "github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
)

const sharedSecret = "0123456789abcdef" // 16 characters, which all must support

// The values are Python's hashlib and hmac:
// hmac.new(sha256(secret+identification).digest(), message, sha256).
func TestIdentityProofIsThatOfRFC5272(t *testing.T) {
	tests := map[string]struct {
		hash, mac            string
		identification, want string
	}{
		"without identification":        {"2.16.840.1.101.3.4.2.1", "1.2.840.113549.2.9", "", wantPlain},
		"with identification":           {"2.16.840.1.101.3.4.2.1", "1.2.840.113549.2.9", "rtr-1", wantIdentified},
		"with SHA-384 and HMAC-SHA-512": {"2.16.840.1.101.3.4.2.2", "1.2.840.113549.2.11", "rtr-1", wantLong},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			value := SEQ(SEQ(OID(test.hash)), SEQ(OID(test.mac), []byte{5, 0}), cmc.Octets(must(hex.DecodeString(test.want))))
			w := must(cmc.ParseWitness(value))
			key := must(w.Key([]byte(sharedSecret), test.identification))
			if err := w.Verify(key, []byte("requests")); err != nil {
				t.Error(err)
			}
			wantError(t, w.Verify(key, []byte("others")), "the witness was not made with this secret", cmc.BadIdentity)
			other := must(w.Key([]byte(sharedSecret), test.identification+"x"))
			wantError(t, w.Verify(other, []byte("requests")), "the witness was not made with this secret", cmc.BadIdentity)
		})
	}
	made := cmc.NewWitness([]byte(sharedSecret), "rtr-1", []byte("requests"))
	if got := hex.EncodeToString(made.Value); got != wantIdentified {
		t.Errorf("made %s, want %s", got, wantIdentified)
	}
	if read := must(cmc.ParseWitness(must(made.Marshal()))); !bytes.Equal(read.Value, made.Value) || !read.Hash.Equal(made.Hash) {
		t.Errorf("read %+v, made %+v", read, made)
	}
}

func TestWitnessesOfTheFirstVersionUseSHA1(t *testing.T) {
	value := cmc.WitnessV1([]byte(sharedSecret), "rtr-1", []byte("requests"))
	if got := hex.EncodeToString(value); got != wantV1 {
		t.Errorf("made %s, want %s", got, wantV1)
	}
	if err := cmc.VerifyV1(value, cmc.KeyV1([]byte(sharedSecret), "rtr-1"), []byte("requests")); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][]byte{nil, value[1:], append(bytes.Clone(value), 0), make([]byte, 20)} {
		err := cmc.VerifyV1(wrong, cmc.KeyV1([]byte(sharedSecret), "rtr-1"), []byte("requests"))
		wantError(t, err, "the witness was not made with this secret", cmc.BadIdentity)
	}
}

func TestWitnessAlgorithmsThatAreNotAccepted(t *testing.T) {
	sha1, hmacSHA1 := asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 8, 1, 2}
	w := cmc.Witness{Hash: sha1, MAC: hmacSHA1, Value: []byte("x")}
	_, err := w.Key([]byte("x"), "")
	wantError(t, err, "hash algorithm 1.3.14.3.2.26 is not accepted: use SHA-256, SHA-384 or SHA-512", cmc.BadAlg)
	err = w.Verify([]byte("key"), nil)
	wantError(t, err, "MAC algorithm 1.3.6.1.5.5.8.1.2 is not accepted: use HMAC with SHA-256, SHA-384 or SHA-512", cmc.BadAlg)
	_, err = cmc.ParseWitness(SEQ(SEQ(OID("2.16.840.1.101.3.4.2.1"), INTEGER(1)), SEQ(OID("1.2")), cmc.Octets(nil)))
	wantError(t, err, "hash algorithm: 2.16.840.1.101.3.4.2.1 has parameters", cmc.BadAlg)
	_, err = cmc.ParseWitness(SEQ(SEQ(OID("1.2")), SEQ(OID("1.2")), INTEGER(1)))
	wantError(t, err, "not an OCTET STRING", cmc.BadRequest)
}

func TestAChallengeIsAnsweredByWhoOpensIt(t *testing.T) {
	request := must(cmc.NewCRMF(must(certRequest(4).Challenged(false))))
	proof := bytes.Repeat([]byte("p"), 100)
	challenge := cmc.NewPOPChallenge(request, proof, SEQ(OID("1.2.840.113549.1.7.3")))
	read := must(cmc.ParsePOPChallenge(must(challenge.Marshal())))
	if !bytes.Equal(read.Request, request.Raw) {
		t.Fatalf("the challenge is about %x", read.Request)
	}
	if err := read.Opened(proof); err != nil {
		t.Error(err)
	}
	wantError(t, read.Opened(proof[1:]), "the challenge holds another value than its witness says", cmc.POPFailed)
	answer := must(cmc.ParsePOPAnswer(must(cmc.NewPOPAnswer(request, proof).Marshal())))
	if answer.Request != 4 {
		t.Errorf("the answer is about %d", answer.Request)
	}
	if err := answer.Verify(request, proof); err != nil {
		t.Error(err)
	}
	// RFC 5272 section 6.7: only the first 64 bytes are the secret.
	if err := answer.Verify(request, proof[:64]); err != nil {
		t.Error(err)
	}
	const wrong = "the answer was not made with the value of the challenge"
	wantError(t, answer.Verify(request, proof[:63]), wrong, cmc.POPFailed)
	wantError(t, answer.Verify(must(cmc.NewCRMF(must(certRequest(5).Challenged(false)))), proof), wrong, cmc.POPFailed)
	answer.POPAlg = asn1.ObjectIdentifier{1, 2}
	wantError(t, answer.Verify(request, proof), "MAC algorithm 1.2 of the answer is not accepted", cmc.BadAlg)
}

// Computed apart: see TestIdentityProofIsThatOfRFC5272.
const (
	wantPlain      = "170608849bcacb3e640b15855829ef0bf48c25191ffe3cfde0584b93e26b67ce"
	wantIdentified = "987873a02c423f7ad7ef19379fa1f1eacf3cedaa3a7e076479a9e0db4085c203"
	wantLong       = "f99008b7b4b037a8f48756ac266204779b88cd33334519dceb561e57303d1b0df675b837cbc8fd691169adccb310de7d64d9095944c3bc63d965e85d2f0abbf6"
	wantV1         = "3cf6e782e1efa9307538c45bd5d8eda272af419e"
)

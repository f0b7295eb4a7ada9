// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"fmt"

	"github.com/caddy-est/estra/ra/cmc"
)

// statusWords say what a CMCStatus means to who asks (RFC 5272 section 6.1.3).
var statusWords = map[cmc.Status]string{
	cmc.Success:         "granted",
	cmc.Failed:          "refused",
	cmc.Pending:         "waits for a decision",
	cmc.NoSupport:       "not supported by this server",
	cmc.ConfirmRequired: "issued, and to be confirmed (confirmCertAcceptance), which this client doesn't do",
	cmc.POPRequired:     "another proof of possession is wanted (encryptedPOP), which this client doesn't make",
	cmc.Partial:         "granted in part; the rest waits for a decision",
}

// failWords say what a CMCFailInfo means to who asks (RFC 5272 section 6.1.4).
var failWords = map[cmc.FailInfo]string{
	cmc.BadAlg:          "an algorithm or a key is not accepted",
	cmc.BadMessageCheck: "the signature or the MAC of the message is not good",
	cmc.BadRequest:      "it is not permitted, or was not understood",
	cmc.BadTime:         "the clocks of client and server differ too much",
	cmc.BadCertID:       "no certificate is the one that was named",
	cmc.UnsupportedExt:  "an extension is not accepted",
	cmc.MustArchiveKeys: "the private key would have to be archived by the CA",
	cmc.BadIdentity:     "who asks is not proven, or may not ask for this",
	cmc.FailPOPRequired: "a proof of possession of the key is missing",
	cmc.POPFailed:       "the proof of possession of the key is not good, or not linked to who asks",
	cmc.NoKeyReuse:      "the key was used before: make a new one",
	cmc.InternalCAError: "the CA failed",
	cmc.TryLater:        "the server is busy: try again later",
	cmc.AuthDataFail:    "the authenticated data is not good",
}

// Words say what became of the part, for a terminal: the status, why in the word
// of the RFC and in plain ones, and the server's text.
func (p Part) Words() string {
	if !p.Said {
		return "the server says nothing of it"
	}
	s, known := statusWords[p.Status]
	if !known {
		s = p.Status.String()
	}
	switch {
	case p.Fail != nil:
		s += ", " + p.Fail.String()
		if words, known := failWords[*p.Fail]; known {
			s += " (" + words + ")"
		}
	case p.Extended != nil:
		s += fmt.Sprintf(", for a reason of its own (%s)", p.Extended.Type)
	case p.Pend != nil:
		s += ", ask again from " + p.Pend.Time.UTC().Format("2006-01-02 15:04:05 UTC") + " on"
	}
	if text := printable(p.Text, 1024); text != "" {
		s += ": " + text
	}
	return s
}

// granted says that the part needs nothing more.
func (p Part) granted() bool { return p.Said && p.Status == cmc.Success }

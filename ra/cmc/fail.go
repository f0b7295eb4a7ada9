// SPDX-License-Identifier: Apache-2.0

package cmc

import "strconv"

// Status is a CMCStatus (RFC 5272 section 6.1.3).
type Status uint8

// The states of a request; 1 is reserved.
const (
	Success         Status = 0
	Failed          Status = 2
	Pending         Status = 3
	NoSupport       Status = 4
	ConfirmRequired Status = 5
	POPRequired     Status = 6
	Partial         Status = 7
)

var statusNames = map[Status]string{
	Success: "success", Failed: "failed", Pending: "pending", NoSupport: "noSupport",
	ConfirmRequired: "confirmRequired", POPRequired: "popRequired", Partial: "partial",
}

// String is the word of the RFC.
func (s Status) String() string {
	if name, ok := statusNames[s]; ok {
		return name
	}
	return "status " + strconv.Itoa(int(s))
}

// FailInfo is a CMCFailInfo (RFC 5272 section 6.1.4).
type FailInfo uint16

// Why a request failed.
const (
	BadAlg          FailInfo = 0
	BadMessageCheck FailInfo = 1
	BadRequest      FailInfo = 2
	BadTime         FailInfo = 3
	BadCertID       FailInfo = 4
	UnsupportedExt  FailInfo = 5
	MustArchiveKeys FailInfo = 6
	BadIdentity     FailInfo = 7
	FailPOPRequired FailInfo = 8
	POPFailed       FailInfo = 9
	NoKeyReuse      FailInfo = 10
	InternalCAError FailInfo = 11
	TryLater        FailInfo = 12
	AuthDataFail    FailInfo = 13
)

var failNames = [...]string{
	BadAlg: "badAlg", BadMessageCheck: "badMessageCheck", BadRequest: "badRequest", BadTime: "badTime",
	BadCertID: "badCertId", UnsupportedExt: "unsupportedExt", MustArchiveKeys: "mustArchiveKeys",
	BadIdentity: "badIdentity", FailPOPRequired: "popRequired", POPFailed: "popFailed", NoKeyReuse: "noKeyReuse",
	InternalCAError: "internalCAError", TryLater: "tryLater", AuthDataFail: "authDataFail",
}

// String is the word of the RFC; of a code that it doesn't have, its number.
func (f FailInfo) String() string {
	if int(f) < len(failNames) {
		return failNames[f]
	}
	return "failInfo " + strconv.Itoa(int(f))
}

// ParseFailInfo gives the code of a word.
func ParseFailInfo(word string) (FailInfo, bool) {
	for f, name := range failNames {
		if name == word {
			return FailInfo(f), true
		}
	}
	return 0, false
}

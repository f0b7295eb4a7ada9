// SPDX-License-Identifier: Apache-2.0

package est

import (
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy"
)

// root is where EST lives (RFC 7030 section 3.2.2).
const root = "/.well-known/est"

// Owns says whether a path, as URL.EscapedPath gives it, is for this server:
// the prefix of RFC 7030 section 3.2.2 itself and everything under it, wrong
// paths too. Those are refused here and never left to another handler, nor are
// other spellings of the prefix: to a device, another handler's 200 to
// //.well-known/est/simpleenroll is an enrolment.
func Owns(escapedPath string) bool {
	if beneath(escapedPath) {
		return true
	}
	plain, err := url.PathUnescape(escapedPath)
	return err == nil && beneath(path.Clean(plain))
}

func beneath(p string) bool { return p == root || strings.HasPrefix(p, root+"/") }

// get and post are the methods of the operations. Where GET is allowed HEAD
// is (RFC 9110 section 9.1).
var (
	get  = []string{http.MethodGet, http.MethodHead}
	post = []string{http.MethodPost}
)

// methods has every operation of RFC 7030 section 3.2.2 and how it is called.
var methods = map[policy.Op][]string{
	policy.CACerts:        get,
	policy.CSRAttrs:       get,
	policy.SimpleEnroll:   post,
	policy.SimpleReenroll: post,
	policy.FullCMC:        post,
	policy.ServerKeygen:   post,
}

// A target is what a path asks for. The zero value is nothing.
type target struct {
	op    policy.Op
	label string // "" on the path without a label
}

// allows says whether the target is called by this method.
func (t target) allows(method string) bool { return slices.Contains(methods[t.op], method) }

// enrolls says whether the target is gated and for the policy to offer. The
// two GET operations are for everybody (RFC 7030 sections 4.1.2 and 4.5).
func (t target) enrolls() bool { return t.allows(http.MethodPost) }

// parsePath reads [label/]operation. The label is one segment of unreserved
// characters (RFC 3986 section 2.3), written without escapes, and is no
// operation (RFC 7030 section 3.2.2); so a path has one spelling only, and
// nothing between the client and us can read it in another way.
func parsePath(escapedPath string) (target, bool) {
	rest, ok := strings.CutPrefix(escapedPath, root+"/")
	if !ok {
		return target{}, false
	}
	label, op, labelled := strings.Cut(rest, "/")
	if !labelled {
		label, op = "", rest
	}
	if labelled && !isLabel(label) || !isOp(op) {
		return target{}, false
	}
	return target{op: policy.Op(op), label: label}, true
}

func isOp(segment string) bool {
	_, ok := methods[policy.Op(segment)]
	return ok
}

func isLabel(segment string) bool {
	if segment == "" || segment == "." || segment == ".." || isOp(segment) {
		return false
	}
	return strings.IndexFunc(segment, func(c rune) bool { return !unreserved(c) }) < 0
}

func unreserved(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("-._~", c)
}

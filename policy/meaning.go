// SPDX-License-Identifier: Apache-2.0

package policy

import "strings"

// A meaning is what a key means for Rules. each: its items are met one by one.
type meaning struct {
	change Change
	each   bool
	order  []string
}

var (
	widens   = meaning{change: MoreIsWider, each: true}
	narrows  = meaning{change: MoreIsNarrower, each: true}
	bound    = meaning{change: LargerIsWider}
	writes   = meaning{}
	inert    = meaning{change: Nothing}
	trueWide = meaning{change: ByOrder, order: []string{"false", "true"}}
	trueSafe = meaning{change: ByOrder, order: []string{"true", "false"}}
	offered  = meaning{change: ByOrder, order: []string{"not offered", "offered"}}
)

func ordered(narrow, wide string) meaning {
	return meaning{change: ByOrder, order: []string{narrow, wide}}
}

// meanings by the end of a path: the longest that fits counts. A test holds
// that each key of the language has one.
var meanings = map[string]meaning{
	"version": inert, "name": inert, "default": inert, "about": inert, "owner": inert,
	"profiles": {change: MoreIsWider}, "labels": {change: MoreIsWider}, "upstream": writes, "csrattrs.format": inert, "csrattrs.linking": inert,

	"guardrails.never": narrows, "deny.dns": narrows, "deny.ip": narrows, "deny.email": narrows, "deny.uri": narrows,
	"deny.upn": narrows, "deny.directory_name": narrows, "deny.registered_id": narrows, "deny.permanent_identifier": narrows,
	"deny.hardware_module_name": narrows, "deny.other_name": narrows,
	"limits.csr_bytes": bound, "limits.names": bound,
	"rsa": widens, "ecdsa": widens, "ed25519": trueWide, "rsa_exponents": widens, "signatures": widens,
	"hygiene.roca": trueSafe, "hygiene.close_primes": trueSafe, "hygiene.small_factors": trueSafe,
	"hygiene.debian_weak": narrows, "hygiene.blocked": narrows, "hygiene.reuse": ordered("forbid", "allow"),
	"validity.default": bound, "validity.max": bound, "validity.within": narrows,

	"bearer.subjects": widens, "srp.realm": writes, "srp.user": widens,
	"enroll": offered, "reenroll": offered, "on_behalf": offered, "serverkeygen.enabled": trueWide,
	"fullcmc": offered, "fullcmc.revoke": offered, "revoke.own": trueWide, "revoke.by_ra": trueWide,
	"serverkeygen.key": writes, "serverkeygen.encryption": ordered("required", "if_asked"), "serverkeygen.form": writes, "serverkeygen.made_by": writes,
	"fullcmc.status_info": inert, "fullcmc.pending": inert, "fullcmc.publish_anchors": inert,
	"who": widens, "names": widens, "on_behalf.linking": inert, "linking": ordered("required", "if_present"), "approval": ordered("manual", "auto"),
	"approve_when": writes, "approvals": ordered("2", "1"), "issues": ordered("devices", "ra"),
	"same_names": ordered("exact", "equal"), "same_key": ordered("forbid", "allow"), "window": bound, "expired": bound,
	"renewals": bound, "enrolled_within": bound,

	"allow": widens, "require": narrows, "max": bound, "wildcard": trueWide, "ignore": widens, "set": writes, "beside": writes,
	"usage.key": {change: MoreIsWider}, "usage.ext": {change: MoreIsWider}, "cel": writes,

	"checks": narrows, "when": writes, "via": writes, "one_time_password.v1": trueWide, "registry": narrows, "client_cert.profile": writes, "rule": writes, "message": inert, "id": inert,
	"enforce": ordered("refuse", "warn"), "disclose": inert,
}

func meaningOf(path string) (meaning, bool) {
	for rest := path; rest != ""; {
		if m, ok := meanings[rest]; ok {
			return m, true
		}
		_, after, found := strings.Cut(rest, ".")
		if !found {
			break
		}
		rest = after
	}
	if strings.Contains(path, ".names.") {
		return widens, true
	}
	// What stands under a layered set, or beside a name, is a value.
	if strings.Contains(path, ".set.") || strings.HasPrefix(path, "set.") {
		return writes, true
	}
	return meaning{}, false
}

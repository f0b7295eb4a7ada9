// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxShown bounds what a message repeats of a request or a file.
const maxShown = 120

// Show gives text that others chose for a terminal, as messages have it.
func Show(s string) string { return show(s) }

// show gives text for a message: control characters and everything that
// isn't ASCII escaped, so that no look-alike and no terminal sequence passes
// for something else, and cut to about 120 characters.
func show(s string) string {
	full := len(s) <= maxShown
	quoted := strconv.QuoteToASCII(s[:min(len(s), maxShown)])
	shown := strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if full && len(shown) <= maxShown {
		return shown
	}
	shown = shown[:min(len(shown), maxShown)]
	if i := strings.LastIndexByte(shown, '\\'); i > maxShown-10 {
		shown = shown[:i] // not half an escape
	}
	return fmt.Sprintf("%s... (%d bytes)", shown, len(s))
}

func quote(s string) string { return `"` + show(s) + `"` }

// showList gives up to a handful of values in quotes.
func showList(values []string) string {
	const most = 6
	shown := make([]string, 0, most+1)
	for i, v := range values {
		if i == most {
			shown = append(shown, fmt.Sprintf("%d more", len(values)-most))
			break
		}
		shown = append(shown, quote(v))
	}
	if len(shown) == 0 {
		return "nothing"
	}
	return strings.Join(shown, ", ")
}

// didYouMean gives a hint when one of the known names is close.
func didYouMean(got string, known []string) string {
	best, distance := "", 3
	if len(got) > longestName {
		return ""
	}
	got = strings.ToLower(got)
	if name := foreignNames[got]; slices.Contains(known, name) {
		return "; did you mean `" + name + "`?"
	}
	for _, name := range known {
		if len(got)-len(name) >= distance || len(name)-len(got) >= distance {
			continue
		}
		if d := editDistance(got, strings.ToLower(name)); d < distance && d < max(len(name), 2) {
			best, distance = name, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean `" + best + "`?"
}

// foreignNames are names that other standards and products have for ours.
var foreignNames = map[string]string{
	"commonname": "CN", "surname": "SN", "givenname": "GN", "countryname": "C", "country": "C",
	"localityname": "L", "locality": "L", "stateorprovincename": "ST", "state": "ST", "province": "ST",
	"organizationname": "O", "organization": "O", "organisation": "O",
	"organizationalunitname": "OU", "organizationalunit": "OU", "organisationalunit": "OU",
	"streetaddress": "STREET", "domaincomponent": "DC", "userid": "UID", "email": "emailAddress", "e": "emailAddress",
	"prime256v1": "P-256", "secp256r1": "P-256", "nistp256": "P-256", "secp384r1": "P-384", "nistp384": "P-384",
	"secp521r1": "P-521", "nistp521": "P-521",
	"tls web client authentication": "clientAuth", "tls web server authentication": "serverAuth",
	"crl sign": "cRLSign", "certificate sign": "keyCertSign", "digital signature": "digitalSignature",
	"key encipherment": "keyEncipherment", "non repudiation": "nonRepudiation", "key agreement": "keyAgreement",
	"rfc822": "email", "rfc822name": "email", "dnsname": "dns", "ipaddress": "ip", "dirname": "directory_name", "othername": "other_name",
	"optional": "if_present", "mandatory": "required",
}

// longestName bounds the text for which a near name is looked for.
const longestName = 40

// editDistance counts the letters to change, add or take away. Long text is
// far from everything.
func editDistance(a, b string) int {
	if len(a) > longestName || len(b) > longestName {
		return longestName
	}
	var row [longestName + 1]int
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

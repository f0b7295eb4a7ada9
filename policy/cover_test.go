// SPDX-License-Identifier: Apache-2.0

package policy

import "testing"

func TestAPatternCoversAnotherWhenItTakesAllOfItsValues(t *testing.T) {
	for _, c := range []struct {
		form         form
		wide, narrow string
		want         bool
	}{
		{dnsForm, "*.example.net", "a.example.net", true},
		{dnsForm, "**.example.net", "*.example.net", true},
		{dnsForm, "**.example.net", "*.a.example.net", true},
		{dnsForm, "*.example.net", "**.example.net", false},
		{dnsForm, "*.example.net", "*.example.org", false},
		{dnsForm, "rtr-*.example.net", "*.example.net", false},
		{dnsForm, "*.example.net", "rtr-*.example.net", true},
		{dnsForm, "*.EXAMPLE.net", "a.example.NET", true},
		{ipForm, "10.0.0.0/8", "10.20.0.0/16", true},
		{ipForm, "10.20.0.0/16", "10.0.0.0/8", false},
		{ipForm, "10.0.0.0/8", "10.1.2.3", true},
		{ipForm, "2001:db8::/32", "10.1.2.3", false},
		{emailForm, "*@example.net", "a@example.net", true},
		{emailForm, "*@example.net", "**@example.net", false},
		{uriForm, "urn:example:*", "urn:example:a", true},
		{uriForm, "https://*.example.net/**", "https://a.example.net/x/y", true},
		{textForm, "**", "Example GmbH", true},
		{textForm, "*", "Example GmbH", true},
		{textForm, "*", "Example Inc.", false},
		{identifierForm, "rtr-*.example.net", "rtr-1*.example.net", true},
		{identifierForm, "rtr-1*.example.net", "rtr-*.example.net", false},
	} {
		wide, err := c.form.compile(c.wide)
		if err != nil {
			t.Fatal(err)
		}
		narrow, err := c.form.compile(c.narrow)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.wide == c.narrow || covers(wide, narrow, c.form, false); got != c.want {
			t.Errorf("%s covers %s: %v", c.wide, c.narrow, got)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package command

import (
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
)

func TestAUserOfSRPIsReadWithItsRealm(t *testing.T) {
	who, err := identity([]string{"srp:devices/00:11:22/a", "basic:anna"})
	if err != nil || len(who.Accounts) != 2 || who.Accounts[0] != policy.SRPAccount("devices", "00:11:22/a") {
		t.Errorf("%+v, %v", who.Accounts, err)
	}
	for _, text := range []string{"srp:", "srp:devices", "srp:devices/", "srp:/a"} {
		if _, err := identity([]string{text}); err == nil || !strings.Contains(err.Error(), "want srp:REALM/USER") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestTheInventoryHasTheCertificateUnderAProfile(t *testing.T) {
	who, err := identity([]string{"inventory:routers"})
	if err != nil || who.IssuedUnder != "routers" {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := identity([]string{"inventory:"}); err == nil {
		t.Error("no profile is one")
	}
}

// SPDX-License-Identifier: Apache-2.0

package cfssl

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-est/estra/ra"
)

// Check looks at the profile, at whether CFSSL takes our key, at the addresses and at the
// clock. It
// asks with an authenticated request that has no CSR, of which CFSSL says so once
// it has checked the HMAC.
func (u *Upstream) Check(ctx context.Context) []ra.Check {
	what := "profile"
	if u.cfg.Profile != "" {
		what += " " + u.cfg.Profile
	}
	known, err := u.askInfo(ctx)
	if err != nil {
		return []ra.Check{ra.Checked(what, err, "")}
	}
	profile := ra.Checked(what, nil, "%s, for %s", quoted(known.usages), known.expiry)
	if known.expiry == 0 {
		profile.Detail = quoted(known.usages) + ", for a time that CFSSL doesn't tell"
	}
	return append([]ra.Check{profile, u.checkKey(ctx)}, u.client.Check(ctx)...)
}

func (u *Upstream) checkKey(ctx context.Context) ra.Check {
	const what = "key"
	key, err := u.cfg.Key()
	if err != nil {
		return ra.Checked(what, err, "")
	}
	request := fmt.Sprintf(`{"profile":%q,"label":%q}`, u.cfg.Profile, u.cfg.Label)
	body, err := sealed(key, []byte(request))
	if err != nil {
		return ra.Checked(what, err, "")
	}
	call := post(signPath, body)
	call.Reads = true // nothing comes of it
	_, err = u.call(ctx, call)
	var refusal *ra.Error
	if errors.As(err, &refusal) && refusal.Kind == ra.UpstreamRefused {
		return ra.Checked(what, nil, "CFSSL takes it: it reads what we send")
	}
	if err == nil {
		return ra.Check{What: what, Result: ra.Warning, Detail: "CFSSL takes a request without a CSR"}
	}
	return ra.Checked(what, err, "")
}

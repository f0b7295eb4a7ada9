// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"fmt"
	"time"
)

// onboard makes the device's password as `otp create` does, in the store of
// the demonstration's server.
func (d *demoDevice) onboard(ctx context.Context) ([]string, error) {
	b := batch{
		keeper: keeper{address: d.server.admin}, subject: "CN=" + demoName, san: []string{demoName}, expires: "24h", count: 1, first: 1,
	}
	made, err := b.create(ctx)
	if err != nil {
		return nil, err
	}
	if len(made) != 1 {
		return nil, fmt.Errorf("%d passwords were made", len(made))
	}
	d.password = made[0]
	return []string{
		"command   caddy est otp create --subject CN=" + demoName + " --san " + demoName,
		"password  " + string(d.password.Text) + ", until " + second(d.password.Expires),
		"It is shown this once: the store keeps a hash.",
	}, nil
}

// passwordState is what has become of the password, in the word of `otp list`.
func (d *demoDevice) passwordState(ctx context.Context) (string, error) {
	k := keeper{address: d.server.admin}
	list, err := k.passwords(ctx, "")
	if err != nil {
		return "", err
	}
	for _, p := range list {
		if p.ID == d.password.ID {
			return p.State(time.Now()), nil
		}
	}
	return "", fmt.Errorf("the store has no password %s", d.password.ID)
}

// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
)

type devices struct{ s *sqlStore }

const (
	deviceColumns     = `d.registry, d.issuer, d.identity, d.note, d.state, d.changed, ` + claimColumns
	devicesWithClaims = ` FROM devices d LEFT JOIN claims c ON c.kind = 'device' AND c.id = d.id `
	devicesInOrder    = ` ORDER BY d.registry, d.issuer, d.identity`
)

// MayBootstrap tells whether the device may have its first certificate, or ask
// for it again.
func (d Device) MayBootstrap(now time.Time) bool {
	switch d.State {
	case policy.Expected:
		return !d.Claim.usedUp(now)
	case policy.Enrolled:
		return d.Claim.held() && !d.Claim.usedUp(now)
	default:
		return false
	}
}

// Matched is the device as the policy is told of it.
func (d Device) Matched(now time.Time) policy.Device {
	return policy.Device{
		Registry: d.Registry, Issuer: d.Issuer, Identity: d.Identity, State: d.State,
		Again: d.Claim.held() && d.MayBootstrap(now),
	}
}

// Import implements Devices.
func (d devices) Import(ctx context.Context, registry string, list []Device, now time.Time) (added, known int, err error) {
	for _, device := range list {
		if err := wantStorable("device", registry, device.Issuer, device.Identity, device.Note); err != nil {
			return 0, 0, err
		}
	}
	err = d.s.writer.writeMany(ctx, len(list), func(ctx context.Context, tx transaction) error {
		added, known = 0, 0
		for _, device := range list {
			device.Registry = registry
			result, err := tx.ExecContext(ctx, `INSERT INTO devices (id, registry, issuer, identity, note, state, changed)
				VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING`, // by id, or by what it is made of
				device.ID(), device.Registry, device.Issuer, device.Identity, device.Note, policy.Expected, millis(now))
			switch err := one(result, err); {
			case err == nil:
				added++
			case !errors.Is(err, ErrUnknown):
				return err
			default:
				known++
				if _, err := tx.ExecContext(ctx, `UPDATE devices SET note = $2 WHERE id = $1`, device.ID(), device.Note); err != nil {
					return err
				}
			}
			if err := putKeys(ctx, tx, device); err != nil {
				return err
			}
		}
		return nil
	})
	return added, known, err
}

// Match implements Devices.
func (d devices) Match(ctx context.Context, keys policy.DeviceKeys) ([]Device, error) {
	// No device has a name that can't be stored.
	keys.Identities = slices.DeleteFunc(slices.Clone(keys.Identities), func(s string) bool { return !storable(s) })
	query, args := `SELECT device FROM device_certificates WHERE certificate = $1`, []any{keys.Certificate[:]}
	if keys.Issuer != "" && len(keys.Identities) > 0 {
		args = append(args, keys.Issuer)
		places := make([]string, len(keys.Identities))
		for i, identity := range keys.Identities {
			args = append(args, identity)
			places[i] = fmt.Sprintf("$%d", len(args))
		}
		query += ` UNION SELECT id FROM devices WHERE issuer = $2 AND identity IN (` + strings.Join(places, ", ") + `)`
	}
	return list(ctx, d.s, mostRead, scanDevice, `SELECT `+deviceColumns+devicesWithClaims+`WHERE d.id IN (`+query+`)`+devicesInOrder, args...)
}

// List implements Devices.
func (d devices) List(ctx context.Context, registry string) ([]Device, error) {
	query, args := `SELECT `+deviceColumns+devicesWithClaims, []any{}
	if registry != "" {
		query, args = query+`WHERE d.registry = $1`, []any{registry}
	}
	return list(ctx, d.s, mostListed, scanDevice, query+devicesInOrder, args...)
}

// Block implements Devices.
func (d devices) Block(ctx context.Context, device Device, now time.Time) error {
	return d.set(ctx, device, policy.Blocked, now)
}

// Rearm implements Devices. What the device has used up is free again.
func (d devices) Rearm(ctx context.Context, device Device, now time.Time) error {
	return d.set(ctx, device, policy.Expected, now)
}

func (d devices) set(ctx context.Context, device Device, state policy.DeviceState, now time.Time) error {
	return d.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		id, err := find(ctx, tx, device)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE devices SET state = $2, changed = $3 WHERE id = $1`, id, state, millis(now))
		if err != nil || state != policy.Expected {
			return err
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM claims WHERE kind = $1 AND id = $2`, policy.UseDevice, id)
		return err
	})
}

// find gives the id of the one device that is meant.
func find(ctx context.Context, tx transaction, device Device) (string, error) {
	query, args := `SELECT d.issuer FROM devices d WHERE d.registry = $1 AND d.identity = $2`, []any{device.Registry, device.Identity}
	if device.Issuer != "" {
		query, args = query+` AND d.issuer = $3`, append(args, device.Issuer)
	}
	rows, err := tx.QueryContext(ctx, query+` ORDER BY d.issuer`, args...)
	if err != nil {
		return "", err
	}
	issuers, err := collect(rows, func(r scanner) (issuer string, err error) { return issuer, r.Scan(&issuer) })
	switch {
	case err != nil:
		return "", err
	case len(issuers) == 0:
		return "", ErrUnknown
	case len(issuers) > 1:
		return "", fmt.Errorf("several devices of the registry have this identity: say which issuer is meant, of %s", strings.Join(issuers, ", "))
	}
	device.Issuer = issuers[0]
	return device.ID(), nil
}

// keepCertificates is how long a certificate is remembered after its end: a
// profile may grant a grace for renewals.
const keepCertificates = 366 * 24 * time.Hour

// addCertificate remembers that a certificate is of a device, and forgets
// those that have long ended.
func addCertificate(ctx context.Context, tx transaction, id string, s Settlement) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO device_certificates (certificate, device, not_after) VALUES ($1, $2, $3)
		ON CONFLICT (certificate, device) DO NOTHING`, s.Certificate[:], id, millis(s.NotAfter))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM device_certificates WHERE device = $1 AND not_after < $2`, id, millis(s.Now.Add(-keepCertificates)))
	return err
}

func scanDevice(row scanner) (d Device, err error) {
	var changed int64
	var c claimRow
	into := append([]any{&d.Registry, &d.Issuer, &d.Identity, &d.Note, &d.State, &changed}, c.columns()...)
	if err := row.Scan(into...); err != nil {
		return d, err
	}
	d.Changed, d.Claim = fromMillis(changed), c.claim()
	return d, nil
}

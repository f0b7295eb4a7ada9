// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"time"
)

// A Notice tells people of a request that waits for approval. It goes out signed
// as every request of a Hook; of the answer only the status counts.
type Notice struct {
	Timestamp time.Time `json:"timestamp"`
	Event     string    `json:"event"` // est_pending
	ID        string    `json:"id"`    // for `caddy est pending show`
	RequestID string    `json:"request_id"`
	Op        string    `json:"op"`
	Label     string    `json:"label"`
	Profile   string    `json:"profile"`
	Who       string    `json:"who"`
	Names     string    `json:"names"`
	Needs     int       `json:"needs"`
	Expires   time.Time `json:"expires"`
}

// Tell sends a notice once.
func (h *Hook) Tell(ctx context.Context, n Notice) error {
	n.Timestamp = h.Now().UTC()
	body, err := json.Marshal(n)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	_, err = h.post(ctx, n.RequestID, body)
	return err
}

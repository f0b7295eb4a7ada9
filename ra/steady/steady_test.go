// SPDX-License-Identifier: Apache-2.0

package steady

import (
	"testing"
	"time"
	"unsafe"
)

// at is when so much time has passed, on a wall clock that is wrong by so many
// seconds: a Time with a monotonic reading has those of the wall clock in 33 bits
// above 30 of nanoseconds.
func at(begin time.Time, passed time.Duration, wrong int64) time.Time {
	t := begin.Add(passed)
	*(*uint64)(unsafe.Pointer(&t)) += uint64(wrong) << 30
	return t
}

func TestAClockThatJumpsIsNotSteadyForAWhile(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	type look struct {
		passed time.Duration
		wrong  int64
		steady bool
	}
	for name, looks := range map[string][]look{
		"it goes as it should": {{0, 0, true}, {time.Hour, 0, true}, {1000 * time.Hour, 0, true}},
		"it is slewed":         {{0, 0, true}, {time.Hour, 30, true}, {2 * time.Hour, -29, true}},
		"it jumps ahead":       {{0, 0, true}, {time.Hour, 86400, false}, {time.Hour + 29*time.Minute, 86400, false}, {time.Hour + 30*time.Minute, 86400, true}},
		"it jumps back":        {{0, 0, true}, {time.Hour, -86400, false}, {2 * time.Hour, -86400, true}},
		"it is right again":    {{0, 0, true}, {time.Minute, 86400, false}, {40 * time.Minute, 0, false}, {70 * time.Minute, 0, true}},
		"nobody looked before": {{0, 86400, true}},
	} {
		var c Clock
		for _, l := range looks {
			if got := c.Steady(at(begin, l.passed, l.wrong), 30*time.Minute); got != l.steady {
				t.Errorf("%s: after %s, wrong by %d s: %t", name, l.passed, l.wrong, got)
			}
		}
	}
}

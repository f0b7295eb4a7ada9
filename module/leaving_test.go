// SPDX-License-Identifier: Apache-2.0

package module

import "testing"

func TestAConfigurationLeavesWhenTheNextHasStarted(t *testing.T) {
	t.Parallel()
	var r runningApps
	var first, second, third, never App
	says := func(what string, got ...bool) {
		t.Helper()
		for i, a := range []*App{&first, &second, &third} {
			if a.leaving.Load() != got[i] {
				t.Errorf("%s: that number %d leaves is %t", what, i+1, !got[i])
			}
		}
	}
	if r.enter(&first) {
		t.Error("there is one before the first")
	}
	says("one", false, false, false)
	if !r.enter(&second) {
		t.Error("there is none before the second")
	}
	says("a reload", true, false, false)
	r.leave(&first)
	says("the old one has stopped", true, false, false)
	r.enter(&third)
	says("another reload", true, true, false)
	r.leave(&third)
	says("that doesn't start", true, false, false)
	r.leave(&never)
	r.leave(&third)
	says("what isn't there leaves", true, false, false)
}

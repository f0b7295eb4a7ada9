// SPDX-License-Identifier: Apache-2.0

package module

import "testing"

func TestWhatRequestsNeedStaysUntilTheyHaveEnded(t *testing.T) {
	var f inFlight
	done := 0
	do := func() { done++ }
	f.afterwards(do)
	if done != 1 {
		t.Fatal("with no request it isn't done at once")
	}
	first, second := f.enter(), f.enter()
	f.afterwards(do)
	first()
	third := f.enter() // of HTTP/2, on a connection that ends
	second()
	if done != 1 {
		t.Error("it is done while a request is under way")
	}
	third()
	if done != 2 {
		t.Errorf("it was done %d times", done)
	}
	f.enter()()
	if done != 2 {
		t.Error("it is done again")
	}
}

// SPDX-License-Identifier: Apache-2.0

package est

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// claiming is a token that says whom it is of, and proves nothing.
func claiming(subject string) call {
	claims := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://id.example.net","sub":"` + subject + `"}`))
	return call{header: http.Header{"Authorization": {"Bearer e30." + claims + ".c2ln"}}}
}

// Guesses are counted for each subject, and all of them for the address: a
// token that is over shuts out nobody else behind the same address.
func TestThreat_TokensThatFailAreThrottledForEachSubject(t *testing.T) {
	x := newSite(t, func(x *site) { x.Attempts = NewAttempts(2, time.Hour) })
	for i, want := range []int{401, 401, 429, 429} {
		if g := x.do(claiming("sensor-7")); g.StatusCode != want {
			t.Errorf("%d for token %d of one subject, want %d", g.StatusCode, i, want)
		}
	}
	for _, c := range []call{claiming("sensor-8"), {user: "sensor-7:wrong"}, {header: http.Header{"Authorization": {"Bearer opaque"}}}} {
		if g := x.do(c); g.StatusCode != 401 {
			t.Errorf("%d for another identity", g.StatusCode)
		}
	}
	for n := range 2*attemptsOfAddress - 5 {
		if g := x.do(claiming("other-" + strconv.Itoa(n))); g.StatusCode != 401 {
			t.Errorf("%d for subject %d", g.StatusCode, n)
		}
	}
	if g := x.do(claiming("yet-another")); g.StatusCode != 429 {
		t.Errorf("%d for one subject more of the address", g.StatusCode)
	}
}

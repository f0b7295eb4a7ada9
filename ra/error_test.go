// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"errors"
	"testing"
	"time"
)

func TestEveryKindHasARow(t *testing.T) {
	for kind := range Kind(len(rows)) {
		if kind.String() == "" || kind.HTTPStatus() < 400 && kind != Pending || kind.FailInfo() == "" || Fail(kind, "", nil).Public == "" {
			t.Errorf("kind %d has the row %+v", kind, kind.row())
		}
	}
	if unknown := Kind(200); unknown.HTTPStatus() != 500 || unknown.String() != "fault" {
		t.Errorf("an unknown kind is %s, %d", unknown, unknown.HTTPStatus())
	}
}

func TestErrorTellsOperatorsTheCause(t *testing.T) {
	cause := errors.New("connection refused")
	e := Fail(UpstreamDown, "upstream x", cause)
	if e.Error() != "upstream_down: upstream x: connection refused" || !errors.Is(e, cause) {
		t.Errorf("error %q", e.Error())
	}
	if e.RetryAfter != 30*time.Second || e.After(time.Second).RetryAfter != time.Second {
		t.Errorf("Retry-After %s", e.RetryAfter)
	}
	if Fail(Refused, "", nil).RetryAfter != 0 {
		t.Error("a refusal asks to try again")
	}
	if got := asError(cause); got.Kind != Fault || !errors.Is(got, cause) {
		t.Errorf("a foreign error becomes %v", got)
	}
}

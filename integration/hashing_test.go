// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// hashingSite allows two failures a minute.
var hashingSite = strings.Replace(smallest, "policy policy.yaml", "policy policy.yaml\n\t\tlimits {\n\t\t\tattempts 2/m\n\t\t}", 1)

// enrolAs posts a request with a password, and returns the status.
func (s *site) enrolAs(client *http.Client, user, password, body string) int {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url("simpleenroll"), strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	req.SetBasicAuth(user, password)
	res, err := client.Do(req)
	if err != nil {
		s.t.Error(err)
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// A batch of devices behind one address, switched on at once.
func TestABatchOfDevicesWithOneAccountEnrolsAtOnce(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: hashingSite, policy: devices})
	client, body, got := s.client(nil), request(t, "a.example.net"), make(chan int)
	for range 40 {
		go func() { got <- s.enrolAs(client, user, password, body) }()
	}
	all := make(map[int]int)
	for range 40 {
		all[<-got]++
	}
	if all[http.StatusOK] != 40 {
		t.Errorf("%v\n%s", all, s.log)
	}
}

func TestThreat_OnePasswordForManyUserNamesIsThrottled(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: hashingSite, policy: devices})
	client, body := s.client(nil), request(t, "a.example.net")
	for n := range 25 {
		want := http.StatusUnauthorized
		if n >= 20 {
			want = http.StatusTooManyRequests
		}
		if got := s.enrolAs(client, fmt.Sprint("user", n), "guess", body); got != want {
			t.Errorf("guess %d: %d, want %d", n, got, want)
		}
	}
}

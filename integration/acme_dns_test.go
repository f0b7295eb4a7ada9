// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/libdns/libdns"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/upstream/acme/acmetest"
)

func init() { caddy.RegisterModule(new(memoryDNS)) }

// memoryDNS is a DNS provider of Caddy in front of pebble's DNS server. It is in
// this binary alone.
type memoryDNS struct {
	URL string `json:"url"` // of the server's management
}

func (*memoryDNS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dns.providers.memory_test", New: func() caddy.Module { return new(memoryDNS) }}
}

func (p *memoryDNS) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&p.URL) {
		return d.ArgErr()
	}
	return nil
}

func (p *memoryDNS) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return records, p.tell(ctx, "set-txt", zone, records)
}

func (p *memoryDNS) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	return records, p.tell(ctx, "clear-txt", zone, records)
}

func (p *memoryDNS) tell(ctx context.Context, what, zone string, records []libdns.Record) (failed error) {
	for _, record := range records {
		rr := record.RR()
		data, err := json.Marshal(map[string]string{"host": libdns.AbsoluteName(rr.Name, zone), "value": rr.Data})
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/"+what, bytes.NewReader(data))
		if err != nil {
			return err
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			failed = errors.Join(failed, fmt.Errorf("%s: %d", what, res.StatusCode))
		}
	}
	return failed
}

// resolver is a DNS server that knows a zone, which pebble's doesn't, and passes
// all other questions on.
func resolver(t *testing.T, zone, next string) string {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		question := make([]byte, 4096)
		for {
			n, from, err := server.ReadFrom(question)
			if err != nil {
				return
			}
			if answer, err := resolved(question[:n], zone, next); err == nil {
				_, _ = server.WriteTo(answer, from)
			}
		}
	}()
	return server.LocalAddr().String()
}

func resolved(question []byte, zone, next string) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	if len(m.Questions) == 1 && m.Questions[0].Type == dnsmessage.TypeSOA {
		m.Response, m.Additionals = true, nil
		if q := m.Questions[0]; strings.EqualFold(q.Name.String(), zone) {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1},
				Body:   &dnsmessage.SOAResource{NS: q.Name, MBox: q.Name, Serial: 1, Refresh: 1, Retry: 1, Expire: 1, MinTTL: 1},
			}}
		} else {
			m.RCode = dnsmessage.RCodeNameError
		}
		return m.Pack()
	}
	conn, err := net.DialTimeout("udp", next, time.Second)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := conn.Write(question); err != nil {
		return nil, err
	}
	answer := make([]byte, 4096)
	n, err := conn.Read(answer)
	return answer[:n], err
}

func TestADeviceEnrollsThroughACMEByDNS(t *testing.T) {
	t.Parallel()
	ca, c := acmeSite(t, acmetest.Options{}, "CHALLENGE", "")
	c.site = strings.Replace(c.site, "CHALLENGE", fmt.Sprintf("challenge dns-01 memory_test %s\n\t\t\tresolvers %s", ca.DNSManagement(), resolver(t, "site.example.net.", ca.DNS)), 1)
	c.policy = strings.Replace(c.policy, `allow: ["*.site.example.net", "*.example"]`, `wildcard: true, allow: ["*.plc.site.example.net", "*.site.example.net"]`, 1)
	s := serve(t, c)
	// A wildcard and its parent have the same record.
	status, text, id, leaf := s.asks("", csrtest.Subject(), named("*.plc.site.example.net", "plc.site.example.net"))
	if status != http.StatusOK {
		t.Fatalf("%d %s: %s\n%s\n%s", status, text, s.record(id).Reason, ca.Log(), s.log)
	}
	if len(leaf.DNSNames) != 2 {
		t.Errorf("the names are %v", leaf.DNSNames)
	}
	if left := ca.TXT("_acme-challenge.plc.site.example.net."); len(left) > 0 {
		t.Errorf("records are left: %v", left)
	}
}

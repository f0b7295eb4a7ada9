// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package main

import (
	"net"
	"sync"

	engine "github.com/caddy-est/estra/module/srp"
)

var srpClient = sync.OnceValues(func() (*engine.Client, error) { return engine.NewClient(srpUser, srpPassword) })

// dialSRP is a new connection without a certificate.
func dialSRP(address string) (*connection, error) {
	client, err := srpClient()
	if err != nil {
		return nil, err
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	made, err := client.Handshake(conn)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return newConnection(made), nil
}

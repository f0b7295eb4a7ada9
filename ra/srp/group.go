// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"

	"filippo.io/bigmod"
)

// A Group is one of RFC 5054 appendix A with 2048 bits or more. A connection
// can be read by who finds discrete logarithms in it.
type Group struct {
	name    string
	prime   func() []byte
	g       byte
	modulus func() *bigmod.Modulus
}

// DefaultGroup is that of a realm for which nothing else was said.
const DefaultGroup = "2048"

var groups = []*Group{
	newGroup("2048", prime2048, 2), newGroup("3072", prime3072, 5), newGroup("4096", prime4096, 5),
	newGroup("6144", prime6144, 5), newGroup("8192", prime8192, 19),
}

func newGroup(name, prime string, g byte) *Group {
	octets := sync.OnceValue(func() []byte { n, _ := hex.DecodeString(prime); return n })
	return &Group{name, octets, g, sync.OnceValue(func() *bigmod.Modulus {
		m, err := bigmod.NewModulus(octets())
		if err != nil {
			panic("the group " + name + ": " + err.Error()) // a constant, which tests read
		}
		return m
	})}
}

// GroupNamed finds a group by its name, which is its size in bits, as in
// OpenSSL.
func GroupNamed(name string) (*Group, error) {
	if i := slices.IndexFunc(groups, func(g *Group) bool { return g.name == name }); i >= 0 {
		return groups[i], nil
	}
	if name == "1024" || name == "1536" {
		return nil, fmt.Errorf("the group %s is too small: want 2048 bits or more", name)
	}
	return nil, fmt.Errorf("there is no group %q: want one of %s", name, strings.Join(GroupNames(), ", "))
}

// GroupNames are the names of all groups, the smallest first.
func GroupNames() []string {
	var names []string
	for _, g := range groups {
		names = append(names, g.name)
	}
	return names
}

// Name is the size in bits.
func (g *Group) Name() string { return g.name }

// N is the prime, most significant byte first.
func (g *Group) N() []byte { return slices.Clone(g.prime()) }

// G is the generator, most significant byte first.
func (g *Group) G() []byte { return []byte{g.g} }

// power is g^x, as long as the prime. Its time depends on the length of x, and
// not on x.
func (g *Group) power(x []byte) []byte {
	m := g.modulus()
	base := bigmod.NewNat().SetUint(uint(g.g)).ExpandFor(m)
	return bigmod.NewNat().Exp(base, x, m).Bytes(m)
}

// size is the length of the prime in bytes.
func (g *Group) size() int { return len(g.prime()) }

// number makes a number below the prime of as many bytes as the prime has.
func (g *Group) number(made []byte) ([]byte, error) {
	m := g.modulus()
	n, err := bigmod.NewNat().SetOverflowingBytes(made, m)
	if err != nil {
		return nil, err
	}
	return n.Bytes(m), nil
}

// element makes a verifier as long as the prime.
func (g *Group) element(v []byte) ([]byte, error) {
	n, err := bigmod.NewNat().SetBytes(trimZeros(v), g.modulus())
	if err != nil {
		return nil, fmt.Errorf("the verifier is not smaller than the prime of the group %s", g.name)
	}
	if n.IsZero() == 1 || n.IsOne() == 1 {
		return nil, fmt.Errorf("the verifier is that of no password")
	}
	return n.Bytes(g.modulus()), nil
}

// trimZeros leaves out zeros in front.
func trimZeros(b []byte) []byte {
	for len(b) > 0 && b[0] == 0 {
		b = b[1:]
	}
	return b
}

// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"context"
	"encoding/asn1"
	"fmt"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/csrattrs"
)

// RFC 7894 section 3.3.
var oidIdentityLinking = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 58}

// Wanted asks /csrattrs, and reads what the server wants in either form: the
// template of RFC 9908 where there is one, else the list. A server that has
// nothing to say gives the zero value.
func (c *Client) Wanted(ctx context.Context) (csrattrs.Wanted, error) {
	list, err := c.CSRAttrs(ctx)
	if err != nil {
		return csrattrs.Wanted{}, err
	}
	return csrattrs.Read(list)
}

// Fill gives the template as the server wants it. The server's values stand in
// the place of t's; where it leaves a value to the client, t's are taken. What
// t has beyond that stays, and what it lacks is left out: whether that will
// do, the server says.
func (t Template) Fill(w csrattrs.Wanted) (Template, error) {
	t.Names.Subject = fillSubject(t.Names.Subject, w.Subject)
	for _, e := range w.Extensions {
		if !e.ID.Equal(oidSubjectAltName) {
			continue
		}
		t.SANCritical = e.Critical
		if e.Value == nil {
			continue
		}
		names, err := e.Names()
		if err != nil {
			return t, err
		}
		if t.Names.SAN, err = fillSAN(t.Names.SAN, names); err != nil {
			return t, err
		}
		t.Names.HasSAN = len(t.Names.SAN) > 0
	}
	return t.fillRest(w), nil
}

// fillRest fills what isn't a name: extensions, attributes, and how the
// request is signed and linked.
func (t Template) fillRest(w csrattrs.Wanted) Template {
	t.Extensions, t.Attributes = slices.Clone(t.Extensions), slices.Clone(t.Attributes)
	for _, e := range w.Extensions {
		if e.Value == nil || e.ID.Equal(oidSubjectAltName) {
			continue
		}
		same := func(other csr.Extension) bool { return other.ID.Equal(e.ID) }
		t.Extensions = append(slices.DeleteFunc(t.Extensions, same), csr.Extension{ID: e.ID, Critical: e.Critical, Value: e.Value})
	}
	for _, a := range w.Attributes {
		if len(a.Values) == 0 || linksBy(a.Type) {
			continue
		}
		same := func(other csr.Attribute) bool { return other.Type.Equal(a.Type) }
		t.Attributes = append(slices.DeleteFunc(t.Attributes, same), a)
	}
	if t.Signature == nil {
		t.Signature = w.Signature
	}
	// RFC 7894 section 4: a client that sees both should prefer
	// estIdentityLinking.
	if t.LinkBy == nil && w.Asks(oidIdentityLinking) {
		t.LinkBy = oidIdentityLinking
	}
	return t
}

func linksBy(oid asn1.ObjectIdentifier) bool {
	return oid.Equal(oidChallengePassword) || oid.Equal(oidIdentityLinking)
}

// asksLinking tells whether the server wants the request bound to its channel.
func asksLinking(w csrattrs.Wanted) bool {
	return w.Asks(oidChallengePassword) || w.Asks(oidIdentityLinking)
}

// fillSubject puts the wanted RDNs in their order, and what else ours has
// behind them.
func fillSubject(ours csr.Name, wanted []csrattrs.RDN) csr.Name {
	if len(wanted) == 0 {
		return ours
	}
	given := map[string]bool{} // types for which the server has values
	left := map[string]int{}   // how many of a type are the client's
	for _, rdn := range wanted {
		for _, a := range rdn {
			given[a.Type.String()] = given[a.Type.String()] || a.Value != nil
			if a.Value == nil {
				left[a.Type.String()]++
			}
		}
	}
	var mine []csr.AttributeValue // for what is left to the client
	var rest csr.Name
	for _, rdn := range ours {
		var kept csr.RDN
		for _, a := range rdn {
			oid := a.Type.String()
			switch {
			case left[oid] > 0:
				left[oid]--
				mine = append(mine, a)
			case !given[oid]:
				kept = append(kept, a)
			}
		}
		if len(kept) > 0 {
			rest = append(rest, kept)
		}
	}
	var filled csr.Name
	for _, rdn := range wanted {
		var made csr.RDN
		for _, a := range rdn {
			if a.Value != nil {
				made = append(made, csr.AttributeValue{Type: a.Type, Raw: a.Value})
				continue
			}
			if i := slices.IndexFunc(mine, func(v csr.AttributeValue) bool { return v.Type.Equal(a.Type) }); i >= 0 {
				made = append(made, mine[i])
				mine = slices.Delete(mine, i, i+1)
			}
		}
		if len(made) > 0 {
			filled = append(filled, made)
		}
	}
	return append(filled, rest...)
}

// fillSAN does the same with names: of a form for which the server has names,
// and leaves none to the client, ours are not taken.
func fillSAN(ours []csr.GeneralName, wanted []csrattrs.Name) ([]csr.GeneralName, error) {
	form := func(f csr.NameForm, typeID asn1.ObjectIdentifier) string { return fmt.Sprint(f, typeID) }
	given, open := map[string]bool{}, map[string]bool{}
	for _, name := range wanted {
		given[form(name.Form, name.TypeID)] = true
		open[form(name.Form, name.TypeID)] = open[form(name.Form, name.TypeID)] || name.Raw == nil
	}
	left := slices.Clone(ours)
	var filled []csr.GeneralName
	for _, name := range wanted {
		if name.Raw != nil {
			filled = append(filled, csr.GeneralName{Form: name.Form, TypeID: name.TypeID, Raw: name.Raw})
			continue
		}
		same := func(n csr.GeneralName) bool {
			return n.Form == name.Form && (name.TypeID == nil || name.TypeID.Equal(n.TypeID))
		}
		if i := slices.IndexFunc(left, same); i >= 0 {
			filled = append(filled, left[i])
			left = slices.Delete(left, i, i+1)
		}
	}
	for _, name := range left {
		key := form(name.Form, name.TypeID)
		again := slices.ContainsFunc(filled, func(n csr.GeneralName) bool { return slices.Equal(n.Raw, name.Raw) })
		if !again && (!given[key] || open[key]) {
			filled = append(filled, name)
		}
	}
	if len(filled) == 0 {
		return nil, nil
	}
	// The server's names are bytes of a stranger: read them before they go
	// into a request.
	if _, err := csr.MarshalSAN(filled); err != nil {
		return nil, fmt.Errorf("csrattrs: %w", err)
	}
	return filled, nil
}

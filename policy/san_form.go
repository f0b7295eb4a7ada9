// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"cmp"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// A sanKey tells the kinds of SAN entries apart: by form, and otherNames by
// their type.
type sanKey struct {
	form   csr.NameForm
	typeID string // of an otherName, dotted
}

func (k sanKey) compare(o sanKey) int {
	return cmp.Or(cmp.Compare(k.form, o.form), strings.Compare(k.typeID, o.typeID))
}

func keyOf(name csr.GeneralName) sanKey {
	if name.Form != csr.OtherName {
		return sanKey{form: name.Form}
	}
	return sanKey{name.Form, name.TypeID.String()}
}

// name makes an entry of the kind from text.
func (k sanKey) name(value string) (csr.GeneralName, error) {
	if k.form != csr.OtherName {
		return csr.NewName(k.form, value)
	}
	return csr.NewOtherName(mustOID(k.typeID), value)
}

// A sanKind is a kind of SAN entry that policies can accept.
type sanKind struct {
	key  sanKey
	form form
}

// otherNames is the key of the policy file under which otherNames stand by
// the OID of their type.
const otherNames = "other_name"

// sanKinds are the kinds by their keys in the policy file. x400Address and
// ediPartyName are none: nobody issues them.
var sanKinds = map[string]sanKind{
	"dns":                  {sanKey{form: csr.DNS}, dnsForm},
	"ip":                   {sanKey{form: csr.IP}, ipForm},
	"email":                {sanKey{form: csr.Email}, emailForm},
	"uri":                  {sanKey{form: csr.URI}, uriForm},
	"upn":                  {principalName, upnForm},
	"directory_name":       {sanKey{form: csr.DirectoryName}, directoryForm},
	"registered_id":        {sanKey{form: csr.RegisteredID}, registeredIDForm},
	"permanent_identifier": {sanKey{csr.OtherName, csr.OIDPermanentIdentifier}, permanentForm},
	"hardware_module_name": {sanKey{csr.OtherName, csr.OIDHardwareModuleName}, hardwareForm},
}

var principalName = sanKey{csr.OtherName, csr.OIDUserPrincipalName}

// kindName is how messages call a kind; it is empty where no policy can
// accept it.
func (k sanKey) kindName() string {
	for _, kind := range sanKinds {
		if kind.key == k {
			return kind.form.name
		}
	}
	if k.form == csr.OtherName {
		return otherForm(k.typeID).name
	}
	return ""
}

// A sanMember is what stands in the policy file about one kind.
type sanMember struct {
	node
	kind sanKind
}

// sanMembers gives what stands in a map by kind. Unknown keys are a checker's.
func (c *compiler) sanMembers(n node) []sanMember {
	var members []sanMember
	for _, member := range n.members() {
		if kind, ok := sanKinds[member.name]; ok {
			members = append(members, sanMember{member, kind})
		}
		if member.name != otherNames {
			continue
		}
		for _, inner := range member.members() {
			if kind, ok := c.otherKind(inner); ok {
				members = append(members, sanMember{inner, kind})
			}
		}
	}
	return members
}

// otherKind gives the kind of a type of otherName that has no key of its own.
func (c *compiler) otherKind(n node) (sanKind, bool) {
	if _, err := spellOID(n.name); err != nil {
		c.add(n.at, "%s is not the OID of a type of otherName, such as 1.3.6.1.5.5.7.8.7", quote(n.name))
		return sanKind{}, false
	}
	key := sanKey{csr.OtherName, n.name}
	for name, kind := range sanKinds {
		if kind.key == key {
			c.add(n.at, "the otherName %s has a key of its own: write `%s`", n.name, name)
			return sanKind{}, false
		}
	}
	return sanKind{key, otherForm(n.name)}, true
}

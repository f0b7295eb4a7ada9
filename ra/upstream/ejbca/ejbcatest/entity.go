// SPDX-License-Identifier: Apache-2.0

package ejbcatest

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strconv"
)

// An entity is an end entity.
type entity struct {
	Username           string  `json:"username"`
	Password           string  `json:"password"`
	Subject            string  `json:"subject_dn"`
	SAN                string  `json:"subject_alt_name"`
	Extensions         []datum `json:"extension_data"`
	Custom             []datum `json:"custom_data"`
	CA                 string  `json:"ca_name"`
	CertificateProfile string  `json:"certificate_profile_name"`
	EndEntityProfile   string  `json:"end_entity_profile_name"`
	Token              string  `json:"token"`

	isNew bool
}

type datum struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type approval struct {
	entity *entity
	state  string
}

func (f *Fake) addEntity(c *call) {
	if _, ok := f.shaped(c, "endentity"); !ok {
		return
	}
	e := &entity{isNew: true}
	if err := json.Unmarshal(c.body, e); err != nil {
		c.error(http.StatusBadRequest, err.Error())
		return
	}
	_, taken := f.entities[e.Username]
	_, known := f.profiles[e.CertificateProfile]
	switch {
	case e.CA != CAName || !known || e.EndEntityProfile != EndEntityProfile:
		f.fail(c, "no such CA")
	case e.Username == "" || e.Password == "" || e.Token != "USERGENERATED":
		c.error(http.StatusUnprocessableEntity, "Invalid add end entity request")
	case taken:
		c.error(http.StatusBadRequest, "End entity already exists")
	case f.Approvals:
		f.approvals[1234567+int64(len(f.approvals))] = &approval{e, Waits}
		f.fail(c, "waits for approval")
	default:
		f.entities[e.Username] = e
		f.answer(c, "endentity", nil)
	}
}

func (f *Fake) setStatus(c *call, name string) {
	if _, ok := f.shaped(c, "setstatus"); !ok {
		return
	}
	var body struct {
		Password string `json:"password"`
		Token    string `json:"token"`
		Status   string `json:"status"`
	}
	e, there := f.entities[name]
	switch err := json.Unmarshal(c.body, &body); {
	case err != nil || body.Token != "USERGENERATED" || body.Status != "NEW":
		c.error(http.StatusUnprocessableEntity, "Invalid set end entity status request")
	case !there:
		f.fail(c, "no such end entity")
	default:
		e.Password, e.isNew = body.Password, true
		f.answer(c, "setstatus", nil)
	}
}

func (f *Fake) certify(c *call) {
	if _, ok := f.shaped(c, "certificaterequest"); !ok {
		return
	}
	var body struct {
		Request  string `json:"certificate_request"`
		Type     string `json:"certificate_request_type"`
		Username string `json:"username"`
		Password string `json:"password"`
		CA       string `json:"certificate_authority_name"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil || body.Type != "PKCS10" || body.CA != CAName {
		c.error(http.StatusBadRequest, "An incorrect certificate request has been passed.")
		return
	}
	e, there := f.entities[body.Username]
	if !there {
		f.fail(c, "no such end entity")
		return
	}
	leaf, err := f.signFor(e, body.Password, body.Request)
	if err != nil {
		c.error(http.StatusBadRequest, err.Error())
		return
	}
	e.isNew = false // GENERATED
	f.issued[e.Username] = leaf
	if f.Lost {
		panic(http.ErrAbortHandler)
	}
	f.answer(c, "certificaterequest", map[string]any{"certificate": leaf.Raw, "serial_number": serial(leaf)})
}

// signFor takes of the request the key alone, as EJBCA does for an end entity.
func (f *Fake) signFor(e *entity, password, request string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(request))
	if !e.isNew || e.Password != password || block == nil {
		return nil, errStatus
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, err
	}
	return f.sign(e, csr.PublicKey)
}

func (f *Fake) finalize(c *call, id string) {
	if _, ok := f.shaped(c, "finalize"); !ok {
		return
	}
	number, err := strconv.ParseInt(id, 10, 64)
	a, there := f.approvals[number]
	switch {
	case err != nil || !there:
		c.error(http.StatusBadRequest, "Could not find request with Id '"+id+"'")
	case a.state == Approved:
		f.t.Error("there is no request to finalize in an approval of an end entity")
		f.fail(c, "general failure")
	default:
		f.fail(c, a.state)
	}
}

func (f *Fake) search(c *call) {
	e, ok := f.shaped(c, "search")
	if !ok {
		return
	}
	var body struct {
		Most     int `json:"max_number_of_results"`
		Criteria []struct {
			Property  string `json:"property"`
			Value     string `json:"value"`
			Operation string `json:"operation"`
		} `json:"criteria"`
	}
	if err := json.Unmarshal(c.body, &body); err != nil || body.Most < 1 || len(body.Criteria) != 1 || body.Criteria[0].Property != "QUERY" || body.Criteria[0].Operation != "EQUAL" {
		c.error(http.StatusBadRequest, "Invalid criteria")
		return
	}
	found := []map[string]any{}
	if leaf, there := f.issued[body.Criteria[0].Value]; there {
		list, _ := e.Form(f.t)["certificates"].([]any)
		one, _ := list[0].(map[string]any)
		one["certificate"], one["serial_number"] = f.encoded(leaf.Raw), serial(leaf)
		found = append(found, one)
	}
	f.answer(c, "search", map[string]any{"certificates": found})
}

// encoded is base64 in JSON, of base64 where the server does so.
func (f *Fake) encoded(der []byte) []byte {
	if f.Twice {
		return []byte(base64.StdEncoding.EncodeToString(der))
	}
	return der
}

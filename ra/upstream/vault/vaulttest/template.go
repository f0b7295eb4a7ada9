// SPDX-License-Identifier: Apache-2.0

package vaulttest

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// messages are those of a CEL program in the PKI secrets engine of OpenBao 2.5:
// "Quick Start - CEL in PKI". A field is its name and type; [] is repeated.
const messages = `
PKIX.Name Country:[]string Organization:[]string OrganizationUnit:[]string Locality:[]string Province:[]string StreetAddress:[]string PostalCode:[]string SerialNumber:string CommonName:string
PKIX.Extension Id:[]int64 Critical:bool Value:bytes
ObjectIdentifier arc:[]uint32
net.IP IP:bytes
url.URL Scheme:string Opaque:string Host:string Path:string RawPath:string OmitHost:bool ForceQuery:bool RawQuery:string Fragment:string RawFragment:string
CertTemplate Version:int64 Subject:PKIX.Name NotBefore:time NotAfter:time KeyUsage:enum.KeyUsage ExtraExtensions:[]PKIX.Extension ExtKeyUsage:[]enum.ExtKeyUsage UnknownExtKeyUsage:[]ObjectIdentifier BasicConstraintsValid:bool IsCA:bool SubjectKeyId:bytes DNSNames:[]string EmailAddresses:[]string IPAddresses:[]net.IP URIs:[]url.URL
ValidationOutput template:CertTemplate issuer_ref:string use_pss:bool signature_bits:uint32 generate_lease:bool no_store:bool warnings:string subject_key_id:bytes key_type:string key_bits:uint64
`

// enums have their values in order.
var enums = map[string][]string{
	"KeyUsage": {"Unspecified", "DigitalSignature", "ContentCommitment", "KeyEncipherment", "DataEncipherment", "KeyAgreement", "CertSign", "CRLSign", "EncipherOnly", "DecipherOnly"},
	"ExtKeyUsage": {
		"Any", "ServerAuth", "ClientAuth", "CodeSigning", "EmailProtection", "IPSECEndSystem", "IPSECTunnel", "IPSECUser",
		"TimeStamping", "OCSPSigning", "MicrosoftServerGatedCrypto", "NetscapeServerGatedCrypto", "MicrosoftCommercialCodeSigning", "MicrosoftKernelCodeSigning",
	},
}

const container = "openbao.pki"

var scalars = map[string]descriptorpb.FieldDescriptorProto_Type{
	"string": descriptorpb.FieldDescriptorProto_TYPE_STRING, "bytes": descriptorpb.FieldDescriptorProto_TYPE_BYTES,
	"bool":  descriptorpb.FieldDescriptorProto_TYPE_BOOL,
	"int64": descriptorpb.FieldDescriptorProto_TYPE_INT64, "uint32": descriptorpb.FieldDescriptorProto_TYPE_UINT32,
	"uint64": descriptorpb.FieldDescriptorProto_TYPE_UINT64,
}

// describe makes the descriptors of the messages.
func describe() (protoreflect.FileDescriptor, error) {
	file := &descriptorpb.FileDescriptorProto{
		Name: proto.String("vaulttest.proto"), Package: proto.String(container), Syntax: proto.String("proto3"),
		Dependency: []string{"google/protobuf/timestamp.proto"},
	}
	for name, values := range enums {
		enum := &descriptorpb.EnumDescriptorProto{Name: proto.String(name)}
		for i, value := range values {
			enum.Value = append(enum.Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String(name + value), Number: proto.Int32(int32(i))})
		}
		file.EnumType = append(file.EnumType, enum)
	}
	outer := map[string]*descriptorpb.DescriptorProto{}
	for line := range strings.Lines(strings.TrimSpace(messages)) {
		words := strings.Fields(line)
		prefix, name, nested := strings.Cut(words[0], ".")
		message := &descriptorpb.DescriptorProto{Name: proto.String(prefix)}
		if nested {
			message.Name = proto.String(name)
			if outer[prefix] == nil {
				outer[prefix] = &descriptorpb.DescriptorProto{Name: proto.String(prefix)}
				file.MessageType = append(file.MessageType, outer[prefix])
			}
			outer[prefix].NestedType = append(outer[prefix].NestedType, message)
		} else {
			file.MessageType = append(file.MessageType, message)
		}
		for i, word := range words[1:] {
			message.Field = append(message.Field, fieldOf(word, i+1))
		}
	}
	return protodesc.NewFile(file, known{})
}

func fieldOf(word string, number int) *descriptorpb.FieldDescriptorProto {
	name, kind, _ := strings.Cut(word, ":")
	label := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
	if rest, repeated := strings.CutPrefix(kind, "[]"); repeated {
		kind, label = rest, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	}
	f := &descriptorpb.FieldDescriptorProto{Name: proto.String(name), Number: proto.Int32(int32(number)), Label: &label}
	if scalar, ok := scalars[kind]; ok {
		f.Type = &scalar
		return f
	}
	if enum, ok := strings.CutPrefix(kind, "enum."); ok {
		f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum(), proto.String("."+container+"."+enum)
		return f
	}
	f.Type = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum()
	f.TypeName = proto.String("." + container + "." + kind)
	if kind == "time" {
		f.TypeName = proto.String(".google.protobuf.Timestamp")
	}
	return f
}

// known resolves the one file that ours needs.
type known struct{}

func (known) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if path == timestamppb.File_google_protobuf_timestamp_proto.Path() {
		return timestamppb.File_google_protobuf_timestamp_proto, nil
	}
	return nil, fmt.Errorf("no file %s", path)
}

func (known) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if name == "google.protobuf.Timestamp" {
		return timestamppb.File_google_protobuf_timestamp_proto.Messages().ByName("Timestamp"), nil
	}
	return nil, fmt.Errorf("no type %s", name)
}

// A program is a CEL role.
type program struct {
	expression string
	env        *cel.Env
}

// compile makes the environment as OpenBao does, and parses as it does: without
// a check of types.
func compile(expression string) (*program, error) {
	file, err := describe()
	if err != nil {
		return nil, err
	}
	env, err := cel.NewEnv(cel.Container(container), cel.TypeDescs(file),
		cel.Variable("request", cel.MapType(cel.StringType, cel.DynType)), cel.Variable("now", cel.TimestampType),
		ext.Strings(), ext.Lists(), cel.OptionalTypes(), ext.Regex(), ext.Math(), ext.Sets(), ext.Encoders())
	if err != nil {
		return nil, err
	}
	if _, issues := env.Parse(expression); issues.Err() != nil {
		return nil, fmt.Errorf("invalid CEL syntax for expression: %w", issues.Err())
	}
	return &program{expression, env}, nil
}

// errRequest is what a program says against a request.
type errRequest struct{ error }

// run gives the certificate template that the program makes of a request.
func (p *program) run(request map[string]any, now time.Time) (*x509.Certificate, string, error) {
	ast, issues := p.env.Parse(p.expression)
	if issues.Err() != nil {
		return nil, "", issues.Err()
	}
	prog, err := p.env.Program(ast)
	if err != nil {
		return nil, "", err
	}
	out, _, err := prog.Eval(map[string]any{"request": request, "now": now})
	if err != nil {
		return nil, "", fmt.Errorf("failed to evaluate expression: %w", err)
	}
	switch value := out.Value().(type) {
	case string:
		return nil, "", errRequest{errors.New(value)}
	case *dynamicpb.Message:
		m := message{value.ProtoReflect()}
		return m.message("template").certificate(), m.text("issuer_ref"), nil
	default:
		return nil, "", fmt.Errorf("unexpected result %T", value)
	}
}

// message reads fields by their names.
type message struct{ protoreflect.Message }

func (m message) field(name string) protoreflect.Value {
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name)))
}

func (m message) text(name string) string     { return m.field(name).String() }
func (m message) message(name string) message { return message{m.field(name).Message()} }

func (m message) texts(name string) []string {
	var all []string
	list := m.field(name).List()
	for i := range list.Len() {
		all = append(all, list.Get(i).String())
	}
	return all
}

func (m message) messages(name string) []message {
	var all []message
	list := m.field(name).List()
	for i := range list.Len() {
		all = append(all, message{list.Get(i).Message()})
	}
	return all
}

func (m message) time(name string) time.Time {
	at := m.message(name)
	return time.Unix(at.field("seconds").Int(), at.field("nanos").Int()).UTC()
}

func (m message) oid(name string) asn1.ObjectIdentifier {
	var oid asn1.ObjectIdentifier
	list := m.field(name).List()
	for i := range list.Len() {
		switch n := list.Get(i).Interface().(type) {
		case int64:
			oid = append(oid, int(n))
		case uint32:
			oid = append(oid, int(n))
		}
	}
	return oid
}

func (m message) certificate() *x509.Certificate {
	s := m.message("Subject")
	c := &x509.Certificate{
		Subject: pkix.Name{
			CommonName: s.text("CommonName"), SerialNumber: s.text("SerialNumber"), Country: s.texts("Country"),
			Organization: s.texts("Organization"), OrganizationalUnit: s.texts("OrganizationUnit"), Locality: s.texts("Locality"),
			Province: s.texts("Province"), StreetAddress: s.texts("StreetAddress"), PostalCode: s.texts("PostalCode"),
		},
		NotBefore: m.time("NotBefore"), NotAfter: m.time("NotAfter"), KeyUsage: x509.KeyUsage(m.field("KeyUsage").Enum()),
		DNSNames: m.texts("DNSNames"), EmailAddresses: m.texts("EmailAddresses"),
		IsCA: m.field("IsCA").Bool(), BasicConstraintsValid: m.field("BasicConstraintsValid").Bool(),
	}
	purposes := m.field("ExtKeyUsage").List()
	for i := range purposes.Len() {
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsage(purposes.Get(i).Enum()))
	}
	for _, o := range m.messages("UnknownExtKeyUsage") {
		c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, o.oid("arc"))
	}
	for _, ip := range m.messages("IPAddresses") {
		c.IPAddresses = append(c.IPAddresses, net.IP(ip.field("IP").Bytes()))
	}
	for _, u := range m.messages("URIs") {
		c.URIs = append(c.URIs, &url.URL{
			Scheme: u.text("Scheme"), Opaque: u.text("Opaque"), Host: u.text("Host"), Path: u.text("Path"), RawPath: u.text("RawPath"),
			ForceQuery: u.field("ForceQuery").Bool(), RawQuery: u.text("RawQuery"), Fragment: u.text("Fragment"), RawFragment: u.text("RawFragment"),
		})
	}
	for _, e := range m.messages("ExtraExtensions") {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: e.oid("Id"), Critical: e.field("Critical").Bool(), Value: e.field("Value").Bytes()})
	}
	return c
}

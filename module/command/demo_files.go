// SPDX-License-Identifier: Apache-2.0

package command

import (
	_ "embed"
	"strings"
)

//go:embed demo_policy.yaml
var demoPolicy string

// demoCaddyfile is the server of the demonstration. Words in capitals are
// replaced.
const demoCaddyfile = `{
	# This file is for the demonstration: everything stays on this machine.
	admin ADMIN
	http_port HTTP_PORT
	https_port HTTPS_PORT
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	pki {
		ca est {
			name "Estra demonstration"
			root_cn "Estra Demonstration Root"
			intermediate_cn "Estra Demonstration Issuing CA"
			# Caddy renews it when a fifth is left; 90d must fit in there.
			intermediate_lifetime 1095d
		}
	}
	log default {
		output stderr
		exclude http.handlers.est.audit
	}
	log audit {
		output file "AUDIT_FILE"
		format json
		include http.handlers.est.audit
	}
}

localhost {
	bind 127.0.0.1
	est {
		policy policy.yaml
	}
}
`

// demoLines are for a person who wants to go on by hand after --keep. They
// need a POSIX shell, curl and openssl. curl has no channel binding to give.
const demoLines = `cd 'FOLDER'

# The CA certificates
curl -sS --fail --cacert root.pem URL/.well-known/est/cacerts | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs

# A one-time password for a device
'CADDY' est otp create --address ADMIN --subject CN=hand.devices.example.net --san hand.devices.example.net | cut -d ' ' -f 1 >hand.otp

# Its first certificate, with a new key. curl can't link a request to its TLS channel; this client can
'CADDY' est client enroll --url URL --cacert root.pem --password-file hand.otp --linking --key hand.key --subject CN=hand.devices.example.net --san hand.devices.example.net --out hand.pem
openssl x509 -in hand.pem -noout -subject -issuer -dates

# A new key, and the certificate renewed with the old one: by curl, since the policy leaves linking free there
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout hand-2.key -outform DER -out hand-2.csr -subj "/CN=hand.devices.example.net/O=Example Net" -addext "subjectAltName=DNS:hand.devices.example.net"
openssl base64 -A -in hand-2.csr | curl -sS --fail --cacert root.pem --cert hand.pem --key hand.key -H 'Content-Type: application/pkcs10' --data-binary @- URL/.well-known/est/simplereenroll | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs -out hand-2.pem
openssl x509 -in hand-2.pem -noout -subject -issuer -dates

# What was recorded
cat audit.log
`

// fillWords replaces the words in capitals of a template.
func fillWords(template string, words map[string]string) string {
	var pairs []string
	for word, value := range words {
		pairs = append(pairs, word, value)
	}
	return strings.NewReplacer(pairs...).Replace(template)
}

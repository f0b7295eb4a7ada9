{{- /*
  The X.509 template of the provisioner that an Estra registration authority
  uses (Go text/template, as step-ca runs it). The certificate is what the
  token's claim "estra" says. Without the claim, nothing is issued.
*/ -}}
{{- $e := .Token.estra -}}
{{- if not $e -}}
  {{- fail "estra: the token has no decision of a registration authority" -}}
{{- end -}}
{{- if not (and $e.subject $e.subject.der $e.notBefore $e.notAfter $e.serial) -}}
  {{- fail "estra: the decision in the token is not complete" -}}
{{- end -}}
{{- if not (and .Token.cnf (index .Token.cnf "x5rt#S256")) -}}
  {{- fail "estra: the token is not bound to the certificate request" -}}
{{- end -}}
{{- /* X5C: the token must be signed by an RA certificate, id-kp-cmcRA (RFC 6402). */ -}}
{{- if .AuthorizationCrt -}}
  {{- $ra := false -}}
  {{- range .AuthorizationCrt.UnknownExtKeyUsage -}}
    {{- if eq .String "1.3.6.1.5.5.7.3.28" -}}{{- $ra = true -}}{{- end -}}
  {{- end -}}
  {{- if not $ra -}}
    {{- fail "estra: the certificate that signed the token is not for id-kp-cmcRA" -}}
  {{- end -}}
{{- end -}}
{{- /* A registration authority never makes a CA, whoever holds its key. */ -}}
{{- $usages := default (list) $e.keyUsage -}}
{{- range $usages -}}
  {{- if not (has . (list "digitalSignature" "contentCommitment" "keyEncipherment" "dataEncipherment" "keyAgreement" "encipherOnly" "decipherOnly")) -}}
    {{- fail "estra: a key usage that is not an end entity's" -}}
  {{- end -}}
{{- end -}}
{{- $extensions := default (list) $e.extensions -}}
{{- range $extensions -}}
  {{- if not (regexMatch "^[0-2]([.](0|[1-9][0-9]*))+$" (toString .id)) -}}
    {{- fail "estra: an extension without a proper OID" -}}
  {{- end -}}
  {{- if has .id (list "2.5.29.14" "2.5.29.15" "2.5.29.19" "2.5.29.30" "2.5.29.35" "2.5.29.36" "2.5.29.37") -}}
    {{- fail (printf "estra: extension %s is not the registration authority's to set" .id) -}}
  {{- end -}}
{{- end -}}
{
  "subject": { "commonName": {{ toJson (default "" $e.subject.commonName) }} },
  "rawSubject": {{ toJson $e.subject.der }},
  "serialNumber": {{ toJson $e.serial }},
  "notBefore": {{ toJson $e.notBefore }},
  "notAfter": {{ toJson $e.notAfter }},
  "sans": {{ toJson (default (list) $e.sans) }},
  "keyUsage": {{ toJson $usages }},
  "extKeyUsage": {{ toJson (default (list) $e.eku) }},
  "unknownExtKeyUsage": {{ toJson (default (list) $e.unknownEku) }},
  "extensions": [
{{- range $i, $x := $extensions -}}
    {{- if $i -}},{{- end }}
    { "id": {{ toJson $x.id }}, "critical": {{ if $x.critical }}true{{ else }}false{{ end }}, "value": {{ toJson $x.value }} }
{{- end }}
  ]
}

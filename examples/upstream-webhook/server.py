# SPDX-License-Identifier: Apache-2.0
#
# A CA behind the upstream `webhook` (docs/upstream-webhook.md), in Python with
# `cryptography`: it signs what it is told, if the HMAC is right. It keeps ca.pem, ca.key,
# tls.pem and tls.key beside it, and takes its address as the argument.
import base64, hashlib, hmac, json, os, ssl, sys
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.name import _ASN1Type

ca = x509.load_pem_x509_certificate(open("ca.pem", "rb").read())
ca_key = serialization.load_pem_private_key(open("ca.key", "rb").read(), None)
ca_id = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
secret = base64.b64decode(os.environ["EST_CA_SECRET"])
when = lambda text: datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")

def sign(order):
    c = order["certificate"]
    attribute = lambda a: x509.NameAttribute(x509.ObjectIdentifier(a["type"]), a["value"], _ASN1Type(a["tag"]))
    subject = x509.Name([x509.RelativeDistinguishedName(map(attribute, rdn)) for rdn in c["rdns"]])
    key = serialization.load_der_public_key(base64.b64decode(order["public_key"]))
    b = x509.CertificateBuilder(ca.subject, subject, key, int(c["serial"]), when(c["not_before"]), when(c["not_after"]))
    b = b.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), False)
    for e in c["extensions"]:
        value = x509.UnrecognizedExtension(x509.ObjectIdentifier(e["oid"]), base64.b64decode(e["value"]))
        b = b.add_extension(value, e.get("critical", False))
    return b.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(min(int(self.headers["Content-Length"]), 1 << 20))
        mac = hmac.new(secret, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(mac, self.headers.get("X-Estra-Signature", "")): return self.answer(401, {})
        if self.path != "/issue": return self.answer(404, {})
        try: self.answer(200, {"certificate": sign(json.loads(body))})
        except ValueError as e: self.answer(200, {"refused": {"reason": str(e)}})
    def answer(self, status, text):
        text = json.dumps(text).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

host, port = sys.argv[1].rsplit(":", 1)
server = ThreadingHTTPServer((host, int(port)), Handler)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain("tls.pem", "tls.key")
server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()

# SPDX-License-Identifier: Apache-2.0
"""A device with OpenSSL through Python.

Arguments: port, file with the server's root, TLS version, library (ssl or
pyopenssl), OID of the attribute, and "resume" for a session that is resumed. It
prints the value and a linked CSR for CN=a.example.net, one line each, sends what it
reads from standard input, and prints the answer.
"""
import base64
import socket
import ssl
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL

port, root, version, library, oid = sys.argv[1:6]
resume = sys.argv[6:] == ["resume"]


def by_ssl():
    """The standard library knows tls-unique alone."""
    ctx = ssl.create_default_context(cafile=root)
    ctx.minimum_version = ctx.maximum_version = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}[version]

    def connect(session):
        sock = socket.create_connection(("127.0.0.1", int(port)), 20)
        return ctx.wrap_socket(sock, server_hostname="localhost", session=session)

    conn = connect(None)
    if resume:
        session = conn.session
        conn.close()
        conn = connect(session)
    return conn, conn.get_channel_binding("tls-unique"), conn.session_reused


def by_pyopenssl():
    ctx = SSL.Context(SSL.TLS_METHOD)
    number = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}[version]
    ctx.set_min_proto_version(number)
    ctx.set_max_proto_version(number)
    ctx.load_verify_locations(root)
    ctx.set_verify(SSL.VERIFY_PEER, lambda _conn, _cert, _error, _depth, ok: bool(ok))

    def connect(session):
        conn = SSL.Connection(ctx, socket.create_connection(("127.0.0.1", int(port)), 20))
        conn.get_context()
        conn.setblocking(1)
        conn.set_tlsext_host_name(b"localhost")
        if session:
            conn.set_session(session)
        conn.set_connect_state()
        conn.do_handshake()
        return conn

    conn, reused = connect(None), False
    if resume:
        # The tickets of TLS 1.3 come after the handshake, with the first answer.
        conn.sendall(b"GET /.well-known/est/cacerts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        read(conn)
        session = conn.get_session()
        conn = connect(session)
        reused = SSL._lib.SSL_session_reused(conn._ssl) == 1
    if version == "1.3":
        return conn, conn.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""), reused
    # RFC 5929 section 3.1: the first Finished, which is the server's when resumed.
    return conn, conn.get_peer_finished() if reused else conn.get_finished(), reused


def read(conn):
    answer = b""
    while True:
        try:
            part = conn.recv(8192)
        except (SSL.ZeroReturnError, SSL.SysCallError):
            return answer
        if not part:
            return answer
        answer += part


conn, binding, reused = by_ssl() if library == "ssl" else by_pyopenssl()
if resume != bool(reused):
    sys.exit("resumed: %s, wanted: %s" % (reused, resume))
value = base64.b64encode(binding).decode()
key = ec.generate_private_key(ec.SECP256R1())
csr = (
    x509.CertificateSigningRequestBuilder()
    .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example.net")]))
    .add_attribute(x509.ObjectIdentifier(oid), value.encode())
    .sign(key, hashes.SHA256())
)
print(value)
print(base64.b64encode(csr.public_bytes(serialization.Encoding.DER)).decode(), flush=True)
conn.sendall(sys.stdin.buffer.read())
sys.stdout.write(read(conn).decode())

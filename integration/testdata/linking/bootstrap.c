/* SPDX-License-Identifier: Apache-2.0
 *
 * A device that begins with a name and a password, as libest's estclient does: the
 * snippet of docs/linking.md stands before this. It stands in for estclient, which
 * Debian doesn't have, and calls OpenSSL as that does: one SSL_CTX, TLS 1.2 at most,
 * the peer verified, a connection for each request with the session of the last one
 * offered again, the server's name sent whatever it is, names in PrintableString,
 * "Connection: close", and an empty line after each request.
 *
 * Arguments: port, server, folder, then `srp` with a user and a password or `cert`,
 * then what is to be done, in this order: cacerts, enroll, reenroll. The folder has
 * anchors.pem, where the server is trusted by certificate, and for `cert` key.pem and
 * cert.pem. Answers are left in it as they come, in base64, each by the name of its
 * operation. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static const char *port, *server;
static SSL_SESSION *session;

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static FILE *opened(const char *name, const char *how)
{
	FILE *file = fopen(name, how);

	if (!file)
		fail(name);
	return file;
}

static SSL_CTX *context(const char *user, const char *password)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int anchored = access("anchors.pem", R_OK) == 0;
	const char *suites = "ALL:!aNULL:!eNULL:!SSLv2:!EXPORT:!SRP";

	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_set_options(ctx, SSL_OP_NO_SSLv3 | SSL_OP_NO_TLSv1);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	if (anchored && !SSL_CTX_load_verify_locations(ctx, "anchors.pem", NULL))
		fail("no anchors");
	if (user) {
		suites = anchored ? "SRP" : "SRP:!aRSA:!aDSS";
		if (!SSL_CTX_set_srp_username(ctx, (char *)user) || !SSL_CTX_set_srp_password(ctx, (char *)password) ||
				!SSL_CTX_set_srp_strength(ctx, 1024))
			fail("no SRP");
	} else if (SSL_CTX_use_certificate_file(ctx, "cert.pem", SSL_FILETYPE_PEM) != 1 ||
			SSL_CTX_use_PrivateKey_file(ctx, "key.pem", SSL_FILETYPE_PEM) != 1)
		fail("no certificate of our own");
	if (!SSL_CTX_set_cipher_list(ctx, suites))
		fail("no suites");
	return ctx;
}

static SSL *connected(SSL_CTX *ctx)
{
	char address[64];
	SSL *ssl = SSL_new(ctx);
	X509 *peer;
	BIO *tcp;

	snprintf(address, sizeof(address), "127.0.0.1:%s", port);
	tcp = BIO_new_connect(address);
	if (BIO_do_connect(tcp) != 1)
		fail("no connection");
	SSL_set_tlsext_host_name(ssl, server);
	SSL_set_bio(ssl, tcp, tcp);
	if (session)
		SSL_set_session(ssl, session);
	if (SSL_connect(ssl) != 1)
		fail("no handshake");
	peer = SSL_get1_peer_certificate(ssl);
	if (peer && X509_check_host(peer, server, 0, 0, NULL) != 1)
		fail("the server's certificate is that of another");
	printf("%s %s%s%s\n", SSL_get_version(ssl), SSL_get_cipher_name(ssl), peer ? "" : " without a certificate",
		SSL_session_reused(ssl) ? " resumed" : "");
	X509_free(peer);
	return ssl;
}

/* linked signs a request, with the value of its connection in it. */
static X509_REQ *linked(SSL *ssl, X509_REQ *req, EVP_PKEY *key)
{
	char value[45];

	if (!linking_value(ssl, value) || !linking_into_request(req, value) || !X509_REQ_sign(req, key, EVP_sha256()))
		fail("the request can't be made");
	return req;
}

static X509_REQ *first_request(SSL *ssl, const char *name)
{
	X509_REQ *req = X509_REQ_new();
	EVP_PKEY *key = EVP_EC_gen("P-256");
	FILE *file = opened("key.pem", "w");

	PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
	fclose(file);
	X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	X509_REQ_set_pubkey(req, key);
	return linked(ssl, req, key);
}

static X509_REQ *next_request(SSL *ssl)
{
	FILE *file = opened("cert.pem", "r");
	X509 *cert = PEM_read_X509(file, NULL, NULL, NULL);
	EVP_PKEY *key;

	fclose(file);
	file = opened("key.pem", "r");
	key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	fclose(file);
	return linked(ssl, X509_to_X509_REQ(cert, key, EVP_sha256()), key);
}

static void ask(SSL_CTX *ctx, const char *operation)
{
	char sent[16384], answer[65536], *text, *end;
	SSL *ssl = connected(ctx);
	X509_REQ *req = NULL;
	BIO *body = BIO_new(BIO_s_mem()), *base64 = BIO_push(BIO_new(BIO_f_base64()), body);
	FILE *file = opened(operation, "w");
	int length, n, got = 0;

	if (strcmp(operation, "enroll") == 0)
		req = first_request(ssl, "a.example.net");
	else if (strcmp(operation, "reenroll") == 0)
		req = next_request(ssl);
	if (req) {
		i2d_X509_REQ_bio(base64, req);
		(void)BIO_flush(base64);
	}
	length = (int)BIO_get_mem_data(body, &text);
	n = snprintf(sent, sizeof(sent), "%s /.well-known/est/%s%s HTTP/1.1\r\nUser-Agent: libest 3.2.0p\r\nConnection: close\r\nHost: %s:%s\r\nAccept: */*\r\n",
		req ? "POST" : "GET", req ? "simple" : "", operation, server, port);
	if (req)
		n += snprintf(sent + n, sizeof(sent) - n, "Content-Type: application/pkcs10\r\nContent-Length: %d\r\n", length);
	n += snprintf(sent + n, sizeof(sent) - n, "\r\n%.*s\r\n", length, text);
	if (SSL_write(ssl, sent, n) != n)
		fail("no request");
	while ((n = SSL_read(ssl, answer + got, (int)sizeof(answer) - 1 - got)) > 0)
		got += n;
	answer[got] = 0;
	end = strstr(answer, "\r\n\r\n");
	if (strncmp(answer, "HTTP/1.1 200 ", 13) != 0 || !end)
		fail(answer);
	fputs(end + 4, file);
	fclose(file);
	SSL_SESSION_free(session);
	session = SSL_get1_session(ssl);
	SSL_shutdown(ssl);
	SSL_free(ssl);
}

int main(int argc, char **argv)
{
	int srp = argc > 6 && strcmp(argv[4], "srp") == 0, next = srp ? 7 : 5;
	SSL_CTX *ctx;

	if (argc <= next || chdir(argv[3]) != 0)
		fail("arguments: port server folder (srp user password | cert) operation...");
	port = argv[1];
	server = argv[2];
	ASN1_STRING_set_default_mask(B_ASN1_PRINTABLE);
	ctx = context(srp ? argv[5] : NULL, srp ? argv[6] : NULL);
	for (; next < argc; next++)
		ask(ctx, argv[next]);
	return 0;
}

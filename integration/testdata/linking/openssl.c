/* SPDX-License-Identifier: Apache-2.0
 *
 * A device with OpenSSL: the snippets of docs/linking.md stand before this.
 * Arguments: port, file with the server's root, TLS version; and for SRP, which
 * takes no certificate, a user and a password. It prints the value
 * and a linked CSR for CN=a.example.net, one line each, sends what it reads from
 * standard input, and prints the answer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <openssl/err.h>

static void fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	ERR_print_errors_fp(stderr);
	exit(1);
}

static void print_request(const char *value)
{
	X509_REQ *req = X509_REQ_new();
	EVP_PKEY *key = EVP_EC_gen("P-256");
	unsigned char *der = NULL;
	char *text;
	int length;

	X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_ASC, (const unsigned char *)"a.example.net", -1, -1, 0);
	X509_REQ_set_pubkey(req, key);
	if (!linking_into_request(req, value) || !X509_REQ_sign(req, key, EVP_sha256()))
		fail("the request can't be made");
	length = i2d_X509_REQ(req, &der);
	text = malloc(length * 2 + 4);
	EVP_EncodeBlock((unsigned char *)text, der, length);
	puts(text);
}

int main(int argc, char **argv)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int version, n;
	char address[64], value[45], buffer[8192];
	BIO *bio;
	SSL *ssl;

	if (argc != 4 && argc != 6)
		fail("arguments: port root version [user password]");
	version = strcmp(argv[3], "1.2") == 0 ? TLS1_2_VERSION : TLS1_3_VERSION;
	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (!SSL_CTX_load_verify_locations(ctx, argv[2], NULL))
		fail("no root");
	if (argc == 6 && (SSL_CTX_set_srp_username(ctx, argv[4]) != 1 || SSL_CTX_set_srp_password(ctx, argv[5]) != 1 ||
			SSL_CTX_set_cipher_list(ctx, "SRP-AES-256-CBC-SHA") != 1))
		fail("no SRP");
	snprintf(address, sizeof(address), "127.0.0.1:%s", argv[1]);
	bio = BIO_new_ssl_connect(ctx);
	BIO_get_ssl(bio, &ssl);
	SSL_set_tlsext_host_name(ssl, "localhost");
	SSL_set1_host(ssl, "localhost");
	BIO_set_conn_hostname(bio, address);
	if (BIO_do_handshake(bio) != 1)
		fail("no connection");
	if (!linking_value(ssl, value))
		fail("no value");
	puts(value);
	print_request(value);
	fflush(stdout);
	while ((n = (int)read(0, buffer, sizeof(buffer))) > 0)
		BIO_write(bio, buffer, n);
	while ((n = BIO_read(bio, buffer, sizeof(buffer))) > 0)
		fwrite(buffer, 1, n, stdout);
	return 0;
}
